"""The callers that wait for a slot in one event loop."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import OrderedDict
from collections.abc import Callable

from clicksgroup.quota.ledger import Forecast
from clicksgroup.quota.shared import QuotaPausedError, Slot

logger = logging.getLogger("clicksgroup")

ANNOUNCED_WAIT = 1.0
"""Seconds. A wait for the quota that is longer is logged."""


class Waiters:
    """Callers that wait for a slot, first come, first served.

    Args:
        changed: called when a caller begins to wait, and when one was cancelled.
        kept: where a pause is kept, and how to end it.
    """

    def __init__(self, changed: Callable[[], None], kept: str) -> None:
        self._changed = changed
        self._kept = kept
        # When the pause ends that was logged last; None once its end was logged.
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

    def refuse(self, error: Callable[[], Exception], *, came_until: float = math.inf) -> None:
        """Raise an error in the callers that came until then."""
        self._refuse([waiter for waiter, (_, came) in self._waiting.items() if came <= came_until], error)

    def pause(self, until: float, now: float) -> None:
        """Log a pause that begins, and raise `QuotaPausedError` in the callers that do not accept so long a one."""
        before = now if self._paused_until is None else self._paused_until
        if until <= max(before, now):
            return
        # The end of a pause that is kept elsewhere is known to some milliseconds: those are not another pause.
        if self._paused_until is None or (before <= now and until - before >= ANNOUNCED_WAIT):
            logger.info("429: all requests of this key pause for %.1f s; %s", until - now, self._kept)
        self._paused_until = until
        refused = [waiter for waiter, (max_pause, _) in self._waiting.items() if max_pause < until - now]
        self._refuse(refused, lambda: QuotaPausedError(until - now, self._kept))

    def pause_left(self, now: float) -> float:
        """Seconds that are left of the pause, as far as it is known."""
        return 0.0 if self._paused_until is None else max(self._paused_until - now, 0.0)

    def end_pause(self, now: float) -> None:
        """Note that a pause is over, also one that was ended by hand before its time."""
        if self._paused_until is not None:
            self._paused_until = min(self._paused_until, now)

    def granted(self, now: float) -> None:
        """Log the end of a pause, at the first request after it."""
        if self._paused_until is not None and self._paused_until <= now:
            self._paused_until = None
            logger.info("the pause is over")

    def announce_wait(self, forecast: Forecast) -> None:
        """Log a long wait of the first caller, once. A pause is logged when it begins."""
        first = next(iter(self._waiting), None)
        if first is self._announced or forecast.blocked_for > 0 or forecast.seconds_until(1) <= ANNOUNCED_WAIT:
            return
        self._announced = first
        logger.info("%s", forecast.wait())

    def _refuse(self, waiters: list[asyncio.Future[Slot]], error: Callable[[], Exception]) -> None:
        for waiter in waiters:
            del self._waiting[waiter]
            if not waiter.done():
                waiter.set_exception(error())
