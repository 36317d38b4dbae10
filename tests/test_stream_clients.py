"""The streams of a client: they end with it, and work within its sessions and retries."""

from __future__ import annotations

import asyncio
import datetime
from collections import Counter
from typing import Any

import aiohttp
import pytest

from clicksgroup import (
    ClicksClient,
    ClientClosedError,
    ConfigurationError,
    GroupClicks,
    Page,
    Quota,
    RetryPolicy,
    StatusError,
    Stream,
    date_range,
)
from clicksgroup.prefetching import LOOK_AHEAD
from clicksgroup.sandbox import Fault, Sandbox, SeenRequest
from tests.world import read, tasks, turns, worker_tasks


async def test_client_is_left(sandbox: Sandbox) -> None:
    """One that waits, one that is read in between, one that has not begun, and one that has ended."""
    async with sandbox.client() as client:
        ended, read_in_between, not_begun = (client.clicks("2025-01-01") for _ in range(3))
        waiting = asyncio.create_task(read(client.clicks(date_range("2025-01-01", "2025-12-31"))))
        assert len(await read(ended)) == 95
        assert await anext(read_in_between)
    with pytest.raises(ClientClosedError):
        await waiting
    for stream in (read_in_between, not_begun, client.clicks("2025-01-01")):
        for _ in range(2):
            with pytest.raises(ClientClosedError):
                await anext(stream)
    assert await read(ended) == []
    await turns()
    assert not [task for task in tasks() if "clicksgroup" in task.get_name()]


async def test_client_is_left_in_flight() -> None:
    """Leaving the client ends requests that would go on for long."""
    async with Sandbox(latency=3600, quota=Quota(in_flight=2)) as sandbox:
        async with sandbox.client() as client:
            waiting = asyncio.create_task(read(client.clicks(date_range("2025-01-01", "2025-12-31"))))
            await sandbox.wait_for_requests(2)
        with pytest.raises(ClientClosedError):
            await waiting


async def test_client_is_left_at_once(sandbox: Sandbox) -> None:
    """A client can be left the moment its stream has begun."""
    for wait in range(9):
        async with sandbox.client() as client:
            reading = asyncio.create_task(read(client.clicks("2025-01-01")))
            await turns(wait)
        with pytest.raises(ClientClosedError):
            await reading


async def test_break(sandbox: Sandbox) -> None:
    """A break finishes the requests in flight, and no more."""
    async with sandbox.client() as client:
        async for _ in client.clicks(date_range("2025-01-01", "2025-12-31")):
            break
        sent = client.stats.requests
        while any("worker" in task.get_name() for task in tasks()):
            await asyncio.sleep(0)
        assert client.stats.requests == sent == len(sandbox.requests) <= 1 + 2 + LOOK_AHEAD
        assert {request.status for request in sandbox.requests} == {200}
        assert len(await client.day("2025-01-01")) == 95


async def test_client_is_not_open() -> None:
    """A stream of a client that is not open is refused when it is read."""
    client = ClicksClient("key")
    stream = client.clicks("2025-01-01")
    for _ in range(2):
        with pytest.raises(ClientClosedError, match="not open"):
            await anext(stream)


def test_other_loop() -> None:
    """A stream belongs to the event loop of its client."""
    with asyncio.Runner() as here, asyncio.Runner() as there:

        async def begin() -> tuple[ClicksClient, Stream[GroupClicks]]:
            client = await ClicksClient("key", base_url="http://127.0.0.1:1").__aenter__()
            return client, client.clicks("2025-01-01")

        async def next_of(stream: Stream[GroupClicks]) -> None:
            await anext(stream)

        async def leave(client: ClicksClient) -> None:
            await client.__aexit__(None, None, None)

        client, stream = here.run(begin())
        with pytest.raises(ClientClosedError, match="another event loop"):
            there.run(next_of(stream))
        here.run(leave(client))


async def test_impossible_dates(sandbox: Sandbox) -> None:
    """Dates that cannot be are an error in their turn."""
    async with sandbox.client() as client:
        stream = client.days(iter(["2025-01-01", "2025-02-30", "2025-03-01"]))
        assert (await anext(stream)).date == datetime.date(2025, 1, 1)
        with pytest.raises(ConfigurationError, match=r"dates\[1\]: 2025-02-30 is not a date"):
            await anext(stream)
    assert Counter(request.date for request in sandbox.requests) == {datetime.date(2025, 1, 1): 4}


@pytest.fixture
async def sandbox() -> Any:
    async with Sandbox(95, quota=Quota(in_flight=2)) as sandbox:
        yield sandbox


async def test_date_goes_on() -> None:
    """Three dates rest before they are tried again; one comes back to no place, one fails, one is dropped."""
    a, b, c = (datetime.date(2025, 1, number) for number in (1, 2, 3))

    def fault(seen: SeenRequest) -> Fault | None:
        first = seen.attempt == 1
        if seen.date == a and seen.page == 2 and first:
            return Fault(status=503, retry_after=0.06)
        if seen.date == b:
            return Fault(status=503, retry_after=0.15) if first else Fault(status=400, delay=0.1)
        return Fault(status=503, retry_after=0.12) if seen.date == c and first else None

    retry = RetryPolicy(backoff=0.001, max_backoff=0.001)
    pages: list[Page] = []
    async with (
        asyncio.timeout(60),
        Sandbox(1200, quota=Quota(in_flight=1), latency=0.01, faults=fault) as sandbox,
        sandbox.client(retry=retry) as client,
    ):
        with pytest.raises(StatusError, match="2025-01-02"):
            await read_into(pages, client.pages([a, b, c]))
    assert [(page.date, page.number) for page in pages] == [(a, number) for number in range(1, 41)]


async def read_into(items: list[Any], stream: Stream[Any]) -> None:
    async for item in stream:
        items.append(item)  # noqa: PERF401


async def test_closed_after_a_middleware_failed() -> None:
    """The worker that met it goes on to another date, and waits for quota when the stream is closed."""
    looked_ahead = asyncio.Event()

    async def failing(request: aiohttp.ClientRequest, handler: Any) -> aiohttp.ClientResponse:
        response: aiohttp.ClientResponse = await handler(request)
        if "2025-01-02" in str(request.url):
            await looked_ahead.wait()
            raise LookupError
        return response

    async def turns() -> None:
        for _ in range(100):
            await asyncio.sleep(0)

    async with (
        Sandbox(600, quota=Quota((6, 60), in_flight=2)) as sandbox,
        aiohttp.ClientSession(middlewares=(failing,)) as session,
        sandbox.client(session=session) as client,
    ):
        stream = client.pages(["2025-01-01", "2025-01-02"])
        await anext(stream)
        await sandbox.wait_for_requests(6)
        while client.stats.pages < 5:
            await asyncio.sleep(0)
        await turns()
        looked_ahead.set()
        await turns()
        # It waits for quota, for a minute.
        assert len(worker_tasks()) == 1
        await stream.aclose()
        await turns()
        assert not worker_tasks()
        assert len(sandbox.requests) == 6
