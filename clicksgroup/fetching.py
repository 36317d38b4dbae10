"""One page, tried as often as the policy allows: a slot of the quota, an attempt, an answer or an error."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable
from typing import Protocol

import attrs

from clicksgroup.attempts import Attempt
from clicksgroup.errors import RateLimitError, RequestError
from clicksgroup.protocol import PageRequest, PageResponse
from clicksgroup.quota.shared import QuotaPausedError, SharedQuota, Slot
from clicksgroup.retries import CircuitBreaker, RetryPolicy
from clicksgroup.transport import Transport

logger = logging.getLogger("clicksgroup")


class FetchHooks(Protocol):
    """What the task that runs `fetch` is told: a request under way must not be cancelled."""

    def request_started(self) -> None:
        """A request is about to be sent. Raises `CancelledError` where it is not wanted any more."""

    def request_ended(self) -> None:
        """It has ended. Raises `CancelledError` where the task was asked to stop in the meantime."""

    def backing_off(self, waiting: bool) -> None:
        """A wait before another attempt begins or ends."""


@attrs.frozen(eq=False)
class Fetcher:
    """Fetches pages over one session, within one quota.

    Args:
        transport: sends the requests.
        quota: asked before every request.
        retry: how often, and for how long, a page is tried.
        timeout: seconds for one attempt, from its start to the last byte.
    """

    transport: Transport
    quota: SharedQuota
    retry: RetryPolicy
    timeout: float
    breaker: CircuitBreaker = attrs.field(factory=CircuitBreaker)

    def fetch(self, request: PageRequest, hooks: FetchHooks) -> Awaitable[PageResponse]:
        """The answer to one request.

        Raises:
            RequestError: no attempt gave a page, or one failed in a way that is not retryable.
        """
        return _PageFetch(self, request, hooks).run()


class _PageFetch:
    """One page under way: what it has cost so far."""

    def __init__(self, fetcher: Fetcher, request: PageRequest, hooks: FetchHooks) -> None:
        self._fetcher = fetcher
        self._counters = fetcher.transport.counters
        self._request = request
        self._hooks = hooks
        self._clock = asyncio.get_running_loop().time
        self._attempts = 0
        # Of the last attempt.
        self._failure: RequestError | None = None
        # Seconds of the deadline, without waits for quota; and what the last and the longest attempt took.
        self._time_left = fetcher.retry.deadline
        self._elapsed = self._longest_attempt = 0.0

    async def run(self) -> PageResponse:
        try:
            while True:
                slot = await self._admit()
                attempt, outcome = await self._attempt(slot)
                if isinstance(outcome, PageResponse):
                    return outcome
                delay = self._delay(attempt, outcome)
                self._log_retry(attempt, delay, outcome)
                # A pause is waited for by the quota.
                if attempt.pause is None:
                    await self._back_off(delay)
        finally:
            self._fetcher.breaker.leave(self)

    async def _admit(self) -> Slot:
        """Wait until a request may be sent: the breaker is closed, or lets this page try; and there is quota."""
        breaker = self._fetcher.breaker
        while True:
            while not breaker.admits(self):
                await self._wait_for_breaker()
            slot = await self._acquire()
            if breaker.admits(self):
                breaker.request_started(self)
                return slot
            slot.refund()

    async def _wait_for_breaker(self) -> None:
        """Wait while others try. A page that has been tried already waits no longer than its deadline allows.

        The time in which the page that tries waits for quota does not count for the others either.
        """
        breaker = self._fetcher.breaker
        if self._failure is None:
            await breaker.changed()
            return
        began, counts = self._clock(), not breaker.owner_waits_for_quota
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._time_left - self._longest_attempt if counts else None):
                await breaker.changed()
        if counts:
            self._time_left -= self._clock() - began
        # The clock's rounding may leave a little more than the longest attempt.
        if self._time_left <= self._longest_attempt + 1e-6:
            deadline = self._fetcher.retry.deadline
            raise self._final(self._failure, f"another would pass RetryPolicy's deadline of {deadline:g} s")

    async def _acquire(self) -> Slot:
        breaker = self._fetcher.breaker
        began = self._clock()
        breaker.quota_wait_began(self)
        try:
            return await self._fetcher.quota.acquire(self._time_left)
        except QuotaPausedError as error:
            seconds, kept = error.seconds, error.kept
        finally:
            breaker.quota_wait_ended(self)
            self._counters.waited += self._clock() - began
        raise RateLimitError(
            f"{self._request}: after a 429 nothing is sent for {seconds:.1f} s, longer than the "
            f"{self._time_left:.1f} s that are left of the deadline; try again later, or "
            f"give RetryPolicy a longer deadline; {kept}",
            retry_after=seconds,
            date=self._request.query.start,
            page=self._request.number,
            attempts=self._attempts,
        )

    async def _attempt(self, slot: Slot) -> tuple[Attempt, PageResponse | RequestError]:
        """One attempt, and what it came to."""
        try:
            self._hooks.request_started()
        except asyncio.CancelledError:
            slot.refund()
            raise
        self._attempts += 1
        self._counters.retries += self._attempts > 1
        began = self._clock()
        bound = "deadline=" if self._time_left < self._fetcher.timeout else "timeout="
        attempt = Attempt(self._fetcher.transport, self._request, slot, self._acquire, self._backoff)
        outcome = await attempt.run(min(self._fetcher.timeout, self._time_left), bound)
        self._elapsed = self._clock() - began - attempt.waited
        self._time_left -= self._elapsed
        self._longest_attempt = max(self._longest_attempt, self._elapsed)
        # That the deadline cut this attempt says nothing; the failure before it says why there was another one.
        if attempt.timed_out and bound == "deadline=" and self._failure is not None:
            outcome = self._failure
        outcome.attempts = self._attempts
        failed = isinstance(outcome, RequestError) and outcome.retryable and attempt.pause is None
        self._fetcher.breaker.request_ended(self, failed=failed)
        self._log_request(attempt, outcome)
        self._hooks.request_ended()
        return attempt, outcome

    def _delay(self, attempt: Attempt, error: RequestError) -> float:
        """The seconds before the next attempt, after one that failed. Where there is none, the error is raised."""
        self._failure = error
        retry = self._fetcher.retry
        asked = attempt.retry_after or 0.0
        delay = attempt.pause if attempt.pause is not None else max(self._backoff(), asked)
        if not error.retryable:
            raise self._final(error)
        if self._attempts >= retry.attempts:
            raise self._final(error, f"RetryPolicy allows {retry.attempts}" if retry.attempts > 1 else "")
        # An attempt that the deadline would cut shorter than those before took is not worth a request. A pause does
        # not count against the deadline, but must not be longer.
        needed = max(delay, self._longest_attempt) if attempt.pause is not None else delay + self._longest_attempt
        if needed >= self._time_left:
            what = f"to wait {asked:g} s as asked" if 0 < self._time_left <= asked else "another"
            raise self._final(error, f"{what} would pass RetryPolicy's deadline of {retry.deadline:g} s")
        return delay

    def _final(self, error: RequestError, reason: str = "") -> RequestError:
        """The error, with how often it was tried and why no more."""
        attempts = f"{self._attempts} attempts" if self._attempts > 1 else ""
        if said := "; ".join(filter(None, (attempts, reason))):
            error.args = (f"{error} ({said})",)
        return error

    def _backoff(self) -> float:
        return self._fetcher.retry.delay(self._attempts)

    async def _back_off(self, seconds: float) -> None:
        self._hooks.backing_off(True)
        try:
            await asyncio.sleep(seconds)
        finally:
            self._hooks.backing_off(False)
        self._time_left -= seconds

    def _log_request(self, attempt: Attempt, outcome: PageResponse | RequestError) -> None:
        if not logger.isEnabledFor(logging.DEBUG):
            return
        what = f"{len(outcome.records)} records" if isinstance(outcome, PageResponse) else type(outcome).__name__
        status = "-" if attempt.status is None else attempt.status
        logger.debug(
            "%s: attempt %d, HTTP %s in %.0f ms: %s",
            *(self._request, self._attempts, status, self._elapsed * 1000, what),
            extra=self._extra(attempt),
        )

    def _log_retry(self, attempt: Attempt, delay: float, error: RequestError) -> None:
        logger.warning(
            "attempt %d failed, retrying in at least %.2f s: %s",
            *(self._attempts, delay, error),
            extra=self._extra(attempt),
        )

    def _extra(self, attempt: Attempt) -> dict[str, object]:
        extra: dict[str, object] = {
            "date": self._request.query.start,
            "page": self._request.number,
            "attempt": self._attempts,
            "elapsed_ms": round(self._elapsed * 1000, 1),
        }
        if attempt.status is not None:
            extra["status"] = attempt.status
        return extra
