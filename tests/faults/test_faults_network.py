"""Network, TLS, status and size: for each fault there is one right outcome."""

from __future__ import annotations

import asyncio
import datetime
import gzip
import ssl
import tracemalloc
import zlib

import aiohttp
import pytest
import trustme

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
from clicksgroup.transport import MAX_BODY_BYTES
from tests.faults.cases import ATTEMPTS, DATE, FAST, KEY, Case, client_of, failure_of, named, one_page
from tests.faults.raw import CLOSE, RESET, SILENCE, Answer, Asked, Drip, Endless, RawServer, dumps, envelope, http

WHOLE = dumps(envelope())
HTML = b"<html><body><h1>Something</h1></body></html>"
SHORT = 0.1  # seconds
CHUNKED = "Transfer-Encoding: chunked"
UNTIL_CLOSED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
GZIPPED = gzip.compress(WHOLE)
HALF = len(WHOLE) // 2

TRIED_AGAIN = [
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
    Case("200, HTML", http(HTML), DecodeError, ["<h1>Something"], attrs={"field": "", "snippet": HTML.decode()}),
]

AT_ONCE = [
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


@pytest.mark.parametrize("case", **named(TRIED_AGAIN))
async def test_what_may_pass_is_tried_again_and_then_the_last_failure_is_raised(case: Case) -> None:
    async with RawServer([case.answer]) as server:
        error = await failure_of(server, timeout=case.timeout)
        case.check(error, attempts=ATTEMPTS)
        assert len(server.requests) == ATTEMPTS


@pytest.mark.parametrize("case", **named(TRIED_AGAIN))
async def test_what_has_passed_leaves_no_trace_in_the_data(case: Case) -> None:
    async with RawServer([case.answer, http(WHOLE)]) as server, client_of(server, timeout=case.timeout) as client:
        page = await client.page(DATE)
        assert [record.group_id for record in page.records] == [1, 2, 3]
        assert len(server.requests) == client.stats.requests == 2
        assert client.stats.retries == 1


@pytest.mark.parametrize("case", **named(AT_ONCE))
async def test_what_will_not_pass_is_raised_at_once(case: Case) -> None:
    async with RawServer([case.answer]) as server:
        error = await failure_of(server, timeout=case.timeout)
        case.check(error, attempts=1)
        assert len(server.requests) == 1


async def test_an_idle_connection_that_closes_as_the_request_goes_out_costs_one_attempt() -> None:
    def answer(asked: Asked) -> Answer:
        fails = asked.connection == 1 and asked.page == 2
        return [CLOSE] if fails else http(dumps(envelope(asked.page, 70)))

    async with RawServer(answer) as server, client_of(server) as client:
        day = await client.day(DATE)
        assert [record.group_id for record in day] == list(range(1, 71))
        assert [(asked.connection, asked.page) for asked in server.requests] == [(1, 1), (1, 2), (2, 2), (2, 3)]
        assert client.stats.requests == 4


async def test_a_refused_connection_is_tried_again_and_costs_no_request() -> None:
    async with RawServer([http(WHOLE)]) as server:
        pass
    error = await failure_of(server)
    Case("refused", b"", TransportError, ["no connection"]).check(error, attempts=ATTEMPTS)
    assert isinstance(error.__cause__, OSError)


class NoNames(aiohttp.abc.AbstractResolver):
    """A resolver that knows no host."""

    def __init__(self) -> None:
        self.asked = 0

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[aiohttp.abc.ResolveResult]:
        self.asked += 1
        raise OSError(-2, "Name or service not known")

    async def close(self) -> None:
        """Nothing to close."""


async def test_a_name_that_cannot_be_resolved_is_tried_again_and_costs_no_request() -> None:
    names = NoNames()
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=names)) as session,
        ClicksClient(KEY, base_url="https://nowhere.invalid", session=session, retry=FAST) as client,
    ):
        with pytest.raises(TransportError, match="cannot be resolved") as caught:
            await client.page(DATE)
    assert caught.value.attempts == names.asked == ATTEMPTS
    assert client.stats.requests == 0


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def serving(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context


def trusting(authority: trustme.CA) -> aiohttp.ClientSession:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context))


