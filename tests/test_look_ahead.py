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
async def test_a_reader_that_stops_stops_the_requests_though_dates_never_end(
    kind: str, ordered: bool, pages: int
) -> None:
    world = World(lambda number: 1 if number == 0 else pages, Quota(in_flight=2))
    stream = world.stream(map(day, itertools.count()), kind, ordered=ordered)
    await anext(stream)
    await asyncio.sleep(10_000)
    assert not tasks()
    whole = kind == "days" or not ordered
    ahead = 2 + LOOK_AHEAD
    most = 1 + ahead * (max(pages, 1) if whole else 1)
    assert len(world.requests) <= most + (0 if whole else 1)
    await stream.aclose()


@in_virtual_time
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("kind", DELIVERIES)
async def test_a_slow_reader_never_waits_since_the_work_is_done_ahead(kind: str, ordered: bool) -> None:
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
async def test_while_an_errand_rests_another_has_its_place_and_no_longer() -> None:
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
async def test_dates_are_taken_no_earlier_than_they_are_needed() -> None:
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
async def test_a_thousand_streams_that_nobody_reads_cost_nothing() -> None:
    world = World()
    streams = [world.stream(map(day, itertools.count())) for _ in range(1000)]
    await turns()
    assert not tasks()
    assert not asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    assert not world.requests
    assert {repr(stream) for stream in streams} == {"<Stream: not started>"}
