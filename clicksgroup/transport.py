"""One page, tried as often as the policy allows: a slot of the quota, an attempt, an answer or an error."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Protocol

import attrs

from clicksgroup.errors import RateLimitError, RequestError
from clicksgroup.protocol import PageRequest, Reply
from clicksgroup.quota.shared import QuotaPausedError, SharedQuota, Slot
from clicksgroup.retries import Outage, RetryPolicy
from clicksgroup.wire import Attempt, Wire

logger = logging.getLogger("clicksgroup")


class Errand(Protocol):
    """Whoever runs `fetch`: it is told when a request is under way, since that must not be cancelled."""

    def takes_off(self) -> None:
        """A request is about to be sent."""

    def lands(self) -> None:
        """It has ended. Raises `CancelledError` where the errand was called back in the meantime."""

    def rests(self, resting: bool) -> None:
        """A wait before another attempt begins or ends."""


@attrs.frozen(eq=False)
class Transport:
    """Fetches pages over one session, within one quota.

    Args:
        wire: where to send requests, and with what.
        quota: asked before every request.
        retry: how often, and for how long, a page is tried.
        timeout: seconds for one attempt, from its start to the last byte.
    """

    wire: Wire
    quota: SharedQuota
    retry: RetryPolicy
    timeout: float
    outage: Outage = attrs.field(factory=Outage)

    def fetch(self, request: PageRequest, errand: Errand) -> Awaitable[Reply]:
        """The reply to one request.

        Raises:
            RequestError: no attempt gave a page, or one failed in a way that will not pass.
        """
        return _Fetch(self, request, errand).run()


class _Fetch:
    """One page on its way: what it has cost so far."""

    __slots__ = ("_attempts", "_errand", "_failure", "_patience", "_request", "_transport")

    def __init__(self, transport: Transport, request: PageRequest, errand: Errand) -> None:
        self._transport = transport
        self._request = request
        self._errand = errand
        self._attempts = 0
        self._failure: RequestError | None = None  # of the last attempt
        self._patience = transport.retry.deadline  # seconds; what waiting for quota takes does not count

    async def run(self) -> Reply:
        clock = asyncio.get_running_loop().time
        try:
            while True:
                slot = self._admit_at_once() or await self._admit()
                attempt = self._next_attempt(slot)
                began = clock()
                self._errand.takes_off()
                outcome = await attempt.run(min(self._transport.timeout, self._patience))
                elapsed = clock() - began - attempt.waited
                self._attempt_ended(attempt, outcome, elapsed)
                self._errand.lands()
                if isinstance(outcome, Reply):
                    return outcome
                delay = self._delay(attempt, outcome)
                self._log_retry(attempt, elapsed, delay, outcome)
                if attempt.pause is None:  # a pause is the quota's to wait for
                    await _rest(self._errand, delay)
                    self._patience -= delay
        finally:
            self._transport.outage.leave(self)

    def _next_attempt(self, slot: Slot) -> Attempt:
        self._attempts += 1
        wire = self._transport.wire
        wire.counters.retries += self._attempts > 1
        return Attempt(wire, self._request, slot, another_slot=self._acquire, backoff=self._backoff)

    def _attempt_ended(self, attempt: Attempt, outcome: Reply | RequestError, elapsed: float) -> None:
        self._patience -= elapsed
        outcome.attempts = self._attempts
        failed = not isinstance(outcome, Reply) and outcome.retryable and attempt.pause is None
        self._transport.outage.ended(self, failed=failed)
        if logger.isEnabledFor(logging.DEBUG):
            self._log_request(attempt, elapsed, outcome)

    def _delay(self, attempt: Attempt, error: RequestError) -> float:
        """The seconds before the next attempt, after one that failed; where there will be none it raises."""
        self._failure = error
        delay = max(self._backoff(), attempt.retry_after or 0.0) if attempt.pause is None else attempt.pause
        if not error.retryable or self._attempts >= self._transport.retry.attempts or delay >= self._patience:
            raise self._final(error)
        return delay

    def _final(self, error: RequestError) -> RequestError:
        if self._attempts > 1:
            error.args = (f"{error} ({self._attempts} attempts)",)
        return error

    def _admit_at_once(self) -> Slot | None:
        """A slot, if nothing speaks against a request."""
        outage = self._transport.outage
        if not outage.admits(self) or (slot := self._transport.quota.acquire_nowait()) is None:
            return None
        outage.began(self)
        return slot

    async def _admit(self) -> Slot:
        """Wait until nothing speaks against a request: no outage, no pause, and quota enough."""
        outage = self._transport.outage
        while True:
            if not outage.admits(self):
                await self._sit_out_outage()
            slot = await self._acquire()
            if outage.admits(self):
                outage.began(self)
                return slot
            slot.refund()

    async def _sit_out_outage(self) -> None:
        """Wait while others probe. A page that has been tried already waits no longer than its deadline lets it."""
        if self._failure is None:
            return await self._transport.outage.wait(self)
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            async with asyncio.timeout(self._patience):
                await self._transport.outage.wait(self)
        except TimeoutError:
            self._patience = 0.0
        else:
            self._patience -= clock() - began
        if self._patience <= 0:
            raise self._final(self._failure)
        return None

    async def _acquire(self) -> Slot:
        if (slot := self._transport.quota.acquire_nowait()) is not None:
            return slot
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            return await self._transport.quota.acquire(self._patience)
        except QuotaPausedError as error:
            seconds = error.seconds
        finally:
            self._transport.wire.counters.waited += clock() - began
        raise RateLimitError(
            f"{self._request}: after a 429 nothing is sent for {seconds:.1f} s, longer than the {self._patience:.1f} s "
            "that are left of the deadline; try again later, or give RetryPolicy a longer deadline",
            retry_after=seconds,
            date=self._request.question.start,
            page=self._request.number,
            attempts=self._attempts,
        )

    def _backoff(self) -> float:
        return self._transport.retry.delay(self._attempts)

    def _log_request(self, attempt: Attempt, elapsed: float, outcome: Reply | RequestError) -> None:
        what = f"{len(outcome.rows)} records" if isinstance(outcome, Reply) else type(outcome).__name__
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
            "date": self._request.question.start,
            "page": self._request.number,
            "attempt": self._attempts,
            "elapsed_ms": round(elapsed * 1000, 1),
        }
        if attempt.status is not None:
            extra["status"] = attempt.status
        return extra


async def _rest(errand: Errand, seconds: float) -> None:
    errand.rests(True)
    try:
        await asyncio.sleep(seconds)
    finally:
        errand.rests(False)
