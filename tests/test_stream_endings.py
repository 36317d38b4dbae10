"""A stream leaves nothing behind, however it ends: no task, and no request after those in flight."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from clicksgroup import (
    ClientClosedError,
    Quota,
)
from tests.virtual_time import in_virtual_time
from tests.world import FIRST, World, day, read, tasks, turns


async def breaks(world: World) -> None:
    async for _ in world.stream(map(day, itertools.count()), "pages"):
        break


async def leaves_the_block(world: World) -> None:
    async with world.stream(map(day, itertools.count()), "pages") as stream:
        await anext(stream)


async def is_aclosing(world: World) -> None:
    async with contextlib.aclosing(world.stream(map(day, itertools.count()), "pages")) as stream:
        await anext(stream)


async def fails_in_its_body(world: World) -> None:
    with contextlib.suppress(ZeroDivisionError):
        async for _ in world.stream(map(day, itertools.count()), "pages"):
            raise ZeroDivisionError


async def is_cancelled(world: World) -> None:
    async def reader() -> None:
        async for _ in world.stream(map(day, itertools.count()), "pages"):
            pass

    task = asyncio.create_task(reader())
    await asyncio.sleep(1.5)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    kept.append(task)  # and in it the exception, with its frames


async def runs_out_of_time(world: World) -> None:
    try:
        async with asyncio.timeout(1.5):
            async for _ in world.stream(map(day, itertools.count()), "pages"):
                pass
    except TimeoutError as error:
        kept.append(error)


async def drops_it(world: World) -> None:
    stream = world.stream(map(day, itertools.count()), "pages")
    await anext(stream)
    del stream


async def drops_it_in_a_cycle(world: World) -> None:
    holder: list[Any] = [world.stream(map(day, itertools.count()), "pages")]
    holder.append(holder)
    await anext(holder[0])
    del holder
    gc.collect()


async def drops_it_in_a_thread(world: World) -> None:
    holder = [world.stream(map(day, itertools.count()), "pages")]
    await anext(holder[0])
    thread = threading.Thread(target=holder.clear)
    thread.start()
    thread.join()


kept: list[object] = []


@pytest.mark.parametrize(
    ("quota", "flaky"),
    [(Quota(in_flight=2), False), (Quota((1, 10), in_flight=2), False), (Quota(in_flight=2), True)],
    ids=["in flight", "waiting for quota", "failing"],
)
@pytest.mark.parametrize(
    "way",
    [
        breaks,
        leaves_the_block,
        is_aclosing,
        fails_in_its_body,
        is_cancelled,
        runs_out_of_time,
        drops_it,
        drops_it_in_a_cycle,
        drops_it_in_a_thread,
    ],
)
def test_every_way_to_end(
    way: Callable[[World], Awaitable[None]], quota: Quota, flaky: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Besides requests that are in flight, which are finished; and nobody hears of it."""

    @in_virtual_time
    async def simulation() -> None:
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        loop.set_exception_handler(lambda _, context: heard.append(context))
        world = World(quota=quota, flaky=lambda request: flaky and request.query.start > FIRST)
        await way(world)
        requests = len(world.requests)
        await turns()
        assert len(tasks()) == len(world.workers) == world.flying
        await asyncio.sleep(1000)
        assert len(world.requests) == requests
        assert not world.workers
        assert not tasks()
        gc.collect()

    heard: list[object] = []
    with caplog.at_level(logging.WARNING):
        simulation()
    kept.clear()
    assert not heard
    assert not caplog.records


@in_virtual_time
async def test_close_in_any_turn() -> None:
    """Also before the tasks that it has just started have made their first step."""
    for wait in range(25):
        world = World(latency=lambda: 0.0)
        stream = world.stream(map(day, range(3)), "pages")
        reading = asyncio.create_task(read(stream))
        await turns(wait)
        await stream.aclose()
        requests = len(world.requests)
        await turns()
        assert len(tasks()) - (not reading.done()) == len(world.workers) == world.flying
        await asyncio.sleep(1)
        assert await reading == (world.pages_of(0) + world.pages_of(1) + world.pages_of(2))[: len(reading.result())]
        assert not world.workers
        assert len(world.requests) == requests


@in_virtual_time
async def test_close_before_it_began() -> None:
    """A stream that was closed before it began gives nothing."""
    world = World()
    stream = world.stream([day(0)])
    await stream.aclose()
    assert await read(stream) == []
    assert not world.requests


@in_virtual_time
async def test_close_with_items_at_hand() -> None:
    """A closed stream gives nothing of what it had ready."""
    world = World()
    stream = world.stream([day(0)])
    await anext(stream)
    await stream.aclose()
    await stream.aclose()
    assert await read(stream) == []


@in_virtual_time
async def test_close_after_the_end() -> None:
    """Closing a stream that has ended changes nothing."""
    world = World()
    stream = world.stream([day(0)])
    assert len(await read(stream)) == 6
    await stream.aclose()
    assert await read(stream) == []


@in_virtual_time
async def test_all_tasks_cancelled() -> None:
    """A program that cancels all tasks does not leave the reader waiting."""
    world = World()
    stream = world.stream([day(0)])
    reading = asyncio.create_task(read(stream))
    await turns()
    for task in tasks():
        if task is not reading:
            task.cancel()
    with pytest.raises(ClientClosedError):
        await reading
    assert not world.workers
