"""How far a stream works ahead of its reader: bounded in pages, and never further than it has to."""

from __future__ import annotations

import asyncio
import datetime
import itertools
from collections.abc import Iterator

import pytest

from clicksgroup import (
    Quota,
)
from clicksgroup.prefetching import LOOK_AHEAD
from tests.virtual_time import in_virtual_time
from tests.world import DELIVERIES, World, day, read, tasks, turns


@in_virtual_time
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("kind", DELIVERIES)
@pytest.mark.parametrize("pages", [0, 1, 2, 50])
async def test_reader_stops(kind: str, ordered: bool, pages: int) -> None:
    """A reader that stops stops the requests, though dates never end: a few pages ahead, however large dates are."""
    world = World(lambda number: 1 if number == 0 else pages, Quota(in_flight=2))
    stream = world.stream(map(day, itertools.count()), kind, ordered=ordered)
    await anext(stream)
    await asyncio.sleep(10_000)
    assert not tasks()
    assert len(world.requests) <= 1 + 2 + LOOK_AHEAD
    await stream.aclose()


@in_virtual_time
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("in_flight", [1, 2, 5])
async def test_days_of_ten_pages(in_flight: int, ordered: bool) -> None:
    """After one date of ten pages was read, a few more pages were asked for, or another date where that is more."""
    world = World(lambda _: 10, Quota(in_flight=in_flight))
    stream = world.stream(map(day, itertools.count()), "days", ordered=ordered)
    for dates in range(1, 4):
        await anext(stream)
        await asyncio.sleep(10_000)
        assert len(world.requests) <= 10 * dates + max(in_flight + LOOK_AHEAD, 10)
        # Where only the first date is waited for, a few pages more than its own.
        if dates == 1 and (ordered or in_flight == 1):
            assert len(world.requests) <= 10 + in_flight + LOOK_AHEAD
    await stream.aclose()


@in_virtual_time
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("kind", DELIVERIES)
async def test_slow_reader(kind: str, ordered: bool) -> None:
    """A slow reader never waits, since the work is done ahead."""
    world = World(lambda number: number % 4, Quota(in_flight=2))
    stream = world.stream(map(day, range(1, 20)), kind, ordered=ordered)
    await anext(stream)
    while True:
        await asyncio.sleep(100)
        before = asyncio.get_running_loop().time()
        if await anext(stream, None) is None:
            break
        assert asyncio.get_running_loop().time() == before


@in_virtual_time
@pytest.mark.parametrize("kind", DELIVERIES)
async def test_large_date_first(kind: str) -> None:
    """Without order, small dates are fetched beside a large one that fetches a page at a time."""
    world = World(lambda number: 1 if number else 20, Quota(in_flight=3))
    await read(world.stream(map(day, range(31)), kind, ordered=False, check="warn"))
    assert asyncio.get_running_loop().time() == 20


@in_virtual_time
async def test_backing_off() -> None:
    """While a worker backs off another has its place, and no longer."""
    backing_off = iter([100.0])
    world = World(lambda _: 3, Quota(in_flight=1), backing_off=lambda: next(backing_off, 0.0))
    reading = asyncio.create_task(read(world.stream(map(day, range(100)), "days", ordered=False)))
    await asyncio.sleep(99.5)
    assert len(world.requests) == 100
    assert day(0) not in {request.query.start for request in world.requests}
    await asyncio.sleep(10)
    assert not reading.done()
    assert len(world.workers) == 1
    assert len(await reading) == 100


@in_virtual_time
async def test_dates_are_lazy() -> None:
    """Dates are taken from the caller no earlier than they are needed."""
    taken: list[datetime.date] = []

    def dates() -> Iterator[datetime.date]:
        for number in itertools.count():
            taken.append(day(number))
            yield day(number)

    world = World(lambda _: 1, Quota(in_flight=2))
    stream = world.stream(dates(), "pages")
    assert not taken
    await anext(stream)
    await asyncio.sleep(100)
    assert len(taken) <= 1 + 2 + LOOK_AHEAD
    await stream.aclose()


@in_virtual_time
async def test_unread_streams() -> None:
    """A thousand streams that nobody reads cost nothing."""
    world = World()
    streams = [world.stream(map(day, itertools.count())) for _ in range(1000)]
    await turns()
    assert not tasks()
    assert not asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    assert not world.requests
    assert {repr(stream) for stream in streams} == {"<Stream: not started>"}
