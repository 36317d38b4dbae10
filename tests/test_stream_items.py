"""What a reader gets of many dates at once, and in which order."""

from __future__ import annotations

import asyncio
import datetime
import itertools
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clicksgroup import (
    PaginationError,
    Quota,
    TransportError,
)
from tests.virtual_time import in_virtual_time
from tests.world import DELIVERIES, FIRST, World, day, read, simple, tasks, turns


@st.composite
def worlds(draw: st.DrawFn) -> dict[str, Any]:
    dates = draw(st.lists(st.integers(0, 7), max_size=12))
    lost = draw(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 4)), max_size=2)) if draw(st.booleans()) else []
    return {
        "sizes": dates,
        "fails": [(n, page) for n, page in lost if n < len(dates) and page <= max(dates[n], 1)],
        "in_flight": draw(st.integers(1, 4)),
        "kind": draw(st.sampled_from(sorted(DELIVERIES))),
        "ordered": draw(st.booleans()),
        "seed": draw(st.integers(0, 2**32)),
        "rest": draw(st.sampled_from([0.0, 0.4])),
        "slow_reader": draw(st.booleans()),
        "cancels": draw(st.booleans()),
    }


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(worlds())
def test_whatever_happens(how: dict[str, Any]) -> None:
    """Random latencies, backoffs, failures, pauses and cancellations: nothing hangs, and nothing is left behind."""
    rng = random.Random(how["seed"])

    @in_virtual_time
    async def simulation() -> None:
        world = World(
            lambda number: how["sizes"][number],
            Quota(in_flight=how["in_flight"]),
            latency=lambda: rng.choice([0.0, rng.random(), rng.random() * 9]),
            backing_off=lambda: rng.random() * 9 if rng.random() < how["rest"] else 0.0,
            flaky=lambda _: rng.random() < 0.1,
            fails=how["fails"],
        )
        stream = world.stream(map(day, range(len(how["sizes"]))), how["kind"], ordered=how["ordered"])
        got: list[Any] = []
        failure: Exception | None = None
        while True:
            if how["slow_reader"] and rng.random() < 0.3:
                await asyncio.sleep(rng.random() * 20)
            reading = asyncio.ensure_future(anext(stream))
            if how["cancels"]:
                await turns(rng.randrange(5))
                await asyncio.sleep(rng.choice([0.0, rng.random() * 2]))
                reading.cancel()
            try:
                got.append(simple(await reading))
            except asyncio.CancelledError:
                pass
            except StopAsyncIteration:
                break
            except TransportError as error:
                failure = error
                break
        judge(world, how, got, failure)
        with pytest.raises(type(failure) if failure else StopAsyncIteration):
            await anext(stream)
        assert world.most_flying <= how["in_flight"]
        await turns()
        assert len(tasks()) == len(world.workers) == world.flying
        await asyncio.sleep(100)
        assert not world.workers

    simulation()


def judge(world: World, how: dict[str, Any], got: list[Any], failure: Exception | None) -> None:
    numbers = range(len(how["sizes"]))
    lost = {number for number, _ in how["fails"]}
    assert (failure is not None) == bool(lost)
    items = {number: world.items(how["kind"], number) for number in numbers}
    if how["ordered"]:
        end = min(lost) + 1 if lost else len(numbers)
        assert got == [item for number in numbers[:end] for item in items[number]]
        assert failure is None or getattr(failure, "date", None) == day(min(lost))
        return
    by_date: dict[int, list[Any]] = {}
    for item in got:
        date = item[0] if isinstance(item, tuple) else item.date
        by_date.setdefault((date - FIRST).days, []).append(item)
    for number, given_of_it in by_date.items():
        assert given_of_it == items[number]
    together = [key for key, _ in itertools.groupby(i[0] if isinstance(i, tuple) else i.date for i in got)]
    assert len(together) == len(by_date)
    if failure is None:
        assert set(by_date) == {number for number in numbers if items[number]}


