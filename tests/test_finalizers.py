"""A stream that is dropped ends its work, wherever the garbage collector finds it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import logging
import random
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

from clicksgroup import Quota, prefetching, workers
from tests.virtual_time import in_virtual_time
from tests.world import DELIVERIES, World, day, tasks, turns

FILES = {prefetching.__file__, workers.__file__}


class CollectAt:
    """Collects garbage as one line of the prefetcher or its workers is about to run, the n-th from now on."""

    def __init__(self, line: int) -> None:
        self.lines_left = line
        self.collected = False

    def __call__(self, frame: FrameType, event: str, argument: object) -> Any:
        if self.collected or frame.f_code.co_filename not in FILES:
            return None
        if event == "line":
            self.lines_left -= 1
            if self.lines_left <= 0:
                self.collected = True
                gc.collect()
        return self


@pytest.fixture(autouse=True)
def few_objects() -> Iterator[None]:
    """The collector leaves alone what is there already: after thousands of tests that takes a tenth of a second."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@contextlib.contextmanager
def collecting_at(line: int) -> Iterator[CollectAt]:
    """Without any other garbage collection."""
    tracer, before = CollectAt(line), sys.gettrace()
    gc.disable()
    sys.settrace(tracer)
    try:
        yield tracer
    finally:
        sys.settrace(before)
        gc.enable()


async def drop(world: World, kind: str, ordered: bool) -> None:
    """Drop a stream under way, in a cycle, so that only the garbage collector finds it."""
    holder: list[Any] = [world.stream(map(day, itertools.count()), kind, ordered=ordered)]
    holder.append(holder)
    await anext(holder[0])


@pytest.mark.slow
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("kind", DELIVERIES)
def test_at_any_line(kind: str, ordered: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Collected within any method of the prefetcher: nothing is logged, and no request follows those in flight."""
    heard: list[object] = []

    @in_virtual_time
    async def simulation(line: int) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))
        rng = random.Random(line)
        world = World(lambda number: number % 4, Quota(in_flight=2), latency=lambda: rng.choice([0.0, rng.random()]))
        with collecting_at(line) as tracer:
            await drop(world, kind, ordered)
            while not tracer.collected and world.workers:
                await asyncio.sleep(0.1)
        reached.append(tracer.collected)
        gc.collect()
        requests = len(world.requests)
        await turns()
        assert len(tasks()) == len(world.workers) == world.flying
        await asyncio.sleep(1000)
        assert len(world.requests) <= requests + 1
        assert not world.workers
        assert not tasks()

    reached: list[bool] = []
    with caplog.at_level(logging.WARNING):
        for line in range(1, 600, 4):
            simulation(line)
    assert sum(reached) > 50
    assert not heard
    assert not caplog.records


@pytest.mark.slow
@pytest.mark.parametrize("ordered", [True, False])
def test_at_every_allocation(ordered: bool, caplog: pytest.LogCaptureFixture) -> None:
    """With the garbage collector at work all the time, streams are dropped while others are read to their ends."""
    heard: list[object] = []

    @in_virtual_time
    async def simulation(seed: int) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))
        rng = random.Random(seed)
        world = World(lambda number: number % 4, Quota(in_flight=2), latency=rng.random)

        async def dropping() -> None:
            for kind in DELIVERIES:
                await drop(world, kind, ordered)

        async def reading() -> list[Any]:
            return [page async for page in world.stream(map(day, range(8)), "pages", ordered=ordered)]

        pages, _ = await asyncio.gather(reading(), dropping())
        assert len(pages) == sum(max(number % 4, 1) for number in range(8))
        await asyncio.sleep(1000)
        assert not world.workers
        assert not tasks()

    threshold = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        with caplog.at_level(logging.WARNING):
            for seed in range(40):
                simulation(seed)
    finally:
        gc.set_threshold(*threshold)
    assert not heard
    assert not caplog.records


@in_virtual_time
async def test_through_the_loop() -> None:
    """A finalizer changes nothing of the prefetcher's state itself: the loop closes it, in a turn of its own."""
    world = World()
    stream = world.stream(map(day, itertools.count()), "pages")
    await anext(stream)
    prefetcher = stream._prefetcher
    assert prefetcher is not None
    before = repr(prefetcher), len(world.workers)
    del stream
    assert (repr(prefetcher), len(world.workers)) == before
    assert prefetcher.abandoned
    await turns(1)
    assert repr(prefetcher) == "ended"


@in_virtual_time
async def test_no_request_before_the_loop_closes_it() -> None:
    """Between the finalizer and the loop's turn no request is sent."""
    world = World(latency=lambda: 0.0)
    for wait in range(20):
        stream = world.stream(map(day, itertools.count()), "pages")
        reading = asyncio.ensure_future(anext(stream))
        await turns(wait)
        reading.cancel()
        await asyncio.wait([reading])
        requests = len(world.requests)
        del stream, reading
        await turns(20)
        assert len(world.requests) == requests
        assert not world.workers


def test_after_the_loop(caplog: pytest.LogCaptureFixture) -> None:
    """A stream that outlives its event loop is dropped without a word."""

    async def begin() -> Any:
        world = World(latency=lambda: 3600.0)
        stream = world.stream(map(day, itertools.count()), "pages")
        reading = asyncio.ensure_future(anext(stream))
        await turns()
        reading.cancel()
        return stream

    stream = asyncio.run(begin())
    del stream
    gc.collect()
    assert not caplog.records
