"""The quota of one event loop: what a client keeps unless it is given a quota that reaches further."""

from __future__ import annotations

import asyncio
import logging
import math

from clicksgroup.errors import ConfigurationError
from clicksgroup.plans import Quota
from clicksgroup.quota.ledger import Ledger
from clicksgroup.quota.shared import ORPHAN_HOLD, EventKind, QuotaPausedError, SharedQuota, Slot, live_state
from clicksgroup.quota.waiters import Waiters

logger = logging.getLogger("clicksgroup")


class LocalQuota(SharedQuota):
    """Keeps a quota for everybody who shares this object in one event loop.

    Every change of state is synchronous and ends in `_dispatch`, which grants what may start now. One timer serves all
    callers that wait.
    """

    def __init__(self, quota: Quota, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(quota)
        self._loop = loop
        self._ledger = Ledger(quota)
        self._waiters = Waiters(self._dispatch)
        self._timer: asyncio.TimerHandle | None = None
        self._trial: Slot | None = None
        self._announced_pause = False

    def __repr__(self) -> str:
        now = self._loop.time()
        windows = [f"{used} of {count} in {window:g} s" for used, count, window in self._ledger.used(now)]
        pause_left = self._ledger.pause_left(now)
        return f"<LocalQuota {live_state(self.quota, self._ledger.in_flight, windows, len(self._waiters), pause_left)}>"

    async def acquire(self, max_pause: float = math.inf) -> Slot:
        pause = self._ledger.pause_left(self._loop.time())
        if pause > max_pause:
            raise QuotaPausedError(pause)
        return await self._waiters.wait(max_pause)

    def remembers(self) -> bool:
        """Whether anything that happened can still make a request wait."""
        return bool(self._waiters) or self._ledger.remembers(self._loop.time())

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
            if (waiter := self._waiters.pop()) is not None:
                waiter.set_result(self._grant())

    def _grant(self) -> Slot:
        if self._announced_pause:
            self._announced_pause = False
            logger.info("the pause is over: a single trial request starts")
        slot = Slot(self._report)
        if self._ledger.grant():
            self._trial = slot
        return slot

    def _report(self, slot: Slot, kind: EventKind, seconds: float) -> None:
        now = self._loop.time()
        if kind == "refunded":
            self._ledger.refunded()
        elif not slot.is_answered:
            # The server may count an abandoned request as late as its hold ends.
            self._ledger.answered(now + ORPHAN_HOLD if kind == "abandoned" else now)
        if kind == "released":
            self._ledger.released()
        elif kind == "abandoned":
            self._ledger.orphaned(now)
        if kind == "throttled":
            self._pause(now, seconds)
        elif slot is self._trial:
            self._trial = None
            self._ledger.trial_ended(passed=kind == "answered")
        self._dispatch()

    def _pause(self, now: float, seconds: float) -> None:
        self._ledger.pause(now, seconds)
        self._trial = None
        self._announced_pause = True
        logger.info("429: all requests of this key pause for %.1f s", seconds)
        self._waiters.refuse_pause(self._ledger.pause_left(now))


_Owner = tuple[str, str]
_quotas: dict[asyncio.AbstractEventLoop, dict[_Owner, LocalQuota]] = {}


def local_quota(quota: Quota, owner: _Owner) -> LocalQuota:
    """The one live quota of this event loop for `owner`: an origin and a digest of an API key.

    It outlives its users for as long as anything that happened can make a request wait.

    Raises:
        ConfigurationError: a different quota is in force for that owner.
    """
    loop = asyncio.get_running_loop()
    for other in list(_quotas):
        if other.is_closed():
            _quotas.pop(other, None)
    quotas = _quotas.setdefault(loop, {})
    for idle in [key for key, kept in quotas.items() if not kept.in_use and not kept.remembers()]:
        del quotas[idle]
    kept = quotas.setdefault(owner, LocalQuota(quota, loop))
    if kept.quota != quota:
        raise ConfigurationError(
            f"quota: {kept.quota!r} is already in force for this origin and API key in this event loop, so {quota!r} "
            "cannot be: the vendor counts both as one. Give all clients of a key the same plan or quota"
        )
    return kept
