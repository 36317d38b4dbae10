"""The rule that says when a request may start: no clock, no I/O, no asyncio. Time is an argument."""

from __future__ import annotations

import bisect
import math
from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple, TypeAlias

import attrs

from clicksgroup.plans import Quota
from clicksgroup.quota.learned_limits import Limit, limits_for

CLOCK_DRIFT = 1.0005
"""Each window is counted longer by this factor, since the server's clock may run a little slower than ours."""

ORPHAN_HOLD = 5.0
"""Seconds for which an abandoned request still counts as in flight, since the server may still be working on it."""

LONGEST_PAUSE = 3600.0
"""Seconds. A server that asks for a longer pause is sent one trial request after each hour, so that an absurd
`Retry-After` does not lock a key for years."""

EventKind: TypeAlias = Literal["answered", "throttled", "released", "refunded", "abandoned"]
"""What a caller reports about its slot."""


class Event(NamedTuple):
    """A report about a slot: when it was made, and how long a pause is. The same event twice changes nothing more."""

    kind: EventKind
    id: str
    at: float
    seconds: float = 0.0


@attrs.define
class HeldSlot:
    """A slot that counts as in flight: if it was abandoned, until `back_at`."""

    holder: str
    answered: bool = False
    back_at: float | None = None


@attrs.frozen
class Forecast:
    """A snapshot of a quota. Times are seconds from the moment at which it was taken; what is past is negative.

    Args:
        limits: the requests and the seconds of each window in force.
        answered: when the requests that still count were answered, in ascending order.
        unanswered: requests that have not been answered yet.
        blocked_for: until nothing blocks all requests any more, such as a pause after a 429.
    """

    limits: tuple[tuple[int, float], ...] = ()
    answered: tuple[float, ...] = ()
    unanswered: int = 0
    blocked_for: float = -math.inf

    def later(self, seconds: float) -> Forecast:
        """The same snapshot, seen so many seconds later."""
        answered = tuple(at - seconds for at in self.answered)
        return attrs.evolve(self, answered=answered, blocked_for=self.blocked_for - seconds)

    def seconds_until(self, requests: int) -> float:
        """Seconds until the last of so many requests may start, if every answer comes at once."""
        times = sorted([*self.answered, *[0.0] * self.unanswered])
        start = max(0.0, self.blocked_for)
        for _ in range(requests):
            for count, window in self.limits:
                if len(times) >= count:
                    start = max(start, times[-count] + window * CLOCK_DRIFT)
            bisect.insort(times, start)
        return start if requests else 0.0

    def wait(self) -> str:
        """Why the next request has to wait, and how long; "" if it need not.

        Such as `quota used up (9 of 9 in 60 s), next request in 51 s`.
        """
        seconds = self.seconds_until(1)
        if seconds <= 0:
            return ""
        used_up = ", ".join(self.used(only_full=True))
        reason = f"quota used up ({used_up})" if used_up else "quota paused"
        return f"{reason}, next request in {max(math.ceil(seconds), 1)} s"

    def used(self, *, only_full: bool = False) -> list[str]:
        """What is used of each window, or of those that are used up, such as `9 of 9 in 60 s`."""
        words = []
        for count, window in self.limits:
            used = _count(self.answered, window, 0.0) + self.unanswered
            if used >= count or not only_full:
                words.append(f"{used} of {count} in {window:g} s")
        return words


