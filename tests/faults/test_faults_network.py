"""Faults of the network, TLS, status and size: each has one right outcome."""

from __future__ import annotations

import asyncio
import datetime
import gzip
import tracemalloc
import zlib

import aiohttp
import pytest

from clicksgroup import (
    APIError,
    AuthenticationError,
    ClicksClient,
    DecodeError,
    ForbiddenError,
    Page,
    RateLimitError,
    RequestError,
    RetryPolicy,
    ServerError,
    StatusError,
    TransportError,
)
from clicksgroup.quota import ledger
from clicksgroup.transport import MAX_BODY_BYTES
from tests.faults.cases import ATTEMPTS, DATE, FAST, KEY, Case, client_of, failure_of, named, one_page
from tests.pages import dumps, envelope
from tests.raw_server import CLOSE, RESET, SILENCE, Drip, Endless, RawServer, Request, Response, http

WHOLE = dumps(envelope())
HTML = b"<html><body><h1>Something</h1></body></html>"
SHORT = 0.1
"""Seconds of `timeout` where the server keeps the client waiting."""

CHUNKED = "Transfer-Encoding: chunked"
UNTIL_CLOSED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
GZIPPED = gzip.compress(WHOLE)
HALF = len(WHOLE) // 2

RETRIED = [
    Case("reset before the head", [RESET], TransportError),
    Case("reset in the head", [http(WHOLE)[:30], RESET], TransportError),
    Case("reset after the head", [http(length=500), RESET], TransportError),
    Case("reset in the body", [http(WHOLE[:50], length=500), RESET], TransportError),
    Case("closed without an answer", [CLOSE], TransportError, ["without an answer"]),
    Case("closed in the head", [http(WHOLE)[:30], CLOSE], TransportError),
    Case("silence", [SILENCE], TransportError, ["no complete response within 0.1 s"], timeout=SHORT),
    Case("silence in the head", [http(WHOLE)[:30], SILENCE], TransportError, ["within 0.1 s"], timeout=SHORT),
    Case("silence after the head", [http(length=9), SILENCE], TransportError, ["within 0.1 s"], timeout=SHORT),
    Case("silence in the body", [http(b"{", length=9), SILENCE], TransportError, ["within 0.1 s"], timeout=SHORT),
    Case("head byte by byte", [Drip(b"HTTP/1.1 200 OK\r\nX: x")], TransportError, ["within 0.1 s"], timeout=SHORT),
    Case("body byte by byte", [http(length=99999), Drip(b'{"')], TransportError, ["within 0.1 s"], timeout=SHORT),
    Case("cut, Content-Length", [http(WHOLE[:HALF], length=len(WHOLE)), CLOSE], TransportError, ["of the body"]),
    Case("cut, chunked", [http(b"40\r\n" + WHOLE[:64] + b"\r\n", 200, CHUNKED), CLOSE], TransportError),
    Case("cut in a chunk", [http(b"ff\r\n" + WHOLE[:64], 200, CHUNKED), CLOSE], TransportError),
    Case("cut, close-delimited", [UNTIL_CLOSED + WHOLE[:HALF], CLOSE], DecodeError, attrs={"field": ""}),
    Case("cut gzip", http(GZIPPED[:60], 200, "Content-Encoding: gzip"), DecodeError, attrs={"field": ""}),
    Case("no gzip", http(WHOLE, 200, "Content-Encoding: gzip"), TransportError),
    Case("no HTTP", [b"SSH-2.0-OpenSSH_9.6\r\n\r\n", CLOSE], TransportError, never_says=["400"]),
    Case("malformed status line", [b"HTTP/1.1 abc OK\r\n\r\n", CLOSE], TransportError, ["malformed"], ["400"]),
    Case("malformed head", [b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", CLOSE], TransportError, ["malformed"], ["400"]),
    Case("malformed length", [http(b"", 200, "Content-Length: -7"), CLOSE], TransportError, ["malformed"], ["400"]),
    Case("malformed chunk", [http(b"zz\r\nhm\r\n", 200, CHUNKED), CLOSE], TransportError, never_says=["400"]),
    Case("endless head", [b"HTTP/1.1 200 OK\r\n", Endless(b"X: " + b"x" * 1000 + b"\r\n")], TransportError),
    *(
        Case(f"status {status}", http(HTML, status), StatusError, [f"HTTP {status}"], attrs={"status": status})
        for status in (408, 425)
    ),
    *(
        Case(f"status {status}", http(HTML, status), ServerError, [f"HTTP {status}"], attrs={"status": status})
        for status in (500, 502, 503, 504, 599)
    ),
    Case("status 500, empty", http(b"", 500), ServerError, attrs={"status": 500}),
    Case("status 503, cut body", [http(HTML, 503, length=999), CLOSE], ServerError, attrs={"status": 503}),
    Case("status 429", http(HTML, 429), RateLimitError, ["HTTP 429"], attrs={"status": 429, "retry_after": None}),
    Case("status 429, now", http(b"", 429, "Retry-After: 0"), RateLimitError, attrs={"retry_after": 0.0}),
    Case("status 429, cut body", [http(HTML, 429, length=999), CLOSE], RateLimitError, attrs={"status": 429}),
    Case("200, empty", http(), DecodeError, ["nothing"], attrs={"field": "", "snippet": ""}),
    Case("204", b"HTTP/1.1 204 No Content\r\n\r\n", DecodeError, ["nothing"], attrs={"field": ""}),
]

RAISED_AT_ONCE = [
    Case("200, HTML", http(HTML), DecodeError, ["<h1>Something"], attrs={"field": "", "snippet": HTML.decode()}),
    Case("status 400", http(HTML, 400), StatusError, ["HTTP 400"], attrs={"status": 400}),
    Case("status 401", http(HTML, 401), AuthenticationError, ["key", "CLICKSGROUP_API_KEY"], attrs={"status": 401}),
    Case("status 401, cut body", [http(HTML, 401, length=999), CLOSE], AuthenticationError),
    Case("status 401, no body comes", [http(length=9, status=401), SILENCE], AuthenticationError, timeout=SHORT),
    Case("status 403", http(HTML, 403), ForbiddenError, ["User-Agent", "clicksgroup/", "company or brand"]),
    Case("status 404", http(HTML, 404), StatusError, ["HTTP 404"], attrs={"status": 404}),
    Case("status 418", http(dumps({"message": "tea"}), 418), StatusError, ["'tea'"], attrs={"status": 418}),
    *(
        Case(f"status {code}", http(HTML, code, "Location: /"), StatusError, ["redirect"], attrs={"status": code})
        for code in (301, 302, 303, 307, 308)
    ),
    Case("status 304", b"HTTP/1.1 304 Not Modified\r\n\r\n", StatusError, attrs={"status": 304}),
    Case(
        "3xx with an envelope",
        http(dumps({"code": 7, "message": "no plan"}), 302, "Location: /elsewhere"),
        APIError,
        ["code 7", "no plan"],
        attrs={"code": 7, "message": "no plan"},
    ),
    Case("3xx that says 0", http(WHOLE, 302, "Location: /elsewhere"), StatusError, attrs={"status": 302}),
    Case("code 1", http(dumps({"code": 1, "message": "Bad"})), APIError, ["Bad"], attrs={"code": 1, "message": "Bad"}),
    Case("code -1, no message", http(dumps({"code": -1})), APIError, ["no message"], attrs={"code": -1, "message": ""}),
    Case("declared too long", [http(b"{", length=MAX_BODY_BYTES + 1), SILENCE], DecodeError, ["2,097,153 bytes"]),
    Case("declared far too long", [http(b"{", length=2**62), SILENCE], DecodeError, attrs={"snippet": ""}),
    Case("endless, chunked", [http(b"", 200, CHUNKED), Endless(b"8000\r\n" + b"[" * 2**15 + b"\r\n")], DecodeError),
    Case("endless, close-delimited", [UNTIL_CLOSED, Endless(b"[" * 2**15)], DecodeError, ["more than the 2,097,152"]),
    Case("endless 401", [http(b"", 401, CHUNKED), Endless(b"8000\r\n" + b"x" * 2**15 + b"\r\n")], AuthenticationError),
]


@pytest.fixture
def short_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """What timed out keeps its place for a tenth of a second instead of five."""
    monkeypatch.setattr(ledger, "ORPHAN_HOLD", 0.1)


@pytest.mark.usefixtures("short_hold")
@pytest.mark.parametrize("case", **named(RETRIED))
async def test_retried(case: Case) -> None:
    """Transient errors are retried; after the last attempt the last one is raised."""
    async with RawServer([case.response]) as server:
        error = await failure_of(server, timeout=case.timeout)
        case.check(error, attempts=ATTEMPTS)
        assert len(server.requests) == ATTEMPTS


@pytest.mark.parametrize("case", **named(RETRIED))
async def test_transient_error_once(case: Case) -> None:
    """One transient error costs one retry, and the data are complete."""
    async with RawServer([case.response, http(WHOLE)]) as server, client_of(server, timeout=case.timeout) as client:
        page = await client.page(DATE)
        assert [record.group_id for record in page.records] == [1, 2, 3]
        assert len(server.requests) == client.stats.requests == 2
        assert client.stats.retries == 1


@pytest.mark.parametrize("case", **named(RAISED_AT_ONCE))
async def test_raised_at_once(case: Case) -> None:
    """Permanent errors are raised immediately."""
    async with RawServer([case.response]) as server:
        error = await failure_of(server, timeout=case.timeout)
        case.check(error, attempts=1)
        assert len(server.requests) == 1


async def test_idle_connection_closes() -> None:
    """An idle connection that closes just as the request is sent costs one attempt."""

    def respond(request: Request) -> Response:
        fails = request.connection == 1 and request.page == 2
        return [CLOSE] if fails else http(dumps(envelope(request.page, 70)))

    async with RawServer(respond) as server, client_of(server) as client:
        day = await client.day(DATE)
        assert [record.group_id for record in day] == list(range(1, 71))
        assert sorted(request.page for request in server.requests) == [1, 2, 2, 3]
        assert client.stats.requests == 4


async def test_connection_refused() -> None:
    """A refused connection is retried and costs no request."""
    async with RawServer([http(WHOLE)]) as server:
        pass
    error = await failure_of(server)
    Case("refused", b"", TransportError, ["no connection"]).check(error, attempts=ATTEMPTS)
    assert isinstance(error.__cause__, OSError)


class EmptyResolver(aiohttp.abc.AbstractResolver):
    """A resolver that knows no host."""

    def __init__(self) -> None:
        self.lookups = 0

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[aiohttp.abc.ResolveResult]:
        self.lookups += 1
        raise OSError(-2, "Name or service not known")

    async def close(self) -> None:
        """Nothing to close."""


async def test_host_not_found() -> None:
    """A host name that cannot be resolved is retried and costs no request."""
    resolver = EmptyResolver()
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=resolver)) as session,
        ClicksClient(KEY, base_url="https://nowhere.invalid", session=session, retry=FAST) as client,
    ):
        with pytest.raises(TransportError, match="cannot be resolved") as caught:
            await client.page(DATE)
    assert caught.value.attempts == resolver.lookups == ATTEMPTS
    assert client.stats.requests == 0


