"""The quota of one event loop: what a client keeps when it is given none that reaches further."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import OrderedDict

from clicksgroup.errors import ConfigurationError
from clicksgroup.plans import Quota
from clicksgroup.quota.ledger import Ledger
from clicksgroup.quota.shared import ORPHAN_HOLD, QuotaPausedError, SharedQuota, Slot

logger = logging.getLogger("clicksgroup")


class LocalQuota(SharedQuota):
    """Keeps a quota for all who share this object in one event loop.

    First come, first served; one timer; nobody polls. A waiter that is cancelled costs nothing.
    """

    def __init__(self, quota: Quota, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(quota)
        self._loop = loop
        self._ledger = Ledger(quota)
        self._waiters: OrderedDict[asyncio.Future[_LocalSlot], float] = OrderedDict()  # to their max_pause
        self._timer: asyncio.TimerHandle | None = None
        self._trial: _LocalSlot | None = None  # the request that shows whether a pause may end
        self._announced_pause = False

    async def acquire(self, max_pause: float = math.inf) -> Slot:
        pause = self._ledger.pause_left(self._loop.time())
        if pause > max_pause:
            raise QuotaPausedError(pause)
        if (slot := self.acquire_nowait()) is not None:
            return slot
        waiter: asyncio.Future[_LocalSlot] = self._loop.create_future()
        self._waiters[waiter] = max_pause
        if len(self._waiters) == 1:
            self._dispatch()
        try:
            return await waiter
        except asyncio.CancelledError:
            if self._waiters.pop(waiter, None) is None and not waiter.cancelled() and waiter.exception() is None:
                waiter.result().refund()
            self._dispatch()
            raise

    def acquire_nowait(self) -> Slot | None:
        if not self._waiters and self._ledger.delay(self._loop.time()) <= 0:
            return self._grant()
        return None

    def remembers(self) -> bool:
        """Whether anything that happened can still make a request wait."""
        return bool(self._waiters) or self._ledger.remembers(self._loop.time())

    def _grant(self) -> _LocalSlot:
        if self._announced_pause:
            self._announced_pause = False
            logger.info("the pause is over, a request goes first to see whether it passes")
        trials = self._ledger.grant()
        slot = _LocalSlot(self)
        if trials:
            self._trial = slot
        return slot

    def _dispatch(self) -> None:
        """Grant what may start now, and set the timer for what may start later."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiters:
            now = self._loop.time()
            delay = self._ledger.delay(now)
            if delay > 0:
                if delay < math.inf:
                    self._timer = self._loop.call_at(now + delay, self._dispatch)
                return
            waiter, _ = self._waiters.popitem(last=False)
            if not waiter.done():
                waiter.set_result(self._grant())

    def _pause(self, seconds: float) -> None:
        now = self._loop.time()
        self._ledger.pause(now, seconds)
        self._trial = None
        self._announced_pause = True
        logger.info("429: nobody who shares this quota sends a request for %.1f s", seconds)
        pause = self._ledger.pause_left(now)
        for waiter in [waiter for waiter, max_pause in self._waiters.items() if pause > max_pause]:
            del self._waiters[waiter]
            if not waiter.done():
                waiter.set_exception(QuotaPausedError(pause))
        self._dispatch()

    def _end_trial(self, slot: _LocalSlot, *, passed: bool = False) -> None:
        """Something became of a slot: see whether that ends the trial, and who may start now."""
        if slot is self._trial:
            self._trial = None
            self._ledger.trial_ended(passed)
        if self._waiters:
            self._dispatch()

    def __repr__(self) -> str:
        now = self._loop.time()
        windows = [f"{used} of {count} in {window:g} s" for used, count, window in self._ledger.used(now)]
        state = [f"{self._ledger.in_flight} of {self.quota.in_flight} in flight", *windows]
        state.append(f"{len(self._waiters)} waiting")
        if pause := self._ledger.pause_left(now):
            state.append(f"paused for {pause:.1f} s")
        return f"<LocalQuota {', '.join(state)}>"


class _LocalSlot(Slot):
    __slots__ = ("_answered", "_quota", "_released")

    def __init__(self, quota: LocalQuota) -> None:
        self._quota = quota
        self._answered = False
        self._released = False

    def answered(self) -> None:
        if not self._answered:
            self._count()
            self._quota._end_trial(self, passed=True)

    def throttled(self, seconds: float) -> None:
        if not self._answered:
            self._count()
        self._quota._pause(seconds)

    def release(self) -> None:
        if not self._released:
            self._released = True
            if not self._answered:
                self._count()
            self._quota._ledger.released()
            self._quota._end_trial(self)

    def refund(self) -> None:
        if not self._released and not self._answered:
            self._released = self._answered = True
            self._quota._ledger.refunded()
            self._quota._end_trial(self)

    def abandon(self) -> None:
        if not self._released:
            self._released = True
            if not self._answered:
                self._count(later=ORPHAN_HOLD)  # the server may count it as late as that
            self._quota._ledger.orphaned(self._quota._loop.time())
            self._quota._end_trial(self)

    def _count(self, later: float = 0.0) -> None:
        self._answered = True
        self._quota._ledger.answered(self._quota._loop.time() + later)


_Key = tuple[str, str]
_quotas: dict[asyncio.AbstractEventLoop, dict[_Key, LocalQuota]] = {}


def local_quota(quota: Quota, owner: _Key) -> LocalQuota:
    """The one live quota of this event loop for `owner`, an origin and a digest of a key.

    It outlives those who use it as long as it remembers anything.

    Raises:
        ConfigurationError: another quota is kept for that owner.
    """
    loop = asyncio.get_running_loop()
    for other in list(_quotas):
        if other.is_closed():
            _quotas.pop(other, None)
    quotas = _quotas.setdefault(loop, {})
    for idle in [key for key, kept in quotas.items() if not kept._users and not kept.remembers()]:
        del quotas[idle]
    kept = quotas.get(owner)
    if kept is None:
        kept = quotas[owner] = LocalQuota(quota, loop)
    elif kept.quota != quota:
        raise ConfigurationError(
            f"quota: {kept.quota!r} is kept for this origin and key in this event loop, so {quota!r} cannot be: "
            "the vendor counts them as one. Give all clients of a key the same plan or quota"
        )
    return kept