async def test_tls_with_a_trusted_certificate_works(authority: trustme.CA) -> None:
    async with (
        RawServer([http(WHOLE)], tls=serving(authority, "127.0.0.1")) as server,
        trusting(authority) as session,
        client_of(server, session=session) as client,
    ):
        assert (await client.page(DATE)).total_count == 3


async def test_a_certificate_that_nobody_vouches_for_is_raised_at_once(authority: trustme.CA) -> None:
    async with RawServer([http(WHOLE)], tls=serving(authority, "127.0.0.1")) as server:
        error = await failure_of(server)
        Case("", b"", TransportError, ["certificate is not accepted", "base_url"]).check(error, attempts=1)
        assert isinstance(error.__cause__, ssl.SSLCertVerificationError)
        assert not server.requests


async def test_a_certificate_of_another_host_is_raised_at_once(authority: trustme.CA) -> None:
    async with RawServer([http(WHOLE)], tls=serving(authority, "other.example")) as server:
        async with trusting(authority) as session:
            error = await failure_of(server, session=session)
        Case("", b"", TransportError, ["certificate is not accepted"]).check(error, attempts=1)


async def test_a_certificate_without_the_expected_fingerprint_is_raised_at_once(authority: trustme.CA) -> None:
    async with RawServer([http(WHOLE)], tls=serving(authority, "127.0.0.1")) as server:
        connector = aiohttp.TCPConnector(ssl=aiohttp.Fingerprint(bytes(32)))
        async with aiohttp.ClientSession(connector=connector) as session:
            error = await failure_of(server, session=session)
        Case("", b"", TransportError, ["certificate is not accepted"]).check(error, attempts=1)


async def test_plain_text_on_a_tls_port_is_tried_again() -> None:
    async with RawServer([], greeting=[b"HTTP/1.1 400 Bad Request\r\n\r\n", CLOSE]) as server:
        async with ClicksClient(KEY, retry=FAST, base_url=server.url.replace("http:", "https:")) as client:
            with pytest.raises(TransportError, match="TLS") as caught:
                await client.page(DATE)
        Case("", b"", TransportError).check(caught.value, attempts=ATTEMPTS)
        assert server.connections == ATTEMPTS
        assert client.stats.requests == 0


