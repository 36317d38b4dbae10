"""The deadline of a page: it says what failed, it says that it passed, and it wastes no request."""

from __future__ import annotations

import asyncio
import datetime
import math
import random
from collections.abc import Callable
from typing import Any, cast
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clicksgroup import Quota, RequestError, RetryPolicy, ServerError, StatusError, TransportError
from clicksgroup.fetching import Fetcher
from clicksgroup.protocol import PageRequest, Query
from clicksgroup.quota.local import LocalQuota
from clicksgroup.quota.shared import Slot
from clicksgroup.transport import Counters, Transport
from tests.faults.cases import failure_of
from tests.raw_server import RawServer, Request, Response, http
from tests.virtual_time import in_virtual_time

DATE = datetime.date(2025, 1, 3)
ATTEMPTS = 1000


class FailingTransport:
    """Makes attempts that take as long as the test says, and then end in a 503, or are cut by their bound."""

    def __init__(self, latency: Callable[[], float]) -> None:
        self.counters = Counters()
        self.latency = latency
        # Of each attempt: seconds that it was allowed, and seconds that it took.
        self.attempts: list[tuple[float, float]] = []


class FailingAttempt:
    """One of them, in place of `clicksgroup.transport.Attempt`."""

    status = retry_after = pause = None
    waited = 0.0

    def __init__(self, transport: FailingTransport, request: PageRequest, slot: Slot, *_: object) -> None:
        self._transport = transport
        self._where: dict[str, Any] = {"date": request.query.start, "page": request.number}
        self._slot = slot
        self.timed_out = False

    async def run(self, seconds: float, bound: str) -> RequestError:
        took = min(self._transport.latency(), seconds)
        self._transport.attempts.append((seconds, took))
        await asyncio.sleep(took)
        self._slot.answered()
        self._slot.release()
        self.timed_out = took == seconds
        if self.timed_out:
            return TransportError(f"no response ({bound})", **self._where)
        return ServerError("HTTP 503", status=503, **self._where)


class BoundedQuota(LocalQuota):
    """Fails where slots are asked for again and again: in virtual time such a loop would never end."""

    acquired = 0

    async def acquire(self, max_pause: float = math.inf) -> Slot:
        self.acquired += 1
        assert self.acquired <= 2 * ATTEMPTS
        return await super().acquire(max_pause)


class Hooks:
    """Nobody stops the page."""

    def request_started(self) -> None: ...
    def request_ended(self) -> None: ...
    def backing_off(self, waiting: bool) -> None: ...


async def fail(transport: FailingTransport, retry: RetryPolicy) -> RequestError:
    """The error of a page that is fetched through that transport."""
    fetcher = fetcher_of(transport, retry)
    with mock.patch("clicksgroup.fetching.Attempt", FailingAttempt), pytest.raises(RequestError) as caught:
        await fetcher.fetch(Query(DATE, DATE).page(1), Hooks())
    assert caught.value.attempts == len(transport.attempts)
    return caught.value


def fetcher_of(transport: FailingTransport, retry: RetryPolicy) -> Fetcher:
    quota = BoundedQuota(Quota(in_flight=2), asyncio.get_running_loop())
    return Fetcher(cast("Transport", transport), quota, retry, timeout=30)


@given(latency=st.floats(0.01, 2), jitter=st.floats(0, 2), deadline=st.floats(0.05, 20), seed=st.integers(0, 2**32))
def test_no_useless_attempt(latency: float, jitter: float, deadline: float, seed: int) -> None:
    """None is begun that the deadline would cut shorter than the longest before it took."""
    rng = random.Random(seed)
    policy = RetryPolicy(attempts=ATTEMPTS, backoff=0.01, max_backoff=0.5, deadline=deadline)

    @in_virtual_time
    async def simulation() -> None:
        transport = FailingTransport(lambda: latency + rng.random() * jitter)
        error = await fail(transport, policy)
        longest = 0.0
        for allowed, took in transport.attempts:
            assert allowed > longest
            longest = max(longest, took)
        if len(transport.attempts) > 1 or longest < deadline:
            assert isinstance(error, ServerError)
            assert "deadline" in str(error)

    simulation()


