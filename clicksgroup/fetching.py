"""One page, tried as often as the policy allows: a slot of the quota, an attempt, an answer or an error."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable
from typing import Protocol

import attrs

from clicksgroup.errors import RateLimitError, RequestError
from clicksgroup.protocol import PageRequest, PageResponse
from clicksgroup.quota.shared import QuotaPausedError, SharedQuota, Slot
from clicksgroup.retries import CircuitBreaker, RetryBudget, RetryPolicy
from clicksgroup.transport import Attempt, Transport

logger = logging.getLogger("clicksgroup")


class FetchHooks(Protocol):
    """How `fetch` and the task that runs it work together: see `clicksgroup.workers.Worker`.

    The first two may raise `CancelledError`, since a request under way must not be cancelled.
    """

    def request_started(self) -> None: ...
    def request_ended(self) -> None: ...
    def backing_off(self, waiting: bool) -> None: ...


@attrs.frozen(eq=False)
class Fetcher:
    """Fetches pages over one session, within one quota."""

    transport: Transport
    quota: SharedQuota
    retry: RetryPolicy
    # Seconds for one attempt, from its start to the last byte.
    timeout: float
    breaker: CircuitBreaker = attrs.field(factory=CircuitBreaker)

    def fetch(self, request: PageRequest, hooks: FetchHooks) -> Awaitable[PageResponse]:
        """The answer to one request.

        Raises:
            RequestError: no attempt gave a page, or one failed in a way that is not retryable.
        """
        return _PageFetch(self, request, hooks).run()


class _PageFetch:
    """One page under way."""

    def __init__(self, fetcher: Fetcher, request: PageRequest, hooks: FetchHooks) -> None:
        self._fetcher = fetcher
        self._counters = fetcher.transport.counters
        self._request = request
        self._hooks = hooks
        self._clock = asyncio.get_running_loop().time
        self._budget = RetryBudget(fetcher.retry)
        # Seconds that the last attempt took.
        self._elapsed = 0.0

    async def run(self) -> PageResponse:
        """Try until there is a page, or an error that is not tried again.

        A 429 has begun a pause of all requests of the key (`Slot.throttled`), and the quota grants the next slot only
        after it. So only other failures wait here.
        """
        budget = self._budget
        try:
            while True:
                attempt, outcome = await self._attempt(await self._admit())
                if isinstance(outcome, PageResponse):
                    return outcome
                delay = budget.next_delay(outcome, pause=attempt.pause, retry_after=attempt.retry_after)
                message = "attempt %d failed, retrying in at least %.2f s: %s"
                self._log(logging.WARNING, attempt, message, budget.attempts, delay, outcome)
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
            if breaker.try_start(self):
                return slot
            slot.refund()

    async def _wait_for_breaker(self) -> None:
        """Wait until the breaker has changed, because another page sends the trial requests.

        For a page that has been tried already, this time counts against its deadline, unless there is no trial because
        the owner of the breaker waits for quota.
        """
        breaker, budget = self._fetcher.breaker, self._budget
        if budget.failure is None:
            await breaker.changed()
            return
        began, uses_deadline = self._clock(), not breaker.owner_waits_for_quota
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(budget.spare_time if uses_deadline else None):
                await breaker.changed()
        if uses_deadline:
            budget.time_left -= self._clock() - began
        # Rounding of the clock may leave a little more than 0.
        if budget.spare_time <= 1e-6:
            raise budget.too_late(budget.failure)

    async def _acquire(self) -> Slot:
        breaker, time_left = self._fetcher.breaker, self._budget.time_left
        began = self._clock()
        breaker.quota_wait_began(self)
        try:
            return await self._fetcher.quota.acquire(time_left)
        except QuotaPausedError as error:
            seconds, kept = error.seconds, error.kept
        finally:
            breaker.quota_wait_ended(self)
            self._counters.waited += self._clock() - began
        raise RateLimitError(
            f"{self._request}: after a 429 nothing is sent for {seconds:.1f} s, longer than the {time_left:.1f} s that "
            f"are left of the deadline; try again later, or give RetryPolicy a longer deadline; {kept}",
            retry_after=seconds,
            attempts=self._budget.attempts,
            **self._request.where,
        )

    async def _attempt(self, slot: Slot) -> tuple[Attempt, PageResponse | RequestError]:
        """One attempt, and what it came to."""
        try:
            self._hooks.request_started()
        except asyncio.CancelledError:
            slot.refund()
            raise
        budget, timeout = self._budget, self._fetcher.timeout
        budget.attempts += 1
        self._counters.retries += budget.attempts > 1
        began = self._clock()
        bound = "deadline=" if budget.time_left < timeout else "timeout="
        attempt = Attempt(self._fetcher.transport, self._request, slot, self._acquire, budget.backoff)
        outcome = await attempt.run(min(timeout, budget.time_left), bound)
        self._elapsed = self._clock() - began - attempt.waited
        budget.attempt_ended(self._elapsed)
        # Where the deadline has cut this attempt short, the failure before it tells the user more.
        if attempt.timed_out and bound == "deadline=" and budget.failure is not None:
            outcome = budget.failure
        outcome.attempts = budget.attempts
        failed = isinstance(outcome, RequestError) and outcome.retryable and attempt.pause is None
        self._fetcher.breaker.request_ended(self, failed=failed)
        if logger.isEnabledFor(logging.DEBUG):
            self._log_request(attempt, outcome)
        self._hooks.request_ended()
        return attempt, outcome

    async def _back_off(self, seconds: float) -> None:
        self._hooks.backing_off(True)
        try:
            await asyncio.sleep(seconds)
        finally:
            self._hooks.backing_off(False)
        self._budget.time_left -= seconds

    def _log_request(self, attempt: Attempt, outcome: PageResponse | RequestError) -> None:
        what = f"{len(outcome.records)} records" if isinstance(outcome, PageResponse) else type(outcome).__name__
        status = "-" if attempt.status is None else attempt.status
        milliseconds = self._elapsed * 1000
        message = "%s: attempt %d, HTTP %s in %.0f ms: %s"
        self._log(logging.DEBUG, attempt, message, self._request, self._budget.attempts, status, milliseconds, what)

    def _log(self, level: int, attempt: Attempt, message: str, *args: object) -> None:
        extra: dict[str, object] = {
            **self._request.where,
            "attempt": self._budget.attempts,
            "elapsed_ms": round(self._elapsed * 1000, 1),
        }
        if attempt.status is not None:
            extra["status"] = attempt.status
        logger.log(level, message, *args, extra=extra)