def bomb(wbits: int, mebibytes: int) -> bytes:
    """So many MiB of nothing, compressed; made of one block again and again, since making it honestly takes long."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, wbits)
    head = compressor.compress(b"[") + compressor.flush(zlib.Z_FULL_FLUSH)
    block = compressor.compress(bytes(2**20)) + compressor.flush(zlib.Z_FULL_FLUSH)
    return head + block * mebibytes


@pytest.mark.parametrize(("encoding", "wbits"), [("gzip", 31), ("deflate", 15)])
async def test_a_bomb_of_300_mib_is_raised_at_once_and_costs_a_few_mib(encoding: str, wbits: int) -> None:
    answer = http(bomb(wbits, 300), 200, f"Content-Encoding: {encoding}")
    async with RawServer([[answer, SILENCE]]) as server:
        tracemalloc.start()
        try:
            error = await failure_of(server)
            grown = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert grown < 16 * 2**20
        Case("", b"", DecodeError, ["2,097,152"]).check(error, attempts=1)
        assert len(server.requests) == 1


async def test_a_body_of_the_largest_size_is_read() -> None:
    body = WHOLE + b" " * (MAX_BODY_BYTES - len(WHOLE))
    async with RawServer([http(body)]) as server, client_of(server) as client:
        assert (await client.page(DATE)).total_count == 3
        assert client.stats.bytes == MAX_BODY_BYTES


async def test_a_server_that_switches_protocols_gets_its_connection_closed() -> None:
    """The connection of a 101 is left by aiohttp to whoever asked for it; a loop in debug mode says if nobody did."""
    said: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.set_exception_handler(lambda _, context: said.append(context["message"]))
    switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n"
    async with RawServer([switch]) as server, client_of(server) as client:
        with pytest.raises(StatusError):
            await client.page(DATE)
    assert said == []


async def test_a_client_that_was_left_keeps_no_timer() -> None:
    """Its timeout bounds an attempt, and may have half a minute to go when the attempt has ended."""
    async with RawServer([http(WHOLE)]) as server, client_of(server, timeout=31.0) as client:
        await client.page(DATE)
        assert not _timers_of_timeouts()


def _timers_of_timeouts() -> list[asyncio.TimerHandle]:
    scheduled: list[asyncio.TimerHandle] = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    return [timer for timer in scheduled if not timer.cancelled() and "Timeout._on_timeout" in repr(timer)]


@pytest.mark.parametrize(
    ("answers", "requests"),
    [([http(b"", 503, "Retry-After: 3600")], 1), ([http(b"", 408, "Retry-After: 120")], 1)],
    ids=["503", "408"],
)
async def test_a_retry_after_beyond_the_deadline_is_raised_at_once(answers: list[bytes], requests: int) -> None:
    async with RawServer(answers) as server:
        error = await failure_of(server)
        assert (error.attempts, len(server.requests)) == (1, requests)


async def test_a_pause_beyond_the_deadline_is_raised_at_once_and_for_others_without_a_request() -> None:
    async with RawServer([http(b"", 429, "Retry-After: 3600")]) as server, client_of(server) as client:
        with pytest.raises(RateLimitError, match="3600 s") as caught:
            await client.page(DATE)
        assert (caught.value.retry_after, caught.value.attempts) == (3600.0, 1)
        async with client_of(server) as other:
            for asked in (client, other):
                with pytest.raises(RateLimitError, match="nothing is sent") as caught:
                    await asked.day("2025-01-04")
                assert caught.value.retry_after is not None
                assert 3590 < caught.value.retry_after <= 3600
                assert caught.value.attempts == 0
                assert caught.value.date == datetime.date(2025, 1, 4)
        assert len(server.requests) == 1
        assert (client.stats.requests, client.stats.throttled, other.stats.requests) == (1, 1, 0)


async def test_no_wait_is_begun_that_would_pass_the_deadline() -> None:
    policy = RetryPolicy(backoff=1e9, max_backoff=1e9, deadline=30)  # full jitter gets below it once in 3e7
    async with RawServer([http(b"", 500)]) as server:
        error = await failure_of(server, retry=policy)
        assert (error.attempts, len(server.requests)) == (1, 1)


async def test_no_attempt_outlives_the_deadline() -> None:
    async with RawServer([[SILENCE]]) as server:
        error = await failure_of(server, retry=RetryPolicy(attempts=50, deadline=0.05), timeout=1000)
        assert "no complete response within 0.05 s" in str(error)
        assert (error.attempts, len(server.requests)) == (1, 1)


async def test_a_429_pauses_and_passes() -> None:
    async with (
        RawServer([http(HTML, 429), http(b"", 429, "Retry-After: 0.01"), http(WHOLE)]) as server,
        client_of(server) as client,
    ):
        page = await client.page(DATE)
        assert isinstance(page, Page)
        assert (client.stats.requests, client.stats.retries, client.stats.throttled) == (3, 2, 2)


async def test_one_attempt_suffices_where_only_one_is_allowed() -> None:
    async with RawServer([http(HTML, 500)]) as server:
        error: RequestError = await failure_of(server, one_page, retry=RetryPolicy(attempts=1))
        assert (error.attempts, len(server.requests)) == (1, 1)
