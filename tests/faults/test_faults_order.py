"""Pages that come out of their turn: what they cost, and that one page in trouble holds up no other date."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from clicksgroup import ClicksClient, ClicksGroupError, PaginationError, Quota, RetryPolicy, TransportError, date_range
from clicksgroup.protocol import PageRequest, PageResponse
from clicksgroup.quota.shared import SharedQuota, Slot
from tests.faults.cases import DATE, client_of
from tests.pages import dumps, envelope, paged
from tests.raw_server import RawServer, Request, Response, http
from tests.virtual_time import in_virtual_time
from tests.world import DELIVERIES, World, day, read

GUARD = 3
"""Seconds. A test that takes as long hangs."""


def slow_page_2() -> Any:
    """The latency of a `World` whose second request takes very long."""
    latencies = itertools.chain([1.0, 1000.0], itertools.repeat(1.0))
    return lambda: next(latencies)


def end_at_page_3(response: PageResponse) -> None:
    if response.request.number == 3:
        response.extra.nextYn, response.extra.nextPages = "N", 3


@in_virtual_time
@pytest.mark.parametrize("kind", DELIVERIES)
@pytest.mark.parametrize("in_flight", [2, 3, 5])
async def test_failure(kind: str, in_flight: int) -> None:
    """A page that fails while an earlier one is on its way costs at most the other requests in flight."""
    world = World(lambda _: 34, Quota(in_flight=in_flight), latency=slow_page_2(), fails=[(0, 3)])
    with pytest.raises(TransportError) as caught:
        await read(world.stream([day(0)], kind))
    assert caught.value.page == 3
    assert len(world.requests) <= 3 + in_flight - 1


@in_virtual_time
@pytest.mark.parametrize("kind", DELIVERIES)
@pytest.mark.parametrize("in_flight", [2, 3, 5])
async def test_end(kind: str, in_flight: int) -> None:
    """So does a page that says too early that it is the last."""
    world = World(lambda _: 34, Quota(in_flight=in_flight), latency=slow_page_2())
    with pytest.raises(PaginationError, match="page 3: nextYn is N after 6 records, but totalCount is 68"):
        await read(world.stream([day(0)], kind, rereads=0, change=end_at_page_3))
    assert len(world.requests) <= 3 + in_flight - 1


@in_virtual_time
@pytest.mark.parametrize("kind", DELIVERIES)
@pytest.mark.parametrize("in_flight", [2, 3])
async def test_first_date_backs_off(kind: str, in_flight: int) -> None:
    """Without an order all other dates are given while the first backs off."""
    pauses = iter([10_000.0])
    world = World(lambda _: 8, Quota(in_flight=in_flight), backing_off=lambda: next(pauses, 0.0))
    stream = world.stream(map(day, range(9)), kind, ordered=False)
    others = [item for number in range(1, 9) for item in world.items(kind, number)]
    got = [await anext(stream) for _ in others]
    assert asyncio.get_running_loop().time() < 100
    assert {item.date for item in got} == {day(number) for number in range(1, 9)}
    assert day(0) not in {request.query.start for request in world.requests}
    await stream.aclose()


async def days(client: ClicksClient) -> AsyncIterator[Any]:
    async for found in client.days(date_range("2025-01-01", "2025-01-09"), ordered=False):
        yield found.date


async def day_outcomes(client: ClicksClient) -> AsyncIterator[Any]:
    def fatal(date: object, error: ClicksGroupError) -> bool:
        return True

    async for date, _ in client.day_outcomes(date_range("2025-01-01", "2025-01-09"), fatal=fatal):
        yield date


@pytest.mark.parametrize("stream", [days, day_outcomes])
async def test_first_date_is_refused(stream: Any) -> None:
    """So they are where a server asks to come back an hour later for the first date."""

    def respond(request: Request) -> Response:
        return http(b"", 503, "Retry-After: 3600") if request.date == "2025-01-01" else correct(request)

    correct = paged(240)
    policy = RetryPolicy(deadline=100_000)
    async with (
        asyncio.timeout(GUARD),
        RawServer(respond) as server,
        client_of(server, quota=Quota(in_flight=2), retry=policy) as client,
    ):
        found = stream(client)
        got = {(await anext(found)).day for _ in range(8)}
        assert got == set(range(2, 10))
        assert client.stats.requests == len(server.requests) == 1 + 8 * 8


@in_virtual_time
async def test_moved_while_a_page_backs_off() -> None:
    """A page that backs off while its date is begun again is not sent."""
    latencies = itertools.chain([1.0, 5.0], itertools.repeat(1.0))
    # The fifth is page 3, for the second time: it would be sent while page 1 is read again.
    pauses = iter([0.0, 0.0, 0.0, 0.0, 4.5])
    failures = iter([3])
    moves = iter([2])

    def flaky(request: PageRequest) -> bool:
        return request.number == 3 and next(failures, None) is not None

    def move(response: PageResponse) -> None:
        if response.request.number == 2 and next(moves, None) is not None:
            response.extra.totalCount += 1

    world = World(
        lambda _: 4,
        Quota(in_flight=3),
        latency=lambda: next(latencies),
        backing_off=lambda: next(pauses, 0.0),
        flaky=flaky,
    )
    assert await read(world.stream([day(0)], "days", change=move)) == world.items("days", 0)
    assert Counter(request.number for request in world.requests) == {1: 2, 2: 2, 3: 2, 4: 2}


class GatedQuota(SharedQuota):
    """Grants the fourth slot when the fifth is asked for."""

    def __init__(self) -> None:
        super().__init__(Quota(in_flight=3))
        self._asked = 0
        self._gate = asyncio.Event()

    async def acquire(self, max_pause: float = math.inf) -> Slot:
        self._asked += 1
        if self._asked == 4:
            await self._gate.wait()
        if self._asked == 5:
            self._gate.set()
        return Slot(lambda slot, kind, seconds: None)


async def test_moved_while_a_page_waits_for_quota() -> None:
    """Nor is one that waits for quota meanwhile."""

    def respond(request: Request) -> Response:
        first = [seen.page for seen in server.requests].count(2) == 1
        moved = {"totalCount": 121} if request.page == 2 and first else {}
        return http(dumps(envelope(request.page, 120, **moved)))

    async with (
        asyncio.timeout(GUARD),
        RawServer(respond) as server,
        client_of(server, quota=GatedQuota()) as client,
    ):
        assert len(await client.day(DATE)) == 120
        assert client.stats.requests == len(server.requests)
        assert Counter(request.page for request in server.requests) == {1: 2, 2: 2, 3: 2, 4: 1}
