"""A quota that several processes share, as data, and what one exchange with one of them does to it. No clock, no I/O.

The decision is the ledger's. What comes on top: who holds which slot and who waits, so that the first to come in any
process is the first to go, and that what a dead process held comes back.
"""

from __future__ import annotations

import bisect
import uuid
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import attrs

from clicksgroup.plans import Quota
from clicksgroup.quota.ledger import Ledger
from clicksgroup.quota.shared import CLOCK_DRIFT, ORPHAN_HOLD

KEPT = 3600.0
"""Seconds for which answers are remembered at the least: whoever comes next may be given a longer window."""

TURN = 0.25
"""Seconds for which a free slot is kept for the process whose turn it is: one that is stopped must not stop all."""


EventKind: TypeAlias = Literal["answered", "throttled", "released", "refunded", "abandoned"]


class Event(NamedTuple):
    """What became of a slot, and when. Told twice, it changes nothing the second time."""

    kind: EventKind
    id: str
    at: float
    seconds: float = 0.0  # throttled: for how long nobody may start


class ExchangeResult(NamedTuple):
    """What an exchange brought."""

    granted: Sequence[str]  # tickets that are slots now
    again: float  # seconds until time may let the next one start; infinite where only another process can
    paused: float  # seconds that remain of a pause


@attrs.define
class HeldSlot:
    """A slot that is held: by whom, whether the answer is known, and when its place in flight comes back by itself."""

    holder: str
    answered: bool = False
    back_at: float | None = None


@attrs.define
class SharedState:
    """All that is remembered of one quota. Times are seconds of one clock that all who share it can read."""

    quota: Quota
    clock: float  # when it was last changed
    boot: str  # of the machine, as far as it tells: its clock begins anew with each
    epoch: str = attrs.field(factory=lambda: uuid.uuid4().hex)
    lost_epoch: str | None = None  # what was kept before, and got lost
    closed_until: float = 0.0  # something was lost: nobody starts until a window has passed
    paused_until: float = 0.0
    half_open: bool = False
    trial: str | None = None
    offered: tuple[str, float] | None = None  # the ticket whose turn it is, and since when it could go
    holders: list[str] = attrs.field(factory=list)
    places: dict[str, HeldSlot] = attrs.field(factory=dict)
    answered: list[float] = attrs.field(factory=list)  # ascending; the last entries may lie ahead
    queue: list[tuple[str, str]] = attrs.field(factory=list)  # ticket, holder; the first is the next to go

    @property
    def memory(self) -> float:
        """Seconds after which everything is forgotten."""
        return max((window for _, window in self.quota.limits), default=0.0) * CLOCK_DRIFT

    def shift(self, seconds: float) -> None:
        """The clock was set anew: everything keeps the age it had when it was last seen."""
        self.clock += seconds
        self.closed_until += seconds
        self.paused_until += seconds
        self.answered = [at + seconds for at in self.answered]
        self.offered = None
        for place in self.places.values():
            if place.back_at is not None:
                place.back_at += seconds

    def close(self, now: float) -> None:
        """It is not known what happened: a window of silence is longer than anything it could have been."""
        self.closed_until = max(self.closed_until, now + self.memory)

    def remove_dead(self, holder: str, now: float) -> None:
        """A process is gone. What it sent may still be on its way, or in work."""
        self.holders.remove(holder)
        self.queue = [entry for entry in self.queue if entry[1] != holder]
        for ticket, place in self.places.items():
            if place.holder == holder and place.back_at is None:
                self._orphan(ticket, place, now)

    def exchange(self, holder: str, events: Sequence[Event], tickets: Sequence[str], now: float) -> ExchangeResult:
        """Take in what happened to one process, and grant what it may have of the tickets it asks for."""
        for event in events:
            self._take_in(event, now)
        self._pass_time(now)
        self._line_up(holder, tickets)
        ledger = self._ledger()
        granted = [ticket for ticket in tickets if ticket in self.places]  # the last result was lost
        granted += self._grant(ledger, holder, now)
        return ExchangeResult(granted, self._again(ledger, holder, now), max(self.paused_until - now, 0.0))

    def _take_in(self, event: Event, now: float) -> None:
        at = min(event.at, now)
        if event.kind == "refunded":
            self.queue = [entry for entry in self.queue if entry[0] != event.id]
            self.places.pop(event.id, None)
            self._end_trial(event.id)
            return
        place = self.places.get(event.id)
        if place is None:
            return
        if event.kind == "abandoned":
            self._orphan(event.id, place, at)
            return
        if not place.answered:
            place.answered = True
            bisect.insort(self.answered, at)
        if event.kind == "answered":
            self._end_trial(event.id, passed=True)
        elif event.kind == "throttled":
            self.paused_until = max(self.paused_until, at + event.seconds)
            self.half_open, self.trial = True, None
        else:
            self._end_trial(event.id)
            del self.places[event.id]

    def _orphan(self, ticket: str, place: HeldSlot, at: float) -> None:
        place.back_at = at + ORPHAN_HOLD
        if not place.answered:  # the server may count it as late as that
            place.answered = True
            bisect.insort(self.answered, place.back_at)
        self._end_trial(ticket)

    def _end_trial(self, ticket: str, *, passed: bool = False) -> None:
        if self.trial == ticket:
            self.trial = None
            self.half_open = not passed

    def _pass_time(self, now: float) -> None:
        kept = max(self.memory, KEPT)
        del self.answered[: bisect.bisect_right(self.answered, now - kept)]
        back = [ticket for ticket, place in self.places.items() if place.back_at is not None and place.back_at <= now]
        for ticket in back:
            del self.places[ticket]

    def _line_up(self, holder: str, tickets: Sequence[str]) -> None:
        self.queue = [entry for entry in self.queue if entry[1] != holder or entry[0] in tickets]
        known = {ticket for ticket, _ in self.queue} | self.places.keys()
        self.queue += [(ticket, holder) for ticket in tickets if ticket not in known]

    def _ledger(self) -> Ledger:
        ledger = Ledger(self.quota)
        ledger.recall(self.answered)
        for place in self.places.values():
            if place.answered:
                ledger.in_flight += 1
            else:
                ledger.grant()
        for back_at in sorted(place.back_at for place in self.places.values() if place.back_at is not None):
            ledger.orphaned(back_at - ORPHAN_HOLD)
        ledger.paused_until = max(self.paused_until, self.closed_until)
        ledger.half_open, ledger.trial_out = self.half_open, self.trial is not None
        return ledger

    def _grant(self, ledger: Ledger, holder: str, now: float) -> list[str]:
        granted = []
        while self.queue and ledger.delay(now) <= 0:
            ticket, whose = self.queue[0]
            if whose == holder:
                self.places[ticket] = HeldSlot(holder)
                if ledger.grant():
                    self.trial = ticket
                granted.append(ticket)
            else:
                if self.offered is None or self.offered[0] != ticket:
                    self.offered = (ticket, now)
                if now - self.offered[1] < TURN:
                    return granted
            self.offered = None
            del self.queue[0]
        self.offered = None
        return granted

    def _again(self, ledger: Ledger, holder: str, now: float) -> float:
        """When time alone lets the holder's first ticket start; infinity where somebody else must act before."""
        ahead = next((i for i, (_, whose) in enumerate(self.queue) if whose == holder), None)
        if ahead is None:
            return float("inf")
        for _ in range(ahead):  # as though all who are before it had gone
            ledger.grant()
            ledger.released()
        wait = ledger.delay(now)
        nobody_before = ledger.paused_until - now
        if wait == float("inf") and nobody_before > 0:
            return nobody_before
        return wait or float("inf")
