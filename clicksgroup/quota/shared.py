"""The interface of a quota that is kept: `SharedQuota`, and the `Slot` that it grants for each request."""

from __future__ import annotations

import abc
import asyncio
import logging
import math
from collections import OrderedDict
from collections.abc import Callable
from types import TracebackType
from typing import Self

import attrs

from clicksgroup.arguments import instance
from clicksgroup.plans import Quota
from clicksgroup.quota.ledger import LONGEST_PAUSE, EventKind, Forecast

logger = logging.getLogger("clicksgroup")

ANNOUNCED_WAIT = 1.0
"""Seconds. A wait for the quota that is longer is logged."""


class QuotaPausedError(Exception):
    """A pause after a 429 is longer than the caller accepts.

    Args:
        seconds: what is left of the pause.
        kept: where the pause is kept, and how to end it.
    """

    def __init__(self, seconds: float, kept: str) -> None:
        # These make another one when it is unpickled.
        super().__init__(seconds, kept)
        self.seconds = seconds
        self.kept = kept

    def __str__(self) -> str:
        return f"the quota is paused for {self.seconds:.1f} s; {self.kept}"


@attrs.define(eq=False, repr=False)
class Slot:
    """Permission to send one request. The caller reports, synchronously and in this order, what became of it.

    Call `refund()` alone; or `answered()` or `throttled()`, then `release()`; or `release()` alone when no answer
    came; or `abandon()` at any point before `release()`. A repeated report changes nothing.

    Args:
        receive: called with each report, before `is_answered` changes.
        id: what the quota calls the slot.
        has_expired: whether a lease on the slot has expired. None: there is no lease.
    """

    _receive: Callable[[Slot, EventKind, float], None]
    id: str = ""
    _has_expired: Callable[[], bool] | None = None
    is_answered: bool = attrs.field(default=False, init=False)
    _was_taken: bool = attrs.field(default=False, init=False)
    _has_ended: bool = attrs.field(default=False, init=False)

    def expired(self) -> bool:
        """Whether the slot may no longer be used, since others may have been granted it in the meantime.

        It expires when this process has stood still for too long (a suspended machine, synchronous code that blocks
        the event loop), or when the quota was closed. Ask right before the head of a request is written: if it has
        expired, `refund()` it and acquire another one.
        """
        return self._has_ended or self._was_taken or (self._has_expired is not None and self._has_expired())

    def expire(self) -> None:
        """Others may have been granted the slot. Called by the quota."""
        self._was_taken = True

    def answered(self) -> None:
        """The headers of the answer have arrived, and it is not a 429: one window from now it counts no longer."""
        if not self.is_answered:
            self._report("answered")

    def throttled(self, seconds: float) -> None:
        """The answer is a 429: no request starts for `seconds`, then a single trial request."""
        if not self.is_answered:
            self._report("throttled", min(seconds, LONGEST_PAUSE))

    def release(self) -> None:
        """The request has ended (its body is read, or it was given up): it is no longer in flight."""
        self._report("released")

    def refund(self) -> None:
        """The headers of the request were never sent: the slot counts as never granted."""
        if not self.is_answered:
            self._report("refunded")

    def abandon(self) -> None:
        """The end of the request will never be known: it counts as in flight for another `ORPHAN_HOLD` seconds."""
        self._report("abandoned")

    def _report(self, kind: EventKind, seconds: float = 0.0) -> None:
        if self._has_ended:
            return
        self._receive(self, kind, seconds)
        if kind in ("answered", "throttled"):
            self.is_answered = True
        else:
            self._has_ended = True


@attrs.define(eq=False)
class _Opening:
    """How often one event loop has the quota open."""

    users: int = 0
    is_open: bool = False
    # Opening and closing exclude each other, so that no block begins with a quota that is half open.
    transition: asyncio.Lock = attrs.field(factory=asyncio.Lock)