@pytest.mark.parametrize("seed", range(14))
def test_deadline_is_named(seed: int) -> None:
    """A server that answers 503 after 0.2 s ends in that error, which says that the deadline would pass."""

    @in_virtual_time
    async def simulation() -> None:
        random.seed(seed)
        transport = FailingTransport(lambda: 0.2)
        error = await fail(transport, RetryPolicy(attempts=ATTEMPTS, deadline=1.0))
        assert isinstance(error, ServerError)
        assert "HTTP 503" in str(error)
        assert "deadline of 1 s" in str(error)
        assert all(took == 0.2 for _, took in transport.attempts)

    simulation()


@in_virtual_time
async def test_cut_after_a_failure() -> None:
    """Where the deadline does cut an attempt, the earlier failure is raised."""
    latencies = iter([0.1, 5.0])
    transport = FailingTransport(lambda: next(latencies))
    error = await fail(transport, RetryPolicy(backoff=0, deadline=1.0))
    assert [allowed > took for allowed, took in transport.attempts] == [True, False]
    assert isinstance(error, ServerError)
    assert "2 attempts; another would pass RetryPolicy's deadline of 1 s" in str(error)


@in_virtual_time
@pytest.mark.parametrize(("first", "trial"), [(0.5, 1.25), (0.7, 1.25), (0.5, 9.0), (0.3, 9.0)])
async def test_wait_for_the_breaker(first: float, trial: float) -> None:
    """A page that waits for another's trial request sends none that its deadline would cut, and says which limit."""
    latencies = iter([first, first, trial])
    transport = FailingTransport(lambda: next(latencies))
    fetcher = fetcher_of(transport, RetryPolicy(attempts=ATTEMPTS, backoff=0, deadline=2.0))
    with mock.patch("clicksgroup.fetching.Attempt", FailingAttempt):
        errors = await asyncio.gather(
            *(fetcher.fetch(Query(DATE, DATE).page(number), Hooks()) for number in (1, 2)), return_exceptions=True
        )
    assert len(transport.attempts) == 3
    for error in errors:
        assert isinstance(error, ServerError)
        assert "another would pass RetryPolicy's deadline of 2 s" in str(error)
    assert sorted(error.attempts for error in errors if isinstance(error, ServerError)) == [1, 2]


async def test_over_http() -> None:
    """So it is with a server: its answer is the error, and the message says why there was no further attempt."""

    async def respond(request: Request) -> Response:
        await asyncio.sleep(0.05)
        return http(b"", 503)

    policy = RetryPolicy(attempts=ATTEMPTS, backoff=0.01, max_backoff=0.02, deadline=0.4)
    async with RawServer(respond) as server:
        error = await failure_of(server, retry=policy)
        assert isinstance(error, ServerError)
        assert "deadline of 0.4 s" in str(error)
        assert error.attempts == len(server.requests)


@pytest.mark.parametrize("status", [503, 500, 408])
@pytest.mark.parametrize(
    ("policy", "limit"),
    [(RetryPolicy(), "300 s"), (RetryPolicy(deadline=599), "599 s"), (RetryPolicy(deadline=600), "600 s")],
    ids=["default", "599 s", "600 s"],
)
async def test_retry_after(status: int, policy: RetryPolicy, limit: str) -> None:
    """`Retry-After: 600`, beyond the deadline: one request, the seconds as a number, and which limit they pass."""
    async with RawServer([http(b"", status, "Retry-After: 600")]) as server:
        error = await failure_of(server, retry=policy)
        assert isinstance(error, StatusError)
        assert (error.status, error.retry_after, error.attempts) == (status, 600.0, 1)
        assert f"(to wait 600 s as asked would pass RetryPolicy's deadline of {limit})" in str(error)
        assert len(server.requests) == 1


async def test_retry_after_of_the_last_attempt() -> None:
    """Where the attempts are used up, the seconds that the last answer asked for are in the error too."""
    async with RawServer([http(b"", 503), http(b"", 503, "Retry-After: 0.5")]) as server:
        error = await failure_of(server, retry=RetryPolicy(attempts=2, backoff=0.001))
        assert isinstance(error, ServerError)
        assert error.retry_after == 0.5
        assert "2 attempts; RetryPolicy allows 2" in str(error)


@pytest.mark.parametrize("header", [(), ("Retry-After: soon",)], ids=["absent", "unreadable"])
async def test_no_retry_after(header: tuple[str, ...]) -> None:
    """None where the server does not say."""
    async with RawServer([http(b"", 503, *header)]) as server:
        error = await failure_of(server)
        assert isinstance(error, StatusError)
        assert error.retry_after is None
