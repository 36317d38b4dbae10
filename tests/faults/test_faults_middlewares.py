"""Middlewares of the session that read the body, as those do that log it; and traces of the body."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from clicksgroup import APIError, ServerError
from tests.faults.cases import DATE, client_of
from tests.pages import dumps, envelope
from tests.raw_server import RawServer, Response, http

BODY = dumps(envelope(total=30))
Reading = Callable[[aiohttp.ClientResponse], Awaitable[Any]]


async def reads(response: aiohttp.ClientResponse) -> None:
    await response.read()


async def reads_text(response: aiohttp.ClientResponse) -> None:
    await response.text()


async def reads_json(response: aiohttp.ClientResponse) -> None:
    await response.json(content_type=None)


async def reads_and_releases(response: aiohttp.ClientResponse) -> None:
    await response.read()
    response.release()


async def reads_and_closes(response: aiohttp.ClientResponse) -> None:
    await response.read()
    response.close()


async def reads_within_a_block(response: aiohttp.ClientResponse) -> None:
    async with response:
        await response.read()


WAYS = [reads, reads_text, reads_json, reads_and_releases, reads_and_closes, reads_within_a_block]


def reading_middleware(way: Reading) -> aiohttp.ClientMiddlewareType:
    async def middleware(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        response = await handler(request)
        await way(response)
        return response

    return middleware


@pytest.mark.parametrize("split", [len(BODY), 1, 700], ids=["whole", "after a byte", "in the middle"])
@pytest.mark.parametrize("way", WAYS)
async def test_read_already(way: Reading, split: int) -> None:
    """A body that a middleware has read is the page, in one request, whichever way it was read and had come."""
    answer = http(BODY)
    head = len(answer) - len(BODY)
    response: Response = [answer[: head + split], answer[head + split :]]
    async with (
        RawServer([response]) as server,
        aiohttp.ClientSession(middlewares=[reading_middleware(way)]) as session,
        client_of(server, session=session) as client,
    ):
        assert len(await client.day(DATE)) == 30
        assert len(await client.page(DATE)) == 30
        assert client.stats.requests == len(server.requests) == 2
        assert client.stats.bytes == 2 * len(BODY)


@pytest.mark.parametrize("way", [reads, reads_and_releases])
async def test_read_errors(way: Reading) -> None:
    """So do the bodies of errors say what they say."""
    responses = [http(dumps({"code": 7, "message": "tea"})), http(dumps({"message": "out of tea"}), 503)]
    async with (
        RawServer(responses) as server,
        aiohttp.ClientSession(middlewares=[reading_middleware(way)]) as session,
        client_of(server, session=session) as client,
    ):
        with pytest.raises(APIError, match="tea"):
            await client.page(DATE)
        with pytest.raises(ServerError, match="out of tea"):
            await client.page(DATE)


async def plain_chunks(server: RawServer, session: aiohttp.ClientSession) -> None:
    """What plain aiohttp does to get a body."""
    async with session.get(f"{server.url}/?pages=1&ymd={DATE}") as response:
        await response.read()


async def client_chunks(server: RawServer, session: aiohttp.ClientSession) -> None:
    async with client_of(server, session=session) as client:
        await client.page(DATE)


@pytest.mark.parametrize("split", [len(BODY), 1, 700], ids=["whole", "after a byte", "in the middle"])
@pytest.mark.parametrize("get", [plain_chunks, client_chunks])
async def test_traces(get: Callable[[RawServer, aiohttp.ClientSession], Awaitable[None]], split: int) -> None:
    """`on_response_chunk_received` comes once, with the whole body, for us as in plain aiohttp."""
    chunks: list[bytes] = []

    async def chunk_received(
        session: object, context: object, params: aiohttp.TraceResponseChunkReceivedParams
    ) -> None:
        chunks.append(params.chunk)

    traces = aiohttp.TraceConfig()
    traces.on_response_chunk_received.append(chunk_received)
    answer = http(BODY)
    head = len(answer) - len(BODY)
    async with (
        RawServer([[answer[: head + split], answer[head + split :]]]) as server,
        aiohttp.ClientSession(trace_configs=[traces]) as session,
    ):
        await get(server, session)
    assert chunks == [BODY]