def bomb(wbits: int, mebibytes: int) -> bytes:
    """Compress this many MiB of zeros: one block repeated, since compressing them all takes long."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, wbits)
    head = compressor.compress(b"[") + compressor.flush(zlib.Z_FULL_FLUSH)
    block = compressor.compress(bytes(2**20)) + compressor.flush(zlib.Z_FULL_FLUSH)
    return head + block * mebibytes


@pytest.mark.parametrize(("encoding", "wbits"), [("gzip", 31), ("deflate", 15)])
async def test_decompression_bomb(encoding: str, wbits: int) -> None:
    """A body that decompresses to 300 MiB is raised at once and takes a few MiB."""
    async with RawServer([[http(bomb(wbits, 300), 200, f"Content-Encoding: {encoding}"), SILENCE]]) as server:
        tracemalloc.start()
        try:
            error = await failure_of(server)
            grown = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert grown < 16 * 2**20
        Case("", b"", DecodeError, ["2,097,152"]).check(error, attempts=1)
        assert len(server.requests) == 1


async def test_largest_body() -> None:
    """A body of exactly the largest size is read."""
    body = WHOLE + b" " * (MAX_BODY_BYTES - len(WHOLE))
    async with RawServer([http(body)]) as server, client_of(server) as client:
        assert (await client.page(DATE)).total_count == 3
        assert client.stats.bytes == MAX_BODY_BYTES


async def test_switching_protocols() -> None:
    """Aiohttp leaves the connection of a 101 open; ours is closed, or a loop in debug mode would say so."""
    said: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.set_exception_handler(lambda _, context: said.append(context["message"]))
    switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n"
    async with RawServer([switch]) as server, client_of(server) as client:
        with pytest.raises(StatusError):
            await client.page(DATE)
    assert said == []


async def test_no_timer_left() -> None:
    """An attempt that has ended leaves no timer of its timeout in the event loop."""
    in_flight: list[asyncio.TimerHandle] = []

    def respond(request: Request) -> Response:
        in_flight.extend(_timers_of_timeouts())
        return http(WHOLE)

    async with RawServer(respond) as server, client_of(server, timeout=31.0) as client:
        await client.page(DATE)
        assert in_flight
        assert not _timers_of_timeouts()


def _timers_of_timeouts() -> list[asyncio.TimerHandle]:
    scheduled: list[asyncio.TimerHandle] = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    return [timer for timer in scheduled if not timer.cancelled() and "Timeout._on_timeout" in repr(timer)]


@pytest.mark.parametrize(
    "response", [http(b"", 503, "Retry-After: 3600"), http(b"", 408, "Retry-After: 120")], ids=["503", "408"]
)
async def test_retry_after_beyond_deadline(response: bytes) -> None:
    """A `Retry-After` beyond the deadline is raised at once."""
    async with RawServer([response]) as server:
        error = await failure_of(server)
        assert (error.attempts, len(server.requests)) == (1, 1)


async def test_pause_beyond_deadline() -> None:
    """A pause beyond the deadline is raised at once, by all clients of the key, without a request."""
    async with RawServer([http(b"", 429, "Retry-After: 3600")]) as server, client_of(server) as client:
        with pytest.raises(RateLimitError, match="3600 s") as caught:
            await client.page(DATE)
        assert (caught.value.retry_after, caught.value.attempts) == (3600.0, 1)
        async with client_of(server) as other:
            for each in (client, other):
                with pytest.raises(RateLimitError, match="nothing is sent") as caught:
                    await each.day("2025-01-04")
                assert caught.value.retry_after is not None
                assert 3590 < caught.value.retry_after <= 3600
                assert caught.value.attempts == 0
                assert caught.value.date == datetime.date(2025, 1, 4)
        assert len(server.requests) == 1
        assert (client.stats.requests, client.stats.throttled, other.stats.requests) == (1, 1, 0)


async def test_backoff_beyond_deadline() -> None:
    """No backoff is started that would end after the deadline."""
    # Full jitter draws less than the deadline once in 3e7 times.
    policy = RetryPolicy(backoff=1e9, max_backoff=1e9, deadline=30)
    async with RawServer([http(b"", 500)]) as server:
        error = await failure_of(server, retry=policy)
        assert (error.attempts, len(server.requests)) == (1, 1)


async def test_attempt_beyond_deadline() -> None:
    """The deadline ends an attempt that would last longer."""
    async with RawServer([[SILENCE]]) as server:
        error = await failure_of(server, retry=RetryPolicy(attempts=50, deadline=0.05), timeout=1000)
        assert "no complete response within 0.05 s" in str(error)
        assert (error.attempts, len(server.requests)) == (1, 1)


async def test_throttled_then_served() -> None:
    """A 429 pauses the client, and then the page is read."""
    async with (
        RawServer([http(HTML, 429), http(b"", 429, "Retry-After: 0.01"), http(WHOLE)]) as server,
        client_of(server) as client,
    ):
        page = await client.page(DATE)
        assert isinstance(page, Page)
        assert (client.stats.requests, client.stats.retries, client.stats.throttled) == (3, 2, 2)


async def test_single_attempt() -> None:
    """A policy of one attempt makes one attempt."""
    async with RawServer([http(HTML, 500)]) as server:
        error: RequestError = await failure_of(server, one_page, retry=RetryPolicy(attempts=1))
        assert (error.attempts, len(server.requests)) == (1, 1)
