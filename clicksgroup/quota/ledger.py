"""The rule that says when a request may start: no clock, no I/O, no asyncio. Time is an argument."""

from __future__ import annotations

import bisect
import math
from collections import deque

from clicksgroup.plans import Quota
from clicksgroup.quota.forecast import CLOCK_DRIFT, Forecast
from clicksgroup.quota.limits import Limit
from clicksgroup.quota.shared import ORPHAN_HOLD


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
        answered: when requests were answered, ascending; the last entries may lie ahead.
        rejected: those of them that were answered with a 429.
    """

    __slots__ = (
        "_orphans", "answered", "half_open", "in_flight", "limits", "paused_until", "quota", "rejected",
        "trial_in_flight", "unanswered",
    )  # fmt: skip

    def __init__(
        self,
        quota: Quota,
        limits: list[Limit] | None = None,
        answered: list[float] | None = None,
        rejected: list[float] | None = None,
    ) -> None:
        self.quota = quota
        self.limits = Limit.of(quota) if limits is None else limits
        self.answered = [] if answered is None else answered
        self.rejected = [] if rejected is None else rejected
        self.in_flight = 0
        self.unanswered = 0
        self.paused_until = -math.inf
        self.half_open = False
        self.trial_in_flight = False
        # When abandoned requests are no longer in flight (ascending).
        self._orphans: deque[float] = deque()

    def delay(self, now: float) -> float:
        """The seconds until time lets a request start: 0 if it may start now, infinity if another must end first."""
        wait = self.paused_until - now
        if self.half_open and self.trial_in_flight:
            return math.inf
        while self._orphans and self._orphans[0] <= now:
            self._orphans.popleft()
            self.in_flight -= 1
        excess = self.in_flight - self.quota.in_flight
        if excess >= 0:
            if excess >= len(self._orphans):
                return math.inf
            wait = max(wait, self._orphans[excess] - now)
        for limit in self.limits:
            counted = _count(self.answered, limit.window, now)
            excess = self.unanswered + counted - limit.in_force
            if self.unanswered and limit.is_probing(self.unanswered + counted):
                return math.inf
            if excess >= 0:
                if excess >= counted:
                    return math.inf
                wait = max(wait, self.answered[excess - counted] + limit.window * CLOCK_DRIFT - now)
        return max(wait, 0.0)

    def raise_limits(self, now: float) -> None:
        """Raise learned limits that are used up and due. Called when a request wants to start."""
        for limit in self.limits:
            if limit.in_force < limit.configured:
                limit.raise_if_due(self.unanswered + _count(self.answered, limit.window, now), now)

    def grant(self) -> bool:
        """Count a request that is about to start, when `delay` is 0. True if it is the trial request."""
        self.in_flight += 1
        self.unanswered += 1
        self.trial_in_flight = self.half_open
        return self.trial_in_flight

    def ended(self, at: float) -> None:
        """A request was answered or given up. `at` may lie ahead, where the server may count it as late as that."""
        self.unanswered -= 1
        bisect.insort(self.answered, at)

    def succeeded(self, now: float) -> None:
        """An answer that is not a 429 has come, and is counted."""
        for limit in self.limits:
            limit.succeeded(self._accepted(limit.window, now), now)

    def throttled(self, at: float, *, is_trial: bool) -> None:
        """An answer of 429 has come, and is counted. What was learned is true of the window that was fullest."""
        bisect.insort(self.rejected, at)
        accepted = [self.unanswered + self._accepted(limit.window, at) for limit in self.limits]
        fullest = max(
            zip(accepted, self.limits, strict=True), key=lambda pair: pair[0] / pair[1].in_force, default=None
        )
        if fullest is not None:
            fullest[1].throttled(fullest[0], at, same_burst=self.half_open and not is_trial)

    def released(self) -> None:
        """A request is no longer in flight."""
        self.in_flight -= 1

    def refunded(self) -> None:
        """A request was never sent."""
        self.unanswered -= 1
        self.in_flight -= 1

    def orphaned(self, now: float) -> None:
        """The end of a request will never be known: it counts as in flight for `ORPHAN_HOLD` seconds."""
        self._orphans.append(now + ORPHAN_HOLD)

    def pause(self, now: float, seconds: float) -> None:
        """No request starts for `seconds`, then a single trial request."""
        self.paused_until = max(self.paused_until, now + seconds)
        self.half_open = True
        self.trial_in_flight = False

    def trial_ended(self, passed: bool) -> None:
        """The trial request was answered, or ended without an answer: then the next one is a trial again."""
        self.trial_in_flight = False
        if passed:
            self.half_open = False

    def pause_left(self, now: float) -> float:
        """The seconds that are left of a pause."""
        return max(self.paused_until - now, 0.0)

    def used(self, now: float) -> list[tuple[int, int, float]]:
        """For each limit: the requests that count now, the limit in force, and its window in seconds."""
        return [
            (self.unanswered + _count(self.answered, limit.window, now), limit.in_force, limit.window)
            for limit in self.limits
        ]

    def forget(self, now: float, memory: float = 0.0) -> None:
        """Drop what no window counts any more, but keep what is younger than `memory` seconds."""
        memory = max([memory, *(limit.window * CLOCK_DRIFT for limit in self.limits)])
        for times in (self.answered, self.rejected):
            del times[: bisect.bisect_right(times, now - memory)]

    def remembers(self, now: float) -> bool:
        """Whether anything that happened can still make a request wait."""
        counts = any(_count(self.answered, limit.window, now) for limit in self.limits)
        orphans = bool(self._orphans) and self._orphans[-1] > now
        live = self.unanswered > 0 or self.in_flight > len(self._orphans)
        return counts or orphans or live or self.paused_until > now

    def forecast(self, now: float) -> Forecast:
        """What this state allows from now on."""
        longest = max((limit.window for limit in self.limits), default=0.0)
        counted = self.answered[len(self.answered) - _count(self.answered, longest, now) :]
        return Forecast(
            tuple((limit.in_force, limit.window) for limit in self.limits),
            tuple(at - now for at in counted),
            self.unanswered,
            self.paused_until - now,
        )

    def _accepted(self, window: float, now: float) -> int:
        return _count(self.answered, window, now) - _count(self.rejected, window, now)


def _count(times: list[float], window: float, now: float) -> int:
    """How many of the times are less than a window ago."""
    return len(times) - bisect.bisect_right(times, now, key=lambda at: at + window * CLOCK_DRIFT)