class SharedQuota(abc.ABC):
    """Grants slots within one quota to everybody who shares it.

    `async with` opens it, as often as needed and in any number of event loops; in each it closes when the last block
    ends. A client that is given one opens it for as long as the client itself is open.
    """

    def __init__(self, quota: Quota) -> None:
        self.quota = instance("quota", quota, Quota, example="Quota((24, 60), in_flight=2)")
        self._openings: dict[asyncio.AbstractEventLoop, _Opening] = {}
        # The learned limit of each window that was logged last.
        self._announced_limits = [count for count, _ in self.quota.limits]

    @property
    def in_use(self) -> bool:
        """Whether any `async with` block has it open."""
        return any(opening.users for loop, opening in self._openings.copy().items() if not loop.is_closed())

    def forecast(self) -> Forecast:
        """What the quota allows from now on, as far as it is known."""
        return Forecast(self.quota.limits)

    @property
    def limits_in_force(self) -> tuple[tuple[int, float], ...]:
        """The requests and the seconds of each window: as configured, or fewer where answers of 429 showed that."""
        return self.forecast().limits

    def seconds_until(self, requests: int) -> float:
        """Seconds until the last of so many requests may start, if every answer comes at once.

        It counts what is left of each window, requests in flight, learned limits, and a pause.
        """
        return self.forecast().seconds_until(requests)

    def wait_status(self) -> str:
        """Why the next request has to wait, and how long; "" if it need not.

        Such as `quota used up (9 of 9 in 60 s), next request in 51 s`.
        """
        return self.forecast().wait()

    @abc.abstractmethod
    async def acquire(self, max_pause: float = math.inf) -> Slot:
        """Wait, first come, first served, until one request may start.

        A caller that is cancelled costs nothing.

        Args:
            max_pause: the longest pause after a 429 that the caller accepts, in seconds. Waiting for a window or for
                a request in flight does not count.

        Raises:
            QuotaPausedError: a pause is longer than `max_pause`: now, or when it begins while the caller waits.
            QuotaUnavailableError: the file or server that keeps the quota was out of reach for too long.
        """

    async def on_open(self) -> None:  # noqa: B027
        """Called when the first `async with` block of an event loop begins."""

    async def on_close(self) -> None:  # noqa: B027
        """Called when the last `async with` block of an event loop ends."""

    async def __aenter__(self) -> Self:
        opening = self._opening()
        opening.users += 1
        try:
            async with opening.transition:
                if not opening.is_open:
                    await self.on_open()
                    opening.is_open = True
        except BaseException:
            opening.users -= 1
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        opening = self._opening()
        # Before the lock: where this is cancelled, the next block that ends closes the quota.
        opening.users -= 1
        async with opening.transition:
            if opening.is_open and not opening.users:
                opening.is_open = False
                await self.on_close()

    def _opening(self) -> _Opening:
        for loop in list(self._openings):
            if loop.is_closed():
                self._openings.pop(loop, None)
        return self._openings.setdefault(asyncio.get_running_loop(), _Opening())

    def _announce_limits(self, limits: tuple[tuple[int, float], ...]) -> None:
        """Log limits that were learned: each once."""
        for i, ((configured, _), (count, window)) in enumerate(zip(self.quota.limits, limits, strict=True)):
            if count < self._announced_limits[i]:
                self._announced_limits[i] = count
                logger.warning(
                    "the server allows %d requests in %g s, not %d: staying below; set quota=Quota((%d, %g)) to start "
                    "there",
                    *(count, window, configured, count, window),
                )

    def _live_state(self, in_flight: int, waiting: int) -> str:
        """The words in which every quota shows its state in its `repr`."""
        forecast = self.forecast()
        state = [f"{in_flight} of {self.quota.in_flight} in flight", *forecast.used(), f"{waiting} waiting"]
        for (configured, window), (count, _) in zip(self.quota.limits, forecast.limits, strict=False):
            if count < configured:
                state.append(f"learned: {count} in {window:g} s, not {configured}")
        if forecast.blocked_for > 0:
            state.append(f"paused for {forecast.blocked_for:.1f} s")
        elif wait := forecast.wait():
            state.append(wait)
        return ", ".join(state)


class Waiters:
    """Callers of one event loop that wait for a slot, first come, first served.

    Args:
        changed: called when a caller begins to wait, and when one was cancelled.
        kept: where a pause is kept, and how to end it.
    """

    def __init__(self, changed: Callable[[], None], kept: str) -> None:
        self._changed = changed
        self._kept = kept
        # When the pause ends; None once its end was logged.
        self._paused_until: float | None = None
        # For each caller: the longest pause that it accepts, and the moment of the loop's clock at which it came.
        self._waiting: OrderedDict[asyncio.Future[Slot], tuple[float, float]] = OrderedDict()
        # The caller whose wait was logged last.
        self._announced: asyncio.Future[Slot] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    async def wait(self, max_pause: float, now: float) -> Slot:
        """Wait for a slot. A caller that is cancelled in the moment of the grant gives it back."""
        if (seconds := self.pause_left(now)) > max(max_pause, 0.0):
            raise QuotaPausedError(seconds, self._kept)
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Slot] = loop.create_future()
        self._waiting[waiter] = max_pause, loop.time()
        self._changed()
        try:
            return await waiter
        except asyncio.CancelledError:
            if self._waiting.pop(waiter, None) is None and not waiter.cancelled() and waiter.exception() is None:
                waiter.result().refund()
            self._changed()
            raise

    def pop(self) -> asyncio.Future[Slot] | None:
        """Take out the first caller that was not cancelled; its slot is to be set as the result."""
        while self._waiting:
            waiter, _ = self._waiting.popitem(last=False)
            if not waiter.done():
                return waiter
        return None

    def refuse(self, error: Callable[[], Exception], *, came_until: float = math.inf, pause: float = 0.0) -> None:
        """Raise an error in the callers that came until then, and do not accept so long a pause."""
        for waiter, (max_pause, came) in list(self._waiting.items()):
            if came <= came_until and (not pause or max_pause < pause):
                del self._waiting[waiter]
                if not waiter.done():
                    waiter.set_exception(error())

    def pause(self, until: float, now: float) -> None:
        """Note until when there is a pause, or was one. One that begins is logged, and refuses callers.

        One that was ended by hand is over before its time.
        """
        before, left = self._paused_until, until - now
        if left <= 0:
            self._paused_until = None if before is None else min(before, now)
        if left <= 0 or (before is not None and until <= before):
            return
        # The end of a pause that is kept elsewhere is known to some milliseconds: those are not another pause.
        if before is None or (before <= now and until - before >= ANNOUNCED_WAIT):
            logger.info("429: all requests of this key pause for %.1f s; %s", left, self._kept)
        self._paused_until = until
        self.refuse(lambda: QuotaPausedError(left, self._kept), pause=left)

    def pause_left(self, now: float) -> float:
        """Seconds that are left of the pause, as far as it is known."""
        return 0.0 if self._paused_until is None else max(self._paused_until - now, 0.0)

    def granted(self, now: float) -> None:
        """Log the end of a pause, at the first request after it."""
        if self._paused_until is not None and self._paused_until <= now:
            self._paused_until = None
            logger.info("the pause is over")

    def announce_wait(self, forecast: Forecast) -> None:
        """Log a long wait of the first caller, once. A pause is logged when it begins."""
        first = next(iter(self._waiting), self._announced)
        if first is self._announced or forecast.blocked_for > 0 or forecast.seconds_until(1) <= ANNOUNCED_WAIT:
            return
        self._announced = first
        logger.info("%s", forecast.wait())
