"""A client before it is opened, while it closes, and readers that are cancelled: nothing hangs and nothing is lost."""

from __future__ import annotations

import asyncio
import gc
import math
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from clicksgroup import (
    ClientClosedError,
    Quota,
    RetryPolicy,
    TransportError,
    date_range,
)
from clicksgroup.quota.shared import SharedQuota, Slot
from tests.faults.cases import DATE, client_of
from tests.pages import dumps, envelope, paged
from tests.raw_server import SILENCE, RawServer, Response, http

MONTH = date_range("2025-01-01", "2025-01-30")


async def test_not_open() -> None:
    """A client that is not open, or closed, says so and sends nothing."""
    async with RawServer([http(dumps(envelope()))]) as server:
        client = client_of(server)
        with pytest.raises(ClientClosedError, match="not open"):
            await client.day(DATE)
        async with client:
            stream = client.clicks(DATE)
        for use in (lambda: client.day(DATE), lambda: client.page(DATE), lambda: anext(client.days(DATE))):
            with pytest.raises(ClientClosedError, match="closed"):
                await use()
        with pytest.raises(ClientClosedError):
            await anext(stream)
        with pytest.raises(ClientClosedError, match="opened before"):
            await client.__aenter__()
        assert not server.requests


async def test_another_event_loop() -> None:
    """A client used in another event loop says so and sends nothing."""
    async with RawServer([http(dumps(envelope()))]) as server, client_of(server) as client:
        for use in (lambda: client.day(DATE), lambda: anext(client.clicks(DATE))):

            def elsewhere(use: Callable[[], Any] = use) -> None:
                async def main() -> None:
                    await use()

                asyncio.run(main())

            with pytest.raises(ClientClosedError, match="another event loop"):
                await asyncio.to_thread(elsewhere)
        assert not server.requests


@pytest.mark.parametrize(
    "response", [[SILENCE], [http(length=9), SILENCE], http(b"", 503)], ids=["head", "body", "backoff"]
)
async def test_close_in_flight(response: Response) -> None:
    """Closing with requests in flight ends all readers and never hangs."""
    policy = RetryPolicy(attempts=1000, backoff=1e6, max_backoff=1e6, deadline=1e9)
    async with RawServer([response]) as server, asyncio.timeout(10):
        async with client_of(server, retry=policy, timeout=1000) as client:
            readers = [asyncio.ensure_future(anext(client.clicks(MONTH))) for _ in range(3)]
            readers.append(asyncio.ensure_future(client.day(DATE)))  # type: ignore[arg-type]
            await server.wait_for(1)
        await asyncio.wait(readers)
        assert {type(reader.exception()) for reader in readers} == {ClientClosedError}
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not [task for task in others if "clicksgroup" in task.get_name()]


async def test_cancelled_reader() -> None:
    """A cancelled reader loses nothing, whenever it is cancelled."""
    async with RawServer(paged(40)) as server, client_of(server) as client:
        stream = client.pages(MONTH[:10])
        got: list[tuple[str, int]] = []
        steps = 0
        while len(got) < 20:
            reader = asyncio.ensure_future(anext(stream))
            # One turn of the event loop later each time.
            for _ in range(steps % 23):
                await asyncio.sleep(0)
            steps += 1
            reader.cancel()
            await asyncio.wait([reader])
            if not reader.cancelled():
                page = reader.result()
                got.append((str(page.date), page.number))
        assert got == [(str(date), number) for date in MONTH[:10] for number in (1, 2)]
        assert len(server.requests) == client.stats.requests == 20


@pytest.mark.slow
async def test_timed_out_request_stays_in_flight() -> None:
    """A request that timed out keeps its place in flight for a while, since the server may still work on it."""
    async with (
        RawServer([[SILENCE], http(dumps(envelope()))]) as server,
        client_of(server, quota=Quota(in_flight=1), timeout=0.05, retry=RetryPolicy(attempts=1)) as client,
    ):
        with pytest.raises(TransportError, match=r"0\.05 s"):
            await client.page(DATE)
        assert "1 of 1 in flight" in repr(client)
        await client.page(DATE)
        assert len(server.requests) == 2


class SlowQuota(SharedQuota):
    """A quota that opens when the test says so."""

    def __init__(self) -> None:
        super().__init__(Quota(in_flight=1))
        self.opening = asyncio.Event()
        self.may_open = asyncio.Event()

    async def on_open(self) -> None:
        self.opening.set()
        await self.may_open.wait()

    async def acquire(self, max_pause: float = math.inf) -> Slot:
        raise AssertionError("nothing is asked for")


def open_sessions() -> list[aiohttp.ClientSession]:
    return [kept for kept in gc.get_objects() if isinstance(kept, aiohttp.ClientSession) and not kept.closed]


async def test_close_while_opening() -> None:
    """A client that is closed while it is being opened does not open, and leaves no session and no quota in use."""
    before = open_sessions()
    quota = SlowQuota()
    async with RawServer(paged(3)) as server:
        client = client_of(server, quota=quota)
        opening = asyncio.ensure_future(client.open())
        await quota.opening.wait()
        await client.aclose()
        quota.may_open.set()
        with pytest.raises(ClientClosedError, match="closed while it was being opened"):
            await opening
        assert not quota.in_use
        assert open_sessions() == before
        with pytest.raises(ClientClosedError, match="closed"):
            await client.day(DATE)
        assert not server.requests
