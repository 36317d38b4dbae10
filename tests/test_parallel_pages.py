"""Pages of one date in parallel: faster, with the same records, checks and requests as one after the other."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clicksgroup import PaginationError, Quota, Stream, TransportError
from clicksgroup.protocol import PageResponse
from clicksgroup.sandbox import Fault, Sandbox
from tests.virtual_time import in_virtual_time
from tests.world import DELIVERIES, World, day, read, simple, tasks, turns

DATE = "2025-01-03"


def round_trips() -> float:
    """How many round trips have passed: in a `World` one takes a second."""
    return asyncio.get_running_loop().time()


@in_virtual_time
@pytest.mark.parametrize("kind", DELIVERIES)
@pytest.mark.parametrize(
    ("pages", "in_flight", "trips"), [(34, 3, 12), (10, 2, 6), (1, 3, 1), (2, 3, 2), (34, 1, 34), (4, 3, 2)]
)
async def test_round_trips(pages: int, in_flight: int, trips: int, kind: str) -> None:
    """One for the first page, then as many pages at a time as may be in flight; each page is asked for once."""
    world = World(lambda _: pages, Quota(in_flight=in_flight))
    got = await read(world.stream([day(0)], kind))
    assert trips <= round_trips() < trips + 0.001
    assert got == world.items(kind, 0)
    assert sorted(request.number for request in world.requests) == list(range(1, pages + 1))


@in_virtual_time
async def test_first_records() -> None:
    """They come as early as one page after the other, and each page as soon as those before it are there."""
    world = World(lambda _: 34, Quota(in_flight=3))
    stream = world.stream([day(0)], "pages")
    arrived = []
    async for page in stream:
        arrived.append(round_trips())
        assert page.number == len(arrived)
    assert [round(at) for at in arrived] == [1, *(2 + n // 3 for n in range(33))]


@in_virtual_time
@pytest.mark.parametrize("kind", ["clicks", "pages"])
async def test_mixed_job(kind: str) -> None:
    """One date of 34 pages, then 60 of one, in order, 3 in flight: at least 95 % of the places are used."""
    world = World(lambda number: 34 if number == 0 else 1, Quota(in_flight=3))
    got = await read(world.stream(map(day, range(61)), kind))
    assert got == [item for number in range(61) for item in world.items(kind, number)]
    assert len(world.requests) == 94
    assert 94 / (3 * round_trips()) >= 0.95


@in_virtual_time
@pytest.mark.parametrize("ordered", [True, False])
async def test_mixed_days(ordered: bool) -> None:
    """Whole dates use the places as well."""
    world = World(lambda number: 34 if number == 0 else 1, Quota(in_flight=3))
    assert len(await read(world.stream(map(day, range(61)), "days", ordered=ordered))) == 61
    assert 94 / (3 * round_trips()) >= 0.95


@in_virtual_time
@pytest.mark.parametrize("kind", DELIVERIES)
@pytest.mark.parametrize("ordered", [True, False])
async def test_break(kind: str, ordered: bool) -> None:
    """A reader that stops leaves the requests in flight, and then nothing."""
    for items in range(1, 5):
        world = World(lambda _: 10, Quota(in_flight=3))
        async with world.stream(map(day, itertools.count()), kind, ordered=ordered) as stream:
            for _ in range(items):
                await anext(stream)
        requests = len(world.requests)
        await turns()
        assert len(tasks()) == len(world.workers) == world.flying <= 3
        await asyncio.sleep(100)
        assert len(world.requests) == requests
        assert not world.workers


@in_virtual_time
@pytest.mark.parametrize("page", [1, 2, 5, 9, 10])
@pytest.mark.parametrize("kind", ["clicks", "pages", "days"])
async def test_error(kind: str, page: int) -> None:
    """A page that fails is raised in its turn, after those before it; the work ends, and wastes little."""
    world = World(lambda _: 10, Quota(in_flight=3), fails=[(0, page)])
    stream = world.stream(map(day, range(9)), kind)
    assert [simple(await anext(stream)) for _ in world.items(kind, 0)] == world.items(kind, 0)
    with pytest.raises(TransportError) as caught:
        await anext(stream)
    assert (caught.value.date, caught.value.page) == (day(0), page)
    requests = len(world.requests)
    await asyncio.sleep(100)
    assert len(world.requests) == requests
    of_date = Counter(request.query.start for request in world.requests)[day(0)]
    assert page <= of_date <= page + 2
    assert not world.workers


@in_virtual_time
async def test_cancelled_reader() -> None:
    """A reader that is cancelled while pages are in flight leaves them, and then nothing."""
    for turn in range(12):
        world = World(lambda _: 10, Quota(in_flight=3))
        reading = asyncio.create_task(read(world.stream([day(0)], "days")))
        await asyncio.sleep(turn / 3)
        reading.cancel()
        await asyncio.wait([reading])
        del reading
        requests = len(world.requests)
        await turns()
        assert len(tasks()) == len(world.workers) == world.flying <= 3
        await asyncio.sleep(100)
        assert len(world.requests) == requests


@settings(max_examples=100, deadline=None)
@given(
    pages=st.integers(0, 12),
    in_flight=st.integers(1, 4),
    latencies=st.lists(st.floats(0, 5), min_size=1, max_size=20),
    kind=st.sampled_from(sorted(DELIVERIES)),
    moves=st.integers(0, 2),
)
def test_any_order(pages: int, in_flight: int, latencies: list[float], kind: str, moves: int) -> None:
    """In whichever order pages arrive, records come in order, and every page costs one request for each reading."""

    @in_virtual_time
    async def simulation() -> None:
        latency = itertools.cycle(latencies)
        world = World(lambda _: pages, Quota(in_flight=in_flight), latency=lambda: next(latency), moves={1: moves})
        # Where pages are given as they come, the date cannot be read again.
        dates = [0, 2] if kind != "days" else [0, 1, 2]
        assert await read(world.stream(map(day, dates), kind)) == [
            item for number in dates for item in world.items(kind, number)
        ]
        assert world.most_flying <= in_flight
        asked = Counter((request.query.start, request.number) for request in world.requests)
        again = 1 + moves if kind == "days" else 1
        assert asked == {
            (day(number), page): again if number == 1 else 1 for number in dates for page in range(1, max(pages, 1) + 1)
        }

    simulation()


# Of a client


@pytest.mark.parametrize("groups", [0, 1, 30, 31, 95, 300])
@pytest.mark.parametrize("in_flight", [1, 2, 3])
async def test_requests(groups: int, in_flight: int) -> None:
    """An honest server is asked for exactly its pages, by every call."""
    async with Sandbox(groups, quota=Quota(in_flight=in_flight)) as sandbox, sandbox.client() as client:
        pages = max(1, -(-groups // 30))
        streams: list[Callable[[str], Stream[Any]]] = [client.clicks, client.pages, client.days]
        for count, ask in enumerate(streams, 1):
            assert [item async for item in ask(DATE)] or not groups
            assert client.stats.requests == len(sandbox.requests) == count * pages
        assert list(await client.day(DATE)) == sandbox.truth(DATE)
        assert client.stats.requests == 4 * pages


def changing(**changes: Any) -> Any:
    def change(envelope: dict[str, Any]) -> dict[str, Any]:
        envelope["result"]["extra"].update(changes)
        return envelope

    return change


async def most_at_once(ask: str, *, check: Any = "strict", faults: list[Fault] | None = None, **how: Any) -> int:
    """The most requests in flight together for one date of 10 pages."""
    async with (
        Sandbox(300, quota=Quota(in_flight=3), latency=0.005, faults=faults) as sandbox,
        sandbox.client(check=check) as client,
    ):
        items = [item async for item in getattr(client, ask)(DATE, **how)]
        assert [record for page in items for record in page] == sandbox.truth(DATE)[30 * (how.get("start", 1) - 1) :]
        return sandbox.in_flight_peak


@pytest.mark.filterwarnings("ignore::clicksgroup.PaginationWarning")
async def test_sequential() -> None:
    """One page after the other with `check="warn"`, from a later page on, and of course at 1 in flight."""
    assert await most_at_once("pages") == 3
    assert await most_at_once("days") == 3
    assert await most_at_once("pages", check="warn") == 1
    assert await most_at_once("days", check="warn") == 1
    assert await most_at_once("pages", start=2) == 1
    total = [Fault(attempts=None, change=changing(totalCount=12))]
    assert await most_at_once("days", check="warn", faults=total) == 1


@pytest.mark.parametrize("total", [0, 1, 29, 30])
async def test_unbelievable_total(total: int) -> None:
    """A total no larger than what page 1 holds, although there are more, is an error there: one request."""
    faults = [Fault(attempts=None, change=changing(totalCount=total))]
    async with Sandbox(95, quota=Quota(in_flight=3), faults=faults) as sandbox, sandbox.client() as client:
        with pytest.raises(PaginationError, match="totalCount is"):
            await anext(client.clicks(DATE))
        assert len(sandbox.requests) == 1


@pytest.mark.parametrize("total", [96, 3000, 2**62])
@pytest.mark.parametrize("in_flight", [1, 2, 4])
async def test_total_too_large(total: int, in_flight: int) -> None:
    """A total that is too large costs no more than the pages and what is in flight besides the one that ends them."""
    faults = [Fault(attempts=None, change=changing(totalCount=total))]
    async with Sandbox(95, quota=Quota(in_flight=in_flight), faults=faults) as sandbox, sandbox.client() as client:
        with pytest.raises(PaginationError, match=f"nextYn is N after 95 records, but totalCount is {total}"):
            async for _ in client.clicks(DATE):
                pass
        assert 4 <= client.stats.requests <= 4 + in_flight - 1


def raise_total_of_page_4(response: PageResponse) -> None:
    if response.request.number == 4:
        response.extra.totalCount += 1


@in_virtual_time
async def test_stops_at_the_lie() -> None:
    """After the page that shows the lie no request is begun."""
    for rereads in (0, 1, 2):
        world = World(lambda _: 10, Quota(in_flight=3))
        with pytest.raises(PaginationError, match="page 4: totalCount was 20"):
            await read(world.stream([day(0)], rereads=rereads, change=raise_total_of_page_4))
        assert len(world.requests) <= (1 + rereads) * (4 + 2)
        requests = len(world.requests)
        await asyncio.sleep(100)
        assert len(world.requests) == requests


@in_virtual_time
@pytest.mark.parametrize("kind", DELIVERIES)
@pytest.mark.parametrize("in_flight", [1, 2, 3, 5])
async def test_slow_lie(kind: str, in_flight: int) -> None:
    """However late the page comes that shows it: a lie costs at most the other requests that may be in flight."""
    latencies = itertools.chain([1.0, 1000.0], itertools.repeat(1.0))
    world = World(lambda _: 34, Quota(in_flight=in_flight), latency=lambda: next(latencies), fails=[(0, 2)])
    with pytest.raises(TransportError):
        await read(world.stream([day(0)], kind))
    assert [request.number for request in world.requests] == list(range(1, 2 + in_flight))
