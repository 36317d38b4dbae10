"""Our own session takes nothing from the environment; a borrowed one keeps its settings, but our headers win."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from clicksgroup import (
    ClicksClient,
    ClientClosedError,
    Quota,
    RateLimitError,
    RequestError,
    RetryPolicy,
    ServerError,
    TransportError,
)
from tests.faults.cases import DATE, FAST, KEY, Case, client_of, failure_of, named, one_page
from tests.faults.test_faults_network import RAISED_AT_ONCE, RETRIED
from tests.pages import dumps, envelope
from tests.raw_server import CLOSE, RESET, SILENCE, RawServer, Request, Response, http

PAGE = http(dumps(envelope()))
OURS = {
    "Authorization": [f"APIKey {KEY}"],
    "User-Agent": ["Acme Shop"],
    "Accept-Language": ["ko"],
    "Accept": ["application/json"],
    "Accept-Encoding": ["gzip"],
}
SETTINGS: dict[str, Any] = {"user_agent": "Acme Shop", "language": "ko"}


def sent(server: RawServer, request: int = 0) -> dict[str, list[str]]:
    return {name: server.requests[request].header(name) for name in OURS}


async def test_own_session(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Our own session sends our headers, and ignores proxies and netrc of the environment."""
    async with RawServer([http(b"", 502)]) as proxy, RawServer([PAGE]) as server:
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login me password mine\n")
        netrc.chmod(0o600)
        monkeypatch.setenv("NETRC", str(netrc))
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        async with client_of(server, **SETTINGS) as client:
            await client.page(DATE)
        assert sent(server) == OURS
        assert not proxy.requests


