"""The quota of one process: what a client keeps unless it is given a quota that reaches further."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import threading
import time

from clicksgroup.errors import ConfigurationError
from clicksgroup.plans import Quota
from clicksgroup.quota.learned_limits import limits_for
from clicksgroup.quota.ledger import Event, EventKind, Forecast, Ledger
from clicksgroup.quota.shared import SharedQuota, Slot, Waiters

RECHECK = 1.0
"""Seconds after which a loop looks again, while only the requests of another loop are in its way: that may end."""

OWN_CLOCK = 10.0
"""Seconds. A loop whose clock is further from the process's (the virtual time of a test) shares no memory."""

FORGET_AFTER = 1000
"""Answers in memory until those are dropped that no window counts any more."""

KEPT = "the pause is kept in this process only, and ends with it"


class _Memory:
    """What one process remembers of a quota. Its event loops change it under the lock, each from its own thread."""

    def __init__(self, quota: Quota) -> None:
        self.lock = threading.RLock()
        self.ledger = Ledger(quota)
        self.members: dict[asyncio.AbstractEventLoop, LocalQuota] = {}

    def remove_closed(self, now: float) -> None:
        """Abandon the requests of event loops that were closed."""
        for loop in [loop for loop in self.members if loop.is_closed()]:
            self.ledger.abandon_all(self.members.pop(loop).name, now)


class LocalQuota(SharedQuota):
    """Keeps a quota for everybody who shares this object in one event loop.

    Callers of one event loop are served first come, first served; those of other event loops of the process have no
    turn among them. Every change of state is synchronous and ends in `dispatch`, which grants what may start now. One
    timer serves all callers that wait.

    The slots have no lease. A process that stands still between a grant and the sending holds its slot all the while,
    and the loop's clock lets no window pass that the server did not see pass.
    """

    def __init__(self, quota: Quota, loop: asyncio.AbstractEventLoop, memory: _Memory | None = None) -> None:
        super().__init__(quota)
        self.loop = loop
        self.name = f"loop {next(_numbers)}"
        self._memory = memory or _Memory(quota)
        self._memory.members[loop] = self
        self._waiters = Waiters(self.dispatch, KEPT)
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_busy(self) -> bool:
        """Whether anybody uses it, or waits."""
        return self.in_use or bool(self._waiters)

    def forecast(self) -> Forecast:
        with self._memory.lock:
            return self._memory.ledger.forecast(self.loop.time())

    def __repr__(self) -> str:
        with self._memory.lock:
            in_flight = len(self._memory.ledger.in_flight(self.loop.time()))
            return f"<LocalQuota {self._live_state(in_flight, len(self._waiters))}>"

    async def acquire(self, max_pause: float = math.inf) -> Slot:
        with self._memory.lock:
            now = self.loop.time()
            if not self._waiters and self._memory.ledger.delay(now) == 0:
                return self._grant(now)
        return await self._waiters.wait(max_pause, now)

    def dispatch(self) -> None:
        """Grant what may start now, and set the timer for what may start later."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self.loop.time()
        with self._memory.lock:
            ledger = self._memory.ledger
            # It may have begun in another event loop.
            self._waiters.pause(ledger.paused_until, now)
            while self._waiters and (delay := ledger.delay(now)) == 0:
                if (waiter := self._waiters.pop()) is not None:
                    waiter.set_result(self._grant(now))
            if not self._waiters:
                return
            self._waiters.announce_wait(ledger.forecast(now))
            if delay == math.inf and len(self._memory.members) > 1:
                self._memory.remove_closed(now)
                delay = RECHECK
            if delay < math.inf:
                self._timer = self.loop.call_at(now + delay, self.dispatch)

    def _grant(self, now: float) -> Slot:
        ledger = self._memory.ledger
        self._waiters.granted(now)
        if ledger.half_open:
            # A 429 came before, which may have lowered a limit.
            self._announce_limits(ledger.limits_in_force)
        if len(ledger.answered) > FORGET_AFTER:
            ledger.forget(now)
        slot = Slot(self._report, f"{next(_numbers)}")
        ledger.grant(slot.id, self.name)
        return slot

    def _report(self, slot: Slot, kind: EventKind, seconds: float) -> None:
        if self.loop.is_closed():
            # Its requests are abandoned: see `remove_closed`.
            return
        now = self.loop.time()
        with self._memory.lock:
            self._memory.ledger.apply(Event(kind, slot.id, now, seconds))
            for loop, member in self._memory.members.items():
                if member is not self:
                    # A loop may be closed: the next look removes it.
                    with contextlib.suppress(RuntimeError):
                        loop.call_soon_threadsafe(member.dispatch)
            if kind == "throttled" or self._waiters:
                self.dispatch()


# For the names of members and of slots.
_numbers = itertools.count()
_Owner = tuple[str, str]
# None stands for the clock of the process; a loop with a clock of its own has a memory of its own.
_memories: dict[tuple[_Owner, asyncio.AbstractEventLoop | None], _Memory] = {}
_memories_lock = threading.Lock()


def local_quota(quota: Quota, owner: _Owner) -> LocalQuota:
    """The live quota of this event loop for `owner`: an origin and a digest of an API key.

    All event loops of the process share what is remembered, also one after another. It outlives its users for as long
    as anything that happened can make a request wait.

    Raises:
        ConfigurationError: a different quota is in force for that owner.
    """
    loop = asyncio.get_running_loop()
    now = loop.time()
    clock = None if abs(now - time.monotonic()) < OWN_CLOCK else loop
    with _memories_lock:
        _forget_idle(clock, now)
        memory = _memories.setdefault((owner, clock), _Memory(quota))
        with memory.lock:
            if memory.ledger.quota != quota:
                if memory.members:
                    raise ConfigurationError(
                        f"quota: {memory.ledger.quota!r} is already in force for this origin and API key in this "
                        f"process, so {quota!r} cannot be: the vendor counts both as one. Give all clients of a key "
                        "the same plan or quota"
                    )
                memory.ledger.limits = limits_for(quota, memory.ledger.limits)
                memory.ledger.quota = quota
            return memory.members.get(loop) or LocalQuota(quota, loop, memory)


def _forget_idle(clock: asyncio.AbstractEventLoop | None, now: float) -> None:
    """Forget quotas that nobody needs any more, but for what was learned about their limits."""
    for (owner, kept_by), memory in list(_memories.items()):
        if kept_by is not None and kept_by.is_closed():
            del _memories[owner, kept_by]
        elif kept_by is clock:
            with memory.lock:
                memory.remove_closed(now)
                if memory.ledger.remembers(now) or any(member.is_busy for member in memory.members.values()):
                    continue
                memory.members.clear()
                if memory.ledger.limits_in_force == memory.ledger.quota.limits:
                    del _memories[owner, kept_by]