@in_virtual_time
async def test_ordered() -> None:
    """Dates are read at once, and given in their order."""
    slow_first = iter([9.0, *itertools.repeat(1.0, 9)])
    world = World(lambda _: 1, Quota(in_flight=3), latency=lambda: next(slow_first))
    got = [record.date async for record in world.stream(map(day, range(5)))]
    assert got == [day(n) for n in range(5) for _ in range(2)]
    assert world.most_flying == 3


@in_virtual_time
async def test_unordered() -> None:
    """Without an order they are given as they complete."""
    slow_first = iter([9.0, *itertools.repeat(1.0, 9)])
    world = World(lambda _: 1, Quota(in_flight=2), latency=lambda: next(slow_first))
    got = [page.date async for page in world.stream(map(day, range(4)), "pages", ordered=False)]
    assert got == [day(1), day(2), day(3), day(0)]


@in_virtual_time
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("kind", DELIVERIES)
async def test_all_places_used(kind: str, ordered: bool) -> None:
    """Even where the first date is long: those behind it that have begun are read on."""
    world = World(lambda _: 20, Quota(in_flight=2))
    assert len(await read(world.stream(map(day, range(4)), kind, ordered=ordered))) > 3
    assert asyncio.get_running_loop().time() <= 4 * 20 / 2 + 2


@in_virtual_time
async def test_rereads() -> None:
    """A date that moved is read again, twice at most."""
    world = World(lambda _: 2, moves={0: 2})
    (got,) = [item async for item in world.stream([day(0)], "days")]
    assert [request.number for request in world.requests] == [1, 2] * 3
    assert got.records == world.items("days", 0)[0][1]
    world = World(lambda _: 2, moves={0: 3})
    with pytest.raises(PaginationError):
        await read(world.stream([day(0)], "days"))
    assert len(world.requests) == 6


@in_virtual_time
@pytest.mark.parametrize("ordered", [True, False])
async def test_error(ordered: bool) -> None:
    """An error comes bare, after what precedes it, and again every time."""
    world = World(lambda _: 2, Quota(in_flight=1), fails=[(1, 2)])
    stream = world.stream(map(day, range(9)), "pages", ordered=ordered)
    assert [await anext(stream) for _ in range(3)] == [*world.pages_of(0), world.page_of(1, 1)]
    errors = []
    for _ in range(3):
        with pytest.raises(TransportError, match="made up") as raised:
            await anext(stream)
        errors.append(raised.value)
    assert errors[0] is errors[1] is errors[2]
    await stream.aclose()
    with pytest.raises(TransportError):
        await anext(stream)


@in_virtual_time
async def test_no_request_after_failure() -> None:
    """Nothing is asked for after a failure that nobody will read."""
    world = World(lambda _: 3, Quota(in_flight=2), fails=[(0, 1)])
    with pytest.raises(TransportError):
        await read(world.stream(map(day, range(9))))
    before = len(world.requests)
    await asyncio.sleep(100)
    assert len(world.requests) == before <= 2


@in_virtual_time
async def test_dates_before_a_failure() -> None:
    """The dates before one that failed are read to their ends first."""
    world = World(lambda number: 5 if number == 0 else 1, Quota(in_flight=2), fails=[(1, 1)])
    stream = world.stream(map(day, range(9)), "pages")
    for page in world.pages_of(0):
        assert await anext(stream) == page
    with pytest.raises(TransportError):
        await anext(stream)


@in_virtual_time
@pytest.mark.parametrize("ordered", [True, False])
async def test_dates_raise(ordered: bool) -> None:
    """An exception of the caller's dates comes in its turn."""

    def dates() -> Iterator[datetime.date]:
        yield day(0)
        yield day(1)
        raise ZeroDivisionError("of the caller's")

    world = World(lambda _: 2)
    stream = world.stream(dates(), "days", ordered=ordered)
    assert [simple(await anext(stream)) for _ in range(2 if ordered else 0)] == (
        world.items("days", 0) + world.items("days", 1) if ordered else []
    )
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await read(stream)


@in_virtual_time
async def test_no_dates() -> None:
    """No dates are no items."""
    world = World()
    assert await read(world.stream([])) == []
    assert not world.requests
