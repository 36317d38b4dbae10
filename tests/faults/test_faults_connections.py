"""Connections: what was never sent says so, and a slot of the quota is spent on a page, not on a guess."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from clicksgroup import Quota, RetryPolicy, TransportError, date_range
from tests.faults.cases import DATE, client_of, failure_of
from tests.pages import dumps, envelope, paged
from tests.raw_server import CLOSE, SILENCE, RawServer, Request, Response, http

correct = paged(3)
DATES = date_range("2025-01-01", "2025-02-09")
"""40 dates of one page."""


async def test_connection_is_busy() -> None:
    """A borrowed session whose only connection is busy: nothing was sent, and nothing is counted."""
    async with (
        RawServer([[SILENCE]]) as server,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session,
        client_of(server, session=session, timeout=0.05, retry=RetryPolicy(attempts=2, backoff=0)) as client,
    ):
        busy = asyncio.create_task(session.get(server.url))
        await server.wait_for(1)
        with pytest.raises(TransportError, match=r"nothing was sent within 0\.05 s \(timeout=\): no connection"):
            await client.page(DATE)
        assert client.stats.requests == 0
        assert len(server.requests) == 1
        busy.cancel()


async def test_no_response() -> None:
    """Where the request was sent, the error says that the response did not come."""
    async with RawServer([[SILENCE]]) as server:
        error = await failure_of(server, timeout=0.05, retry=RetryPolicy(attempts=1))
        assert "no complete response within 0.05 s (timeout=)" in str(error)
        assert len(server.requests) == 1


def with_connection(request: Request, says: str) -> bytes:
    return http(dumps(envelope(request.page)), 200, f"Connection: {says}")


def says_keep_alive_and_closes(request: Request) -> Response:
    return [with_connection(request, "keep-alive"), CLOSE]


def drops_reused_connections(server: list[RawServer]) -> object:
    """A response to the first request of each connection; the second is dropped without a response.

    A connection that the client wants closed is closed, as HTTP demands.
    """

    def respond(request: Request) -> Response:
        if len([seen for seen in server[0].requests if seen.connection == request.connection]) > 1:
            return [CLOSE]
        return [with_connection(request, "close"), CLOSE] if request.header("Connection") else correct(request)

    return respond


@pytest.mark.parametrize("borrowed", [False, True])
@pytest.mark.parametrize("in_flight", [1, 2])
async def test_closes_after_each_response(in_flight: int, borrowed: bool) -> None:
    """A server that says keep-alive and closes costs at most a slot more for each connection that was open."""
    quota = Quota(in_flight=in_flight)
    async with (
        RawServer(says_keep_alive_and_closes) as server,
        aiohttp.ClientSession() as session,
        client_of(server, quota=quota, session=session if borrowed else None) as client,
    ):
        days = [day async for day in client.days(DATES)]
        assert [len(day) for day in days] == [3] * 40
        assert 40 <= client.stats.requests <= 40 + in_flight


@pytest.mark.parametrize("borrowed", [False, True])
@pytest.mark.parametrize("in_flight", [1, 2])
async def test_drops_reused_connections(in_flight: int, borrowed: bool) -> None:
    """After the first drop connections are not reused; a borrowed session sends `Connection: close` for that."""
    servers: list[RawServer] = []
    async with (
        RawServer(drops_reused_connections(servers)) as server,  # type: ignore[arg-type]
        aiohttp.ClientSession() as session,
    ):
        servers.append(server)
        quota = Quota(in_flight=in_flight)
        async with client_of(server, quota=quota, session=session if borrowed else None) as client:
            days = [day async for day in client.days(DATES)]
            assert [len(day) for day in days] == [3] * 40
            assert 40 < client.stats.requests == len(server.requests) <= 40 + in_flight
        closing = [request.header("Connection") == ["close"] for request in server.requests]
        # Those that were on their way when the first was dropped do not say it yet.
        assert all(closing[2 * in_flight :])
        assert not any(closing[:in_flight])


async def test_keep_alive() -> None:
    """Connections that serve are reused: one for each request in flight."""
    async with RawServer(correct) as server, client_of(server, quota=Quota(in_flight=2)) as client:
        days = [day async for day in client.days(DATES)]
        assert len(days) == client.stats.requests == 40
        assert server.connections <= 2


async def test_one_drop_of_a_new_server() -> None:
    """A server that has never answered and drops a connection says nothing about reusing them."""
    async with RawServer([[CLOSE], http(b"", 500), correct(Request(b"GET /?pages=1 HTTP/1.1", 1))]) as server:
        async with client_of(server) as client:
            await client.page(DATE)
            await client.page("2025-01-04")
        assert server.connections == 2
        assert not any("close" in request.header("Connection") for request in server.requests)
