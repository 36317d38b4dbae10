"""A request that was given up keeps its place in flight while the server works on it."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from clicksgroup import Quota, RetryPolicy, TransportError
from clicksgroup.quota import ledger
from tests.faults.cases import client_of
from tests.pages import paged
from tests.raw_server import RawServer, Request, Response

HOLD = 0.5
"""Seconds for which a request that was given up counts, in place of `ORPHAN_HOLD`."""
WORK = 0.25
"""Seconds that the server works on a request, whether its client has gone or not."""
GIVE_UP = 0.06
"""Seconds after which a request is given up."""


@pytest.fixture(autouse=True)
def short_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "ORPHAN_HOLD", HOLD)


async def gives_up(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    async with asyncio.timeout(GIVE_UP):
        return await handler(request)


async def tries_again(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    try:
        return await gives_up(request, handler)
    except TimeoutError:
        return await gives_up(request, handler)


@pytest.mark.parametrize("in_flight", [1, 2])
@pytest.mark.parametrize(
    ("middlewares", "timeout"),
    [([gives_up], 30), ([tries_again], 30), ([], GIVE_UP)],
    ids=["middleware", "middleware that tries again", "timeout="],
)
async def test_given_up(in_flight: int, middlewares: list[Any], timeout: float) -> None:
    """The server never works on more than `in_flight`, whether a middleware or our timeout gives requests up."""

    async def respond(request: Request) -> Response:
        await asyncio.sleep(WORK)
        return paged(3)(request)

    policy = RetryPolicy(attempts=2, backoff=0)
    async with (
        RawServer(respond) as server,
        aiohttp.ClientSession(middlewares=middlewares) as session,
        client_of(server, quota=Quota(in_flight=in_flight), session=session, timeout=timeout, retry=policy) as client,
    ):
        outcomes = await asyncio.gather(
            *(client.page(f"2025-01-0{number}") for number in (1, 2)), return_exceptions=True
        )
        assert {type(outcome) for outcome in outcomes} == {TransportError}
        assert len(server.requests) == client.stats.requests >= 4
        assert server.open_peak == in_flight