@attrs.define
class Ledger:
    """A sliding-window log of one quota, which keeps the moment of each answer.

    A request may start iff there is no pause, fewer than C are in flight, and, for every window, *those not answered
    yet + those answered less than a window ago* are fewer than N.

    Proof that no sliding window at the server ever holds more than N. Take any window of length W there and, of the
    requests that arrived in it, the one granted last, j. Every other one, i, was granted before j. It was answered no
    earlier than it arrived, which is later than j's arrival - W, hence later than j's grant - W. So when j was
    granted, i was either unanswered or answered less than W ago: it was counted. Hence at most N, whatever the
    network's delays, and wherever between sending and answering the server counts. Fixed windows of any phase are
    sliding windows too. The proof says nothing of the time between a grant and the sending: a process that stands
    still there breaks nothing, as long as nobody takes its slot away.

    After a pause the ledger is half open, as a circuit breaker is: one trial request starts alone, and the others
    follow when it is answered without another 429. N may be lower than what is configured: see `Limit`.

    Args:
        quota: what is configured.
        limits: the windows, and what was learned about them.
        paused_until: when the pause after a 429 ends.
        half_open: whether the next request is a trial; `trial` is the one that is in flight.
        places: the slots that count as in flight, by id.
        answered: when requests were answered, ascending; the last entries may lie ahead.
        rejected: those of them that were answered with a 429.
    """

    quota: Quota
    limits: list[Limit] = attrs.field(default=attrs.Factory(lambda self: limits_for(self.quota), takes_self=True))
    paused_until: float = 0.0
    half_open: bool = False
    trial: str | None = None
    places: dict[str, HeldSlot] = attrs.field(factory=dict)
    answered: list[float] = attrs.field(factory=list)
    rejected: list[float] = attrs.field(factory=list)

    @property
    def memory(self) -> float:
        """The longest window in seconds: what happened before it cannot make a request wait."""
        return max((window for _, window in self.quota.limits), default=0.0) * CLOCK_DRIFT

    @property
    def limits_in_force(self) -> tuple[tuple[int, float], ...]:
        """The requests and the seconds of each window, as configured or as learned."""
        return tuple((limit.in_force, limit.window) for limit in self.limits)

    @property
    def blocked_until(self) -> float:
        """Until when no request starts, whatever the windows allow."""
        return self.paused_until

    @property
    def unanswered(self) -> int:
        """The requests that have not been answered yet."""
        return [slot.answered for slot in self.places.values()].count(False)

    def in_flight(self, now: float) -> list[float]:
        """When the requests in flight will have ended, ascending: infinity for those that were not abandoned."""
        ends = sorted(math.inf if slot.back_at is None else slot.back_at for slot in self.places.values())
        return ends[bisect.bisect_right(ends, now) :]

    def delay(self, now: float, ahead: int = 0) -> float:
        """The seconds until time lets a request start: 0 if it may start now, infinity if another must end first.

        A learned limit that is used up is raised if it is due.

        Args:
            now: the time.
            ahead: the requests that start before it. They are taken to end at once, but not to be answered.
        """
        if self.half_open and (self.trial is not None or ahead):
            return math.inf
        wait = self.blocked_until - now
        if len(self.places) >= self.quota.in_flight:
            ends = self.in_flight(now)
            if len(ends) >= self.quota.in_flight:
                wait = max(wait, ends[-self.quota.in_flight] - now)
        unanswered = self.unanswered
        for limit in self.limits:
            counted = _count(self.answered, limit.window, now)
            if limit.in_force < limit.configured:
                limit.raise_if_due(unanswered + counted, now)
            used = unanswered + ahead + counted
            if used > counted and limit.is_probing(used):
                return math.inf
            excess = used - limit.in_force
            if excess >= 0:
                if excess >= counted:
                    return math.inf
                wait = max(wait, self.answered[excess - counted] + limit.window * CLOCK_DRIFT - now)
        return max(wait, 0.0)

    def grant(self, slot_id: str, holder: str = "") -> None:
        """Count a request that is about to start, when `delay` is 0."""
        self.places[slot_id] = HeldSlot(holder)
        if self.half_open:
            self.trial = slot_id

    def apply(self, event: Event) -> None:
        """Note what was reported about a slot."""
        if event.kind == "throttled":
            # Also of a slot that is not known: it may have been taken away, or forgotten.
            self.paused_until = max(self.paused_until, event.at + event.seconds)
        slot = self.places.get(event.id)
        if slot is None:
            return
        match event.kind:
            case "refunded":
                del self.places[event.id]
                self._end_trial(event.id)
            case "abandoned":
                self._abandon(event.id, slot, event.at)
            case "released":
                self._end(slot, event.at)
                self._end_trial(event.id)
                del self.places[event.id]
            case "answered" if not slot.answered:
                self._end(slot, event.at)
                self._end_trial(event.id, passed=True)
                for limit in self.limits:
                    limit.succeeded(self._accepted(limit.window, event.at), event.at)
            case "throttled" if not slot.answered:
                self._end(slot, event.at)
                self._throttled(event)

    def abandon_all(self, holder: str, at: float, *, known: Collection[str] = ()) -> None:
        """Abandon the requests of a holder, except those in `known`."""
        for slot_id, slot in self.places.items():
            if slot.holder == holder and slot_id not in known and slot.back_at is None:
                self._abandon(slot_id, slot, at)

    def forget(self, now: float, memory: float = 0.0) -> None:
        """Drop what no window counts any more, but keep what is younger than `memory` seconds."""
        oldest = now - max(memory, self.memory)
        for times in (self.answered, self.rejected):
            del times[: bisect.bisect_right(times, oldest)]
        for slot_id in [id_ for id_, slot in self.places.items() if slot.back_at is not None and slot.back_at <= now]:
            del self.places[slot_id]

    def remembers(self, now: float) -> bool:
        """Forget what is old. Whether anything that is left can make a request wait."""
        self.forget(now)
        return bool(self.answered or self.places) or self.blocked_until > now

    def forecast(self, now: float) -> Forecast:
        """What this state allows from now on."""
        counted = self.answered[bisect.bisect_right(self.answered, now - self.memory) :]
        return Forecast(
            self.limits_in_force,
            tuple(at - now for at in counted),
            self.unanswered,
            self.blocked_until - now,
        )

    def _end(self, slot: HeldSlot, at: float) -> None:
        if not slot.answered:
            slot.answered = True
            # Whole milliseconds keep a stored state small; rounded up, they keep the proof.
            bisect.insort(self.answered, math.ceil(at * 1000) / 1000)

    def _abandon(self, slot_id: str, slot: HeldSlot, at: float) -> None:
        slot.back_at = at + ORPHAN_HOLD
        # The server may count the request as late as its hold ends.
        self._end(slot, slot.back_at)
        self._end_trial(slot_id)

    def _throttled(self, event: Event) -> None:
        """Lower the limit of the window that was fullest, and require a trial request after the pause."""
        bisect.insort(self.rejected, event.at)
        accepted = [self.unanswered + self._accepted(limit.window, event.at) for limit in self.limits]
        fullest = max(
            zip(accepted, self.limits, strict=True), key=lambda pair: pair[0] / pair[1].in_force, default=None
        )
        if fullest is not None:
            same_burst = self.half_open and self.trial != event.id
            fullest[1].throttled(fullest[0], event.at, same_burst=same_burst)
        self.half_open, self.trial = True, None

    def _end_trial(self, slot_id: str, *, passed: bool = False) -> None:
        if self.trial == slot_id:
            self.trial = None
            self.half_open = not passed

    def _accepted(self, window: float, now: float) -> int:
        return _count(self.answered, window, now) - _count(self.rejected, window, now)


def _count(times: Sequence[float], window: float, now: float) -> int:
    """How many of the times are less than a window ago."""
    return len(times) - bisect.bisect_right(times, now - window * CLOCK_DRIFT)