async def test_no_cookies() -> None:
    """Our own session keeps no cookies."""
    async with RawServer([http(dumps(envelope()), 200, "Set-Cookie: session=1; Path=/")]) as server:
        async with client_of(server) as client:
            await client.page(DATE)
            await client.page(DATE)
        assert [request.header("Cookie") for request in server.requests] == [[], []]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"headers": {"Authorization": "theirs", "User-Agent": "theirs", "Accept-Language": "fr", "Accept": "*/*"}},
        {"headers": [("Authorization", "one"), ("Authorization", "two"), ("Accept-Encoding", "br")]},
        {"base_url": "http://elsewhere.invalid/"},
        {"raise_for_status": True},
        {"skip_auto_headers": ["User-Agent", "Accept"]},
        {"auto_decompress": False},
        {"read_bufsize": 1},
        {"timeout": aiohttp.ClientTimeout(total=1e-9)},
        {"cookies": {"a": "b"}},
        {"version": aiohttp.HttpVersion10},
        {"requote_redirect_url": False},
        {"trust_env": True},
    ],
    ids=lambda settings: next(iter(settings), "none"),
)
async def test_our_headers_win(settings: dict[str, Any]) -> None:
    """Our headers win, however the borrowed session is configured."""
    zipped = http(gzip.compress(dumps(envelope())), 200, "Content-Encoding: gzip")
    async with RawServer([http(b"", 500), zipped]) as server, aiohttp.ClientSession(**settings) as session:
        async with client_of(server, session=session, **SETTINGS) as client:
            assert (await client.page(DATE)).total_count == 3
            assert client.stats.requests == len(server.requests) == 2
        assert sent(server) == sent(server, 1) == OURS
        assert not session.closed
        if "cookies" in settings:
            assert server.requests[0].header("Cookie") == ["a=b"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_our_key_wins() -> None:
    """Our key wins over the user name and password of a borrowed session."""
    async with RawServer([PAGE]) as server, aiohttp.ClientSession(auth=aiohttp.BasicAuth("me", "mine")) as session:
        async with client_of(server, session=session, **SETTINGS) as client:
            await client.page(DATE)
        assert sent(server) == OURS


async def test_proxy() -> None:
    """The proxy of a borrowed session is used."""
    async with RawServer([PAGE]) as proxy, RawServer([]) as server, aiohttp.ClientSession(proxy=proxy.url) as session:
        async with client_of(server, session=session, **SETTINGS) as client:
            await client.page(DATE)
        assert not server.requests
        assert sent(proxy) == OURS


async def test_middlewares_and_traces() -> None:
    """Middlewares and traces of a borrowed session keep working and see our requests."""
    seen: list[str] = []

    async def outer(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        seen.append(f"outer {request.url.query['ymd']}")
        request.headers["X-Trace"] = "7"
        request.headers["Authorization"] = "theirs"
        response = await handler(request)
        seen.append(f"outer {response.status}")
        return response

    async def inner(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        seen.append("inner")
        return await handler(request)

    async def started(session: object, context: object, params: aiohttp.TraceRequestStartParams) -> None:
        seen.append(f"start {params.method}")

    traces = aiohttp.TraceConfig()
    traces.on_request_start.append(started)
    async with (
        RawServer([PAGE]) as server,
        aiohttp.ClientSession(middlewares=[outer, inner], trace_configs=[traces]) as session,
        client_of(server, session=session, **SETTINGS) as client,
    ):
        await client.page(DATE)
        assert seen == ["start GET", f"outer {DATE}", "inner", "outer 200"]
        assert sent(server) == OURS
        assert server.requests[0].header("X-Trace") == ["7"]


class RetryingMiddleware:
    """A middleware that retries by itself, and records the failures."""

    def __init__(self, tries: int) -> None:
        self.tries = tries
        self.failures: list[object] = []

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        for _ in range(self.tries - 1):
            try:
                response = await handler(request)
            except aiohttp.ClientConnectionError as error:
                self.failures.append(type(error))
                continue
            if response.status == 200:
                return response
            self.failures.append(response.status)
            response.release()
        return await handler(request)


async def test_retrying_middleware() -> None:
    """Each request of a middleware that retries takes a slot of the quota and is counted."""
    retrying = RetryingMiddleware(5)
    responses: list[Response] = [http(b"", 500), [CLOSE], [RESET], PAGE]
    async with RawServer(responses) as server, aiohttp.ClientSession(middlewares=[retrying]) as session:
        async with client_of(server, session=session, quota=Quota((4, 3600), in_flight=1)) as client:
            await client.page(DATE)
            assert client.stats.requests == len(server.requests) == 4
            assert client.stats.retries == 0
            assert server.open_peak == 1
            assert retrying.failures[:2] == [500, aiohttp.ServerDisconnectedError]
            # The quota of this hour is used up.
            waiting = asyncio.ensure_future(client.page("2025-01-04"))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        assert len(server.requests) == 4


async def test_last_response_decides() -> None:
    """The last response of a middleware that retries decides about the error."""
    retrying = RetryingMiddleware(2)
    cases: list[tuple[Response, type[RequestError]]] = [(http(b"", 503), ServerError), ([CLOSE], TransportError)]
    for last, expected in cases:
        responses: list[Response] = [http(b"", 429), last]
        async with RawServer(responses) as server, aiohttp.ClientSession(middlewares=[retrying]) as session:
            error = await failure_of(server, session=session, retry=RetryPolicy(attempts=1, backoff=0.001))
            assert type(error) is expected
            assert len(server.requests) == 2


async def test_middleware_obeys_a_pause() -> None:
    """A middleware that retries sends nothing during a pause."""
    async with (
        RawServer([http(b"", 429, "Retry-After: 3600")]) as server,
        aiohttp.ClientSession(middlewares=[RetryingMiddleware(5)]) as session,
    ):
        error = await failure_of(server, session=session)
        assert isinstance(error, RateLimitError)
        assert error.retry_after is not None
        assert len(server.requests) == 1


async def test_wait_of_a_middleware() -> None:
    """The timeout does not count the wait of a middleware for its slot."""
    responses = [http(b"", 429, "Retry-After: 0.3"), PAGE]
    async with (
        RawServer(responses) as server,
        aiohttp.ClientSession(middlewares=[RetryingMiddleware(2)]) as session,
        client_of(server, session=session, timeout=0.2) as client,
    ):
        await client.page(DATE)
        assert client.stats.requests == len(server.requests) == 2
        assert client.stats.retries == 0


async def test_resend_without_connection() -> None:
    """A resend that finds no connection costs no request: the server went away after half a response."""

    async def twice(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        (await handler(request)).close()
        await server.__aexit__(None, None, None)
        return await handler(request)

    async with RawServer([[http(length=9), SILENCE]]) as server, aiohttp.ClientSession(middlewares=[twice]) as session:
        error = await failure_of(server, session=session, retry=RetryPolicy(attempts=1))
        assert "no connection" in str(error)
        assert len(server.requests) == 1


async def test_raise_for_status() -> None:
    """The message of a refusal is read although the session raises for its status."""
    refusal = http(dumps({"message": "tea"}), 418)
    async with RawServer([refusal]) as server, aiohttp.ClientSession(raise_for_status=True) as session:
        error = await failure_of(server, session=session)
        assert "'tea'" in str(error)


async def test_caching_middleware() -> None:
    """A response that a middleware gives by itself costs no request."""
    kept: list[aiohttp.ClientResponse] = []

    async def cache(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        if not kept:
            response = await handler(request)
            await response.read()
            kept.append(response)
        kept[0].content = aiohttp.StreamReader(kept[0].content._protocol, 2**16, loop=asyncio.get_running_loop())
        kept[0].content.feed_data(dumps(envelope()))
        kept[0].content.feed_eof()
        return kept[0]

    async with (
        RawServer([PAGE]) as server,
        aiohttp.ClientSession(middlewares=[cache]) as session,
        client_of(server, session=session, quota=Quota((2, 3600))) as client,
    ):
        for _ in range(3):
            assert (await client.page(DATE)).total_count == 3
        assert client.stats.requests == len(server.requests) == 1


@pytest.mark.parametrize("case", **named([case for case in RETRIED + RAISED_AT_ONCE if case.timeout > 1]))
async def test_faults_through_middlewares(case: Case) -> None:
    """A fault has the same outcome through a session with middlewares."""

    async def plain(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        return await handler(request)

    async with RawServer([case.response]) as server, aiohttp.ClientSession(middlewares=[plain]) as session:
        error = await failure_of(server, one_page, session=session)
        case.check(error, attempts=len(server.requests))
        assert len(server.requests) == (1 if case in RAISED_AT_ONCE else FAST.attempts)


async def test_borrowed_session_closed() -> None:
    """A borrowed session that was closed is named in the error."""
    async with RawServer([PAGE]) as server:
        session = aiohttp.ClientSession()
        async with client_of(server, session=session) as client:
            await client.page(DATE)
            await session.close()
            with pytest.raises(ClientClosedError, match="session"):
                await client.page(DATE)
            assert client.stats.requests == 1


async def test_borrowed_session_closed_in_flight() -> None:
    """So is one that is closed while a request is in flight."""
    async with (
        RawServer([[SILENCE]]) as server,
        aiohttp.ClientSession() as session,
        client_of(server, session=session) as client,
    ):
        reading = asyncio.ensure_future(client.page(DATE))
        await server.wait_for(1)
        await session.close()
        with pytest.raises(ClientClosedError, match="session"):
            await reading


async def test_shared_session() -> None:
    """Two clients can borrow one session, each with its own key."""

    def respond(request: Request) -> Response:
        return http(dumps(envelope(total=3 if request.header("Authorization") == [f"APIKey {KEY}"] else 4)))

    async with (
        RawServer(respond) as server,
        aiohttp.ClientSession() as session,
        client_of(server, session=session) as one,
        ClicksClient("another-key", base_url=server.url, session=session) as two,
    ):
        totals = [page.total_count for page in await asyncio.gather(one.page(DATE), two.page(DATE))]
    assert totals == [3, 4]
