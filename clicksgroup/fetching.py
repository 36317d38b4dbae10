"""One page, tried as often as the policy allows: a slot of the quota, an attempt, an answer or an error."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Protocol

import attrs

from clicksgroup.errors import RateLimitError, RequestError
from clicksgroup.protocol import PageRequest, PageResponse
from clicksgroup.quota.shared import QuotaPausedError, SharedQuota, Slot
from clicksgroup.retries import CircuitBreaker, RetryPolicy
from clicksgroup.transport import Attempt, Transport

logger = logging.getLogger("clicksgroup")


class Worker(Protocol):
    """Whoever runs `fetch`: it is told when a request is under way, since that must not be cancelled."""

    def request_started(self) -> None:
        """A request is about to be sent."""

    def request_ended(self) -> None:
        """It has ended. Raises `CancelledError` where the worker was called back in the meantime."""

    def backing_off(self, waiting: bool) -> None:
        """A wait before another attempt begins or ends."""


@attrs.frozen(eq=False)
class Fetcher:
    """Fetches pages over one session, within one quota.

    Args:
        transport: where to send requests, and with what.
        quota: asked before every request.
        retry: how often, and for how long, a page is tried.
        timeout: seconds for one attempt, from its start to the last byte.
    """

    transport: Transport
    quota: SharedQuota
    retry: RetryPolicy
    timeout: float
    breaker: CircuitBreaker = attrs.field(factory=CircuitBreaker)

    def fetch(self, request: PageRequest, worker: Worker) -> Awaitable[PageResponse]:
        """The reply to one request.

        Raises:
            RequestError: no attempt gave a page, or one failed in a way that will not pass.
        """
        return _Fetch(self, request, worker).run()


class _Fetch:
    """One page on its way: what it has cost so far."""

    __slots__ = ("_attempts", "_failure", "_fetcher", "_request", "_time_left", "_worker")

    def __init__(self, fetcher: Fetcher, request: PageRequest, worker: Worker) -> None:
        self._fetcher = fetcher
        self._request = request
        self._worker = worker
        self._attempts = 0
        self._failure: RequestError | None = None  # of the last attempt
        self._time_left = fetcher.retry.deadline  # seconds; what waiting for quota takes does not count

    async def run(self) -> PageResponse:
        clock = asyncio.get_running_loop().time
        try:
            while True:
                slot = self._admit_at_once() or await self._admit()
                attempt = self._next_attempt(slot)
                began = clock()
                self._worker.request_started()
                outcome = await attempt.run(min(self._fetcher.timeout, self._time_left))
                elapsed = clock() - began - attempt.waited
                self._attempt_ended(attempt, outcome, elapsed)
                self._worker.request_ended()
                if isinstance(outcome, PageResponse):
                    return outcome
                delay = self._delay(attempt, outcome)
                self._log_retry(attempt, elapsed, delay, outcome)
                if attempt.pause is None:  # a pause is the quota's to wait for
                    await _back_off(self._worker, delay)
                    self._time_left -= delay
        finally:
            self._fetcher.breaker.leave(self)

    def _next_attempt(self, slot: Slot) -> Attempt:
        self._attempts += 1
        transport = self._fetcher.transport
        transport.counters.retries += self._attempts > 1
        return Attempt(transport, self._request, slot, another_slot=self._acquire, backoff=self._backoff)

    def _attempt_ended(self, attempt: Attempt, outcome: PageResponse | RequestError, elapsed: float) -> None:
        self._time_left -= elapsed
        outcome.attempts = self._attempts
        failed = not isinstance(outcome, PageResponse) and outcome.retryable and attempt.pause is None
        self._fetcher.breaker.ended(self, failed=failed)
        if logger.isEnabledFor(logging.DEBUG):
            self._log_request(attempt, elapsed, outcome)

    def _delay(self, attempt: Attempt, error: RequestError) -> float:
        """The seconds before the next attempt, after one that failed; where there will be none it raises."""
        self._failure = error
        delay = max(self._backoff(), attempt.retry_after or 0.0) if attempt.pause is None else attempt.pause
        if not error.retryable or self._attempts >= self._fetcher.retry.attempts or delay >= self._time_left:
            raise self._final(error)
        return delay

    def _final(self, error: RequestError) -> RequestError:
        if self._attempts > 1:
            error.args = (f"{error} ({self._attempts} attempts)",)
        return error

    def _admit_at_once(self) -> Slot | None:
        """A slot, if nothing speaks against a request."""
        breaker = self._fetcher.breaker
        if not breaker.admits(self) or (slot := self._fetcher.quota.acquire_nowait()) is None:
            return None
        breaker.began(self)
        return slot

    async def _admit(self) -> Slot:
        """Wait until nothing speaks against a request: no breaker, no pause, and quota enough."""
        breaker = self._fetcher.breaker
        while True:
            if not breaker.admits(self):
                await self._wait_for_breaker()
            slot = await self._acquire()
            if breaker.admits(self):
                breaker.began(self)
                return slot
            slot.refund()

    async def _wait_for_breaker(self) -> None:
        """Wait while others probe. A page that has been tried already waits no longer than its deadline lets it."""
        if self._failure is None:
            return await self._fetcher.breaker.wait(self)
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            async with asyncio.timeout(self._time_left):
                await self._fetcher.breaker.wait(self)
        except TimeoutError:
            self._time_left = 0.0
        else:
            self._time_left -= clock() - began
        if self._time_left <= 0:
            raise self._final(self._failure)
        return None

    async def _acquire(self) -> Slot:
        if (slot := self._fetcher.quota.acquire_nowait()) is not None:
            return slot
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            return await self._fetcher.quota.acquire(self._time_left)
        except QuotaPausedError as error:
            seconds = error.seconds
        finally:
            self._fetcher.transport.counters.waited += clock() - began
        raise RateLimitError(
            f"{self._request}: after a 429 nothing is sent for {seconds:.1f} s, longer than the "
            f"{self._time_left:.1f} s that are left of the deadline; try again later, or "
            "give RetryPolicy a longer deadline",
            retry_after=seconds,
            date=self._request.query.start,
            page=self._request.number,
            attempts=self._attempts,
        )

    def _backoff(self) -> float:
        return self._fetcher.retry.delay(self._attempts)

    def _log_request(self, attempt: Attempt, elapsed: float, outcome: PageResponse | RequestError) -> None:
        what = f"{len(outcome.rows)} records" if isinstance(outcome, PageResponse) else type(outcome).__name__
        logger.debug(
            "%s: attempt %d, HTTP %s in %.0f ms: %s",
            self._request,
            self._attempts,
            "-" if attempt.status is None else attempt.status,
            elapsed * 1000,
            what,
            extra=self._extra(attempt, elapsed),
        )

    def _log_retry(self, attempt: Attempt, elapsed: float, delay: float, error: RequestError) -> None:
        logger.warning(
            "attempt %d failed, the next comes in %.1f s or later: %s",
            self._attempts,
            delay,
            error,
            extra=self._extra(attempt, elapsed),
        )

    def _extra(self, attempt: Attempt, elapsed: float) -> dict[str, object]:
        extra: dict[str, object] = {
            "date": self._request.query.start,
            "page": self._request.number,
            "attempt": self._attempts,
            "elapsed_ms": round(elapsed * 1000, 1),
        }
        if attempt.status is not None:
            extra["status"] = attempt.status
        return extra


async def _back_off(worker: Worker, seconds: float) -> None:
    worker.backing_off(True)
    try:
        await asyncio.sleep(seconds)
    finally:
        worker.backing_off(False)
