"""A quota that several processes share, as data, and what one exchange with a process does to it. No clock, no I/O.

`Ledger` decides whether a request may start. This module adds which processes share it and whose turn it is, so that
requests start first come, first served across processes, and the slots of a dead process come back.
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import attrs
from cattrs.preconf import orjson

from clicksgroup.plans import Quota
from clicksgroup.quota.learned_limits import limits_for
from clicksgroup.quota.ledger import ORPHAN_HOLD, Event, Forecast, HeldSlot, Ledger

MIN_MEMORY = 3600.0
"""Seconds for which answers are kept at least, since the next process may be given a longer window."""

LEASE = 30.0
"""Seconds after its last exchange until a process counts as dead: as long as one request may take by default. A process
renews its lease three times as often."""

TURN_TIMEOUT = 0.25
"""Seconds for which a free slot waits for the process whose turn it is: a process that is stopped must not block
the others."""


class Report(NamedTuple):
    """What a process reports in one exchange.

    Args:
        events: what happened to its slots. Where a result was lost, the same events come again.
        request_ids: all its requests that wait, in their order. Those that are missing leave the queue.
        held: all slots that it holds, and whether each was answered: for a memory that does not know them.
        leaving: whether it closes the quota.
    """

    events: Sequence[Event] = ()
    request_ids: Sequence[str] = ()
    held: Mapping[str, bool] = {}
    leaving: bool = False


class ExchangeResult(NamedTuple):
    """What one exchange gives to the process. All times are seconds from now.

    Args:
        granted: ids of requests that may start: they are slots now.
        retry_in: until time alone lets the next one start; infinity where another process must act first.
        pause_left: what is left of a pause.
        lease_left: until the lease of the process expires.
        others: the other processes that hold a place in flight.
        forecast: what the quota allows from now on.
    """

    granted: Sequence[str]
    retry_in: float
    pause_left: float
    lease_left: float
    others: Sequence[str]
    forecast: Forecast


@attrs.define
class SharedState(Ledger):
    """All that is remembered of one quota. Its times are those of a clock of its own.

    Args:
        format: says what the bytes are, and in which format.
        clock: when it was last changed.
        origin: when that clock was 0, by the clock that all can read: the machine's, or that of a server.
        boot: id of the boot of the machine, since its clock begins anew with each.
        epoch: id of this memory. A process that knows another one knows more than this memory does.
        changes: how often this memory was changed. A process that has seen more of them knows more, too.
        lost_epoch: the memory before this one, for whose loss one window was blocked.
        closed_until: when that window ends.
        offered: the request of another process whose turn it is, and since when it could start.
        holders: the processes that have the quota open, and when their leases expire.
        queue: the requests that wait, each with its process; the first is next.
    """

    format: Literal["clicksgroup quota 3"] = "clicksgroup quota 3"
    clock: float = 0.0
    origin: float = 0.0
    boot: str = ""
    epoch: str = attrs.field(factory=lambda: uuid.uuid4().hex)
    changes: int = 0
    lost_epoch: str | None = None
    closed_until: float = 0.0
    offered: tuple[str, float] | None = None
    holders: dict[str, float] = attrs.field(factory=dict)
    queue: list[tuple[str, str]] = attrs.field(factory=list)

    @property
    def blocked_until(self) -> float:
        return max(self.paused_until, self.closed_until)

    def block_one_window(self, now: float) -> None:
        """The history is unknown, so nothing is granted for one full window."""
        self.closed_until = max(self.closed_until, now + self.memory)

    def compare(self, epoch: str, changes: int, now: float) -> bool:
        """Block one window if a process has seen a state that knows more than this one. Whether it does."""
        if epoch == self.epoch and changes > self.changes:
            self.epoch, self.changes = uuid.uuid4().hex, changes
        elif epoch in (self.epoch, self.lost_epoch):
            return False
        self.lost_epoch = epoch
        self.block_one_window(now)
        return True

    def join(self, holder: str, quota: Quota, now: float) -> bool:
        """Renew the lease of a process, and remove the processes whose leases have expired.

        Returns:
            False if others keep a different quota.
        """
        for other, lease in tuple(self.holders.items()):
            if lease <= now and other != holder:
                # Its requests ended when the lease did, at the latest.
                self.remove(other, lease - ORPHAN_HOLD)
        if self.quota != quota:
            if self.holders.keys() - {holder}:
                return False
            self.quota, self.limits = quota, limits_for(quota, self.limits)
        if self.holders.get(holder, 0.0) < now + LEASE * 2 / 3:
            self.holders[holder] = now + LEASE
        return True

    def remove(self, holder: str, now: float) -> None:
        """Remove a process that is dead or leaves. The server may be working on its requests: they are abandoned."""
        self.holders.pop(holder, None)
        self.queue = [entry for entry in self.queue if entry[1] != holder]
        self.abandon_all(holder, now)

    def exchange(self, holder: str, report: Report, now: float) -> ExchangeResult:
        """Apply what a process reports, and grant what may start of its requests."""
        events, request_ids, held, leaving = report
        # A memory that was lost, or that took the process for dead, does not know its slots.
        reported = {event.id for event in events}
        for slot_id, answered in held.items():
            self.places.setdefault(slot_id, HeldSlot(holder, answered and slot_id not in reported))
        for event in events:
            self.apply(event)
        # An older memory takes requests for open that ended long ago.
        self.abandon_all(holder, now, known={*held, *request_ids})
        self.forget(now, MIN_MEMORY)
        self._enqueue(holder, request_ids)
        if leaving:
            self.remove(holder, now)
        # What is held already was granted by an exchange whose result was lost.
        granted = [request_id for request_id in request_ids if request_id in self.places]
        granted += self._grant(holder, now)
        return ExchangeResult(
            granted,
            self._retry_in(holder, now),
            max(self.paused_until - now, 0.0),
            self.holders.get(holder, math.inf) - now,
            sorted({slot.holder for slot in self.places.values() if slot.holder != holder and slot.back_at is None}),
            self.forecast(now),
        )

    def _enqueue(self, holder: str, request_ids: Sequence[str]) -> None:
        self.queue = [entry for entry in self.queue if entry[1] != holder or entry[0] in request_ids]
        known = {request_id for request_id, _ in self.queue} | self.places.keys()
        self.queue += [(request_id, holder) for request_id in request_ids if request_id not in known]

    def _grant(self, holder: str, now: float) -> list[str]:
        granted = []
        while self.queue and self.delay(now) <= 0:
            request_id, owner = self.queue[0]
            if owner == holder:
                self.grant(request_id, holder)
                granted.append(request_id)
            else:
                if self.offered is None or self.offered[0] != request_id:
                    self.offered = (request_id, now)
                if now - self.offered[1] < TURN_TIMEOUT:
                    return granted
            self.offered = None
            del self.queue[0]
        self.offered = None
        return granted

    def _retry_in(self, holder: str, now: float) -> float:
        ahead = next((i for i, (_, owner) in enumerate(self.queue) if owner == holder), None)
        if ahead is None:
            return math.inf
        delay = self.delay(now, ahead)
        if delay == math.inf and self.blocked_until > now:
            return self.blocked_until - now
        return delay or math.inf


def dump(state: SharedState) -> bytes:
    """The state as bytes."""
    return _converter.dumps(state)


def load(raw: bytes) -> SharedState:
    """The state that was dumped.

    Raises:
        Exception: it is not one. A foreign value can make the parser raise anything.
    """
    state = _converter.loads(raw, SharedState)
    # The names of holders become paths.
    if not all(re.fullmatch(r"holder-\d+-[0-9a-f]{12}", holder, re.ASCII) for holder in state.holders):
        raise ValueError("not the name of a holder")
    return state


_converter = orjson.make_converter(forbid_extra_keys=True)
