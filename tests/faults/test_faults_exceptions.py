"""An exception that ends the work is raised to the reader, also a `BaseException`: nothing hangs or looks whole."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Self

import aiohttp
import pytest

from clicksgroup import ClicksClient, Quota, date_range
from clicksgroup.protocol import PageRequest, Paginator
from clicksgroup.sandbox import Sandbox
from tests.faults.cases import DATE, all_clicks, one_page, whole_day
from tests.virtual_time import in_virtual_time
from tests.world import DELIVERIES, World, day

GUARD = 3
"""Seconds. A test that takes as long hangs."""


class Interrupt(BaseException):
    """As KeyboardInterrupt: no `Exception`."""


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(95, quota=Quota(in_flight=2)) as sandbox:
        yield sandbox


async def whole_days(client: ClicksClient) -> object:
    return [day async for day in client.days(date_range("2025-01-01", "2025-01-09"), ordered=False)]


@pytest.mark.parametrize("error", [Interrupt("now"), GeneratorExit("now"), ZeroDivisionError("now")], ids=repr)
@pytest.mark.parametrize("read", [one_page, whole_day, all_clicks, whole_days])
async def test_of_a_middleware(
    sandbox: Sandbox, read: Callable[[ClicksClient], Awaitable[object]], error: BaseException
) -> None:
    """One that a middleware of the session raises reaches each reader, and the client serves on."""
    broken = True

    async def middleware(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        response = await handler(request)
        if broken:
            response.close()
            raise error
        return response

    async with (
        asyncio.timeout(GUARD),
        aiohttp.ClientSession(middlewares=[middleware]) as session,
        sandbox.client(session=session) as client,
    ):
        for _ in range(2):
            with pytest.raises(type(error), match="now"):
                await read(client)
        broken = False
        assert len(await client.day(DATE)) == 95


async def test_of_a_middleware_for_all_who_share(sandbox: Sandbox) -> None:
    """All who wait for the same answer meet it."""

    async def middleware(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        raise Interrupt("now")

    async with (
        asyncio.timeout(GUARD),
        aiohttp.ClientSession(middlewares=[middleware]) as session,
        sandbox.client(session=session) as client,
    ):
        asking = [asyncio.create_task(client.day(DATE)) for _ in range(5)]
        await asyncio.wait(asking)
        assert {type(task.exception()) for task in asking} == {Interrupt}


@pytest.mark.parametrize("read", [one_page, whole_day, all_clicks, whole_days])
@pytest.mark.parametrize("good", [0, 1])
async def test_stop_async_iteration(
    sandbox: Sandbox, good: int, read: Callable[[ClicksClient], Awaitable[object]]
) -> None:
    """A `StopAsyncIteration` of a middleware, after some requests, is a `RuntimeError` and never a clean end."""
    tokens = iter(range(good))

    async def middleware(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        if next(tokens, None) is None:
            raise StopAsyncIteration("now")
        return await handler(request)

    async with (
        asyncio.timeout(GUARD),
        aiohttp.ClientSession(middlewares=[middleware]) as session,
        sandbox.client(session=session) as client,
    ):
        if read is one_page and good:
            await read(client)
        for _ in range(2):
            with pytest.raises(RuntimeError, match="StopAsyncIteration") as caught:
                await read(client)
            assert isinstance(caught.value.__cause__, StopAsyncIteration)


@in_virtual_time
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("kind", DELIVERIES)
async def test_of_a_worker(monkeypatch: pytest.MonkeyPatch, kind: str, ordered: bool) -> None:
    """A fault in a worker's own code reaches the reader, who would wait for ever."""

    def faulty(self: Paginator, request: PageRequest, outcome: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(Paginator, "receive", faulty)
    world = World()
    stream = world.stream(map(day, range(9)), kind, ordered=ordered)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError, match="ours"):
            await anext(stream)
    await asyncio.sleep(100)
    assert not world.workers
    assert len(world.requests) <= 2


class Dates:
    """Two dates, and then an exception, as no generator of Python could raise it."""

    def __init__(self, error: BaseException) -> None:
        self._dates = iter([datetime.date(2025, 1, 1), datetime.date(2025, 1, 2)])
        self._error = error

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> datetime.date:
        date = next(self._dates, None)
        if date is None:
            raise self._error
        return date


ENDINGS: list[tuple[BaseException, type[BaseException]]] = [
    (Interrupt("now"), Interrupt),
    (GeneratorExit("now"), GeneratorExit),
    (StopAsyncIteration("now"), RuntimeError),
    (ZeroDivisionError("now"), ZeroDivisionError),
    (RuntimeError("now"), RuntimeError),
]


@pytest.mark.parametrize(("error", "raised"), ENDINGS, ids=[type(error).__name__ for error, _ in ENDINGS])
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("kind", ["clicks", "pages", "days"])
async def test_of_the_dates(
    sandbox: Sandbox, kind: str, ordered: bool, error: BaseException, raised: type[BaseException]
) -> None:
    """One that the caller's dates raise comes in its turn, again each time, and never as the end of the stream."""
    async with asyncio.timeout(GUARD), sandbox.client() as client:
        stream = getattr(client, kind)(Dates(error), ordered=ordered)
        got = await read_until(stream, raised)
        assert {item.date.day for item in got} <= {1, 2}
        assert not ordered or {item.date.day for item in got} == {1, 2}
        assert await read_until(stream, raised) == []
        # The client serves on.
        assert len(await client.day(DATE)) == 95


async def read_until(stream: Any, raised: type[BaseException]) -> list[Any]:
    """What a stream gives before it raises exactly that."""
    got: list[Any] = []
    try:
        async for item in stream:
            got.append(item)  # noqa: PERF401
    except BaseException as error:
        if type(error) is not raised:
            raise
        return got
    raise AssertionError(f"a clean end after {got}")
