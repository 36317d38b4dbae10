"""Sessions: a borrowed one keeps its own ways, and our headers win; our own one has none."""

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
from tests.faults.raw import CLOSE, RESET, SILENCE, Answer, Asked, RawServer, dumps, envelope, http
from tests.faults.test_faults_network import AT_ONCE, TRIED_AGAIN

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


async def test_our_own_session_sends_our_headers_and_nothing_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
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


async def test_our_own_session_forgets_cookies() -> None:
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
async def test_our_headers_win_over_those_of_a_borrowed_session(settings: dict[str, Any]) -> None:
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
async def test_our_key_wins_over_a_name_and_password_of_a_borrowed_session() -> None:
    async with RawServer([PAGE]) as server, aiohttp.ClientSession(auth=aiohttp.BasicAuth("me", "mine")) as session:
        async with client_of(server, session=session, **SETTINGS) as client:
            await client.page(DATE)
        assert sent(server) == OURS


async def test_a_proxy_that_the_session_brings_is_used() -> None:
    async with RawServer([PAGE]) as proxy, RawServer([]) as server, aiohttp.ClientSession(proxy=proxy.url) as session:
        async with client_of(server, session=session, **SETTINGS) as client:
            await client.page(DATE)
        assert not server.requests
        assert sent(proxy) == OURS


async def test_middlewares_and_traces_of_the_session_keep_working_and_see_what_happens() -> None:
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


class Again:
    """A middleware that tries again by itself, and notes what it met."""

    def __init__(self, tries: int) -> None:
        self.tries = tries
        self.met: list[object] = []

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        for _ in range(self.tries - 1):
            try:
                response = await handler(request)
            except aiohttp.ClientConnectionError as error:
                self.met.append(type(error))
                continue
            if response.status == 200:
                return response
            self.met.append(response.status)
            response.release()
        return await handler(request)


async def test_each_request_of_a_middleware_that_tries_again_takes_a_slot_and_counts() -> None:
    again = Again(5)
    answers: list[Answer] = [http(b"", 500), [CLOSE], [RESET], PAGE]
    async with RawServer(answers) as server, aiohttp.ClientSession(middlewares=[again]) as session:
        async with client_of(server, session=session, quota=Quota((4, 3600), in_flight=1)) as client:
            await client.page(DATE)
            assert client.stats.requests == len(server.requests) == 4
            assert client.stats.retries == 0
            assert server.open_peak == 1
            assert again.met[:2] == [500, aiohttp.ServerDisconnectedError]
            asked = asyncio.ensure_future(client.page("2025-01-04"))  # there is no fifth in this hour
            await asyncio.sleep(0)
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
        assert len(server.requests) == 4


async def test_the_last_answer_of_a_middleware_that_tries_again_is_the_one_that_counts() -> None:
    again = Again(2)
    cases: list[tuple[Answer, type[RequestError]]] = [(http(b"", 503), ServerError), ([CLOSE], TransportError)]
    for last, expected in cases:
        answers: list[Answer] = [http(b"", 429), last]
        async with RawServer(answers) as server, aiohttp.ClientSession(middlewares=[again]) as session:
            error = await failure_of(server, session=session, retry=RetryPolicy(attempts=1, backoff=0.001))
            assert type(error) is expected
            assert len(server.requests) == 2


async def test_a_middleware_that_tries_again_obeys_a_pause() -> None:
    async with (
        RawServer([http(b"", 429, "Retry-After: 3600")]) as server,
        aiohttp.ClientSession(middlewares=[Again(5)]) as session,
    ):
        error = await failure_of(server, session=session)
        assert isinstance(error, RateLimitError)
        assert error.retry_after is not None
        assert len(server.requests) == 1


async def test_a_wait_of_a_middleware_that_tries_again_for_its_slot_is_no_part_of_the_timeout() -> None:
    answers = [http(b"", 429, "Retry-After: 0.3"), PAGE]
    async with (
        RawServer(answers) as server,
        aiohttp.ClientSession(middlewares=[Again(2)]) as session,
        client_of(server, session=session, timeout=0.2) as client,
    ):
        await client.page(DATE)
        assert client.stats.requests == len(server.requests) == 2
        assert client.stats.retries == 0


async def test_a_resend_that_finds_no_connection_costs_no_request() -> None:
    """The first request is answered in part, and then the server is gone."""

    async def twice(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        (await handler(request)).close()
        await server.__aexit__(None, None, None)
        return await handler(request)

    async with RawServer([[http(length=9), SILENCE]]) as server, aiohttp.ClientSession(middlewares=[twice]) as session:
        error = await failure_of(server, session=session, retry=RetryPolicy(attempts=1))
        assert "no connection" in str(error)
        assert len(server.requests) == 1


async def test_the_words_of_a_refusal_are_read_where_the_session_raises_for_status() -> None:
    answer = http(dumps({"message": "tea"}), 418)
    async with RawServer([answer]) as server, aiohttp.ClientSession(raise_for_status=True) as session:
        error = await failure_of(server, session=session)
        assert "'tea'" in str(error)


async def test_a_middleware_that_answers_by_itself_costs_no_request() -> None:
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


@pytest.mark.parametrize("case", **named([case for case in TRIED_AGAIN + AT_ONCE if case.timeout > 1]))
async def test_a_fault_is_the_same_through_a_session_with_middlewares(case: Case) -> None:
    async def plain(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        return await handler(request)

    async with RawServer([case.answer]) as server, aiohttp.ClientSession(middlewares=[plain]) as session:
        error = await failure_of(server, one_page, session=session)
        case.check(error, attempts=len(server.requests))
        assert len(server.requests) == (1 if case in AT_ONCE else FAST.attempts)


async def test_a_borrowed_session_that_is_closed_says_so() -> None:
    async with RawServer([PAGE]) as server:
        session = aiohttp.ClientSession()
        async with client_of(server, session=session) as client:
            await client.page(DATE)
            await session.close()
            with pytest.raises(ClientClosedError, match="session"):
                await client.page(DATE)
            assert client.stats.requests == 1


async def test_a_borrowed_session_that_is_closed_in_the_middle_of_a_request_says_so() -> None:
    async with (
        RawServer([[SILENCE]]) as server,
        aiohttp.ClientSession() as session,
        client_of(server, session=session) as client,
    ):
        asked = asyncio.ensure_future(client.page(DATE))
        await server.wait_for(1)
        await session.close()
        with pytest.raises(ClientClosedError, match="session"):
            await asked


async def test_two_clients_share_a_borrowed_session() -> None:
    def answer(asked: Asked) -> Answer:
        return http(dumps(envelope(total=3 if asked.header("Authorization") == [f"APIKey {KEY}"] else 4)))

    async with (
        RawServer(answer) as server,
        aiohttp.ClientSession() as session,
        client_of(server, session=session) as one,
        ClicksClient("another-key", base_url=server.url, session=session) as two,
    ):
        totals = [page.total_count for page in await asyncio.gather(one.page(DATE), two.page(DATE))]
    assert totals == [3, 4]
