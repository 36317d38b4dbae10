"""Reading a stream: one reader, who loses nothing."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from clicksgroup import (
    Quota,
    TransportError,
)
from tests.virtual_time import in_virtual_time
from tests.world import World, day, read, turns


@in_virtual_time
async def test_second_reader() -> None:
    """A second reader is refused, and the first gets everything."""
    world = World(lambda _: 1)
    stream = world.stream([day(0)])
    first = asyncio.create_task(read(stream))
    await turns(1)
    with pytest.raises(RuntimeError, match="one reader"):
        await anext(stream)
    assert await first == world.items("clicks", 0)


@in_virtual_time
async def test_cancelled_anext() -> None:
    """Whichever turn it is cancelled in: before, as and after the item comes."""
    world = World(lambda _: 1, latency=lambda: 0.0)
    for wait in range(12):
        stream = world.stream([day(0), day(1)], "pages")
        reading = asyncio.create_task(anext(stream))
        await turns(wait)
        reading.cancel()
        await asyncio.wait([reading])
        before = [] if reading.cancelled() else [reading.result()]
        assert before + await read(stream) == world.pages_of(0) + world.pages_of(1)


@in_virtual_time
async def test_timeout_around_anext() -> None:
    """A timeout around `anext` loses nothing."""
    world = World(lambda _: 1, latency=lambda: 10.0)
    stream = world.stream([day(0)])
    for _ in range(9):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await anext(stream)
    assert await read(stream) == world.items("clicks", 0)


@in_virtual_time
async def test_only_anext_is_kept() -> None:
    """A stream of which only its `anext` is kept is read."""
    world = World()
    assert await anext(world.stream([day(0)], "pages")) == world.page_of(0, 1)
    assert await anext(world.stream([]), "nothing") == "nothing"


@in_virtual_time
async def test_generator() -> None:
    """It is an async generator in all its ways."""
    world = World()
    stream = world.stream([day(0)], "pages")
    assert await stream.asend(None) == world.page_of(0, 1)
    with pytest.raises(ZeroDivisionError, match="why"):
        await stream.athrow(ZeroDivisionError("why"))
    with pytest.raises(ZeroDivisionError, match="why"):
        await stream.athrow(ZeroDivisionError, "why")
    assert await read(stream) == []


@in_virtual_time
async def test_repr() -> None:
    """Its repr says what is going on."""
    world = World(lambda _: 1, Quota(in_flight=2), fails=[(0, 1)])
    stream = world.stream([day(0)])
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.5):
            await anext(stream)
    assert repr(stream) == "<Stream: 1 pages under way, 1 ahead of the reader>"
    with pytest.raises(TransportError):
        await anext(stream)
    assert repr(stream) == "<Stream: ended with TransportError>"
    await stream.aclose()
    assert repr(stream) == "<Stream: closed>"
