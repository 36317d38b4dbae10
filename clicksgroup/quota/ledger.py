"""The rule that says when a request may start: no clock, no I/O, no asyncio. Time is an argument."""

from __future__ import annotations

import bisect
import math
from collections import deque
from collections.abc import Sequence

from clicksgroup.plans import Quota
from clicksgroup.quota.shared import CLOCK_DRIFT, ORPHAN_HOLD


class Ledger:
    """A sliding-window log of one quota, which keeps the moment of each answer.

    A request may start iff there is no pause, fewer than C are in flight, and, for every window, *those not answered
    yet + those answered less than a window ago* are fewer than N.

    Proof that no sliding window at the server ever holds more than N. Take any window of length W there and, of the
    requests that arrived in it, the one granted last, j. Every other one, i, was granted before j. It was answered no
    earlier than it arrived, which is later than j's arrival - W, hence later than j's grant - W. So when j was
    granted, i was either unanswered or answered less than W ago: it was counted. Hence at most N, whatever the
    network's delays, and wherever between sending and answering the server counts. Fixed windows of any phase are
    sliding windows too.

    After a pause the ledger is half open, as a circuit breaker is: one trial request starts alone, and the others
    follow when it is answered without another 429.
    """

    __slots__ = (
        "_orphans", "_unanswered", "_windows", "half_open", "in_flight", "paused_until", "quota", "trial_in_flight",
    )  # fmt: skip

    def __init__(self, quota: Quota) -> None:
        self.quota = quota
        self.in_flight = 0
        self.paused_until = -math.inf
        self.half_open = False
        self.trial_in_flight = False
        self._unanswered = 0
        # For each limit its count, its window, and when each answer will be forgotten (ascending).
        self._windows: list[tuple[int, float, deque[float]]] = [
            (count, window * CLOCK_DRIFT, deque()) for count, window in quota.limits
        ]
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
        for count, _, forgotten_at in self._windows:
            while forgotten_at and forgotten_at[0] <= now:
                forgotten_at.popleft()
            excess = self._unanswered + len(forgotten_at) - count
            if excess >= 0:
                if excess >= len(forgotten_at):
                    return math.inf
                wait = max(wait, forgotten_at[excess] - now)
        return max(wait, 0.0)

    def grant(self) -> bool:
        """Count a request that is about to start, when `delay` is 0. True if it is the trial request."""
        self.in_flight += 1
        self._unanswered += 1
        self.trial_in_flight = self.half_open
        return self.trial_in_flight

    def answered(self, at: float) -> None:
        """A request was answered or given up. `at` may lie ahead, where the server may count it as late as that."""
        self._unanswered -= 1
        for _, window, forgotten_at in self._windows:
            bisect.insort(forgotten_at, at + window)

    def load_answered(self, times: Sequence[float]) -> None:
        """Count requests that were answered before this ledger was made, in ascending order of their times."""
        for _, window, forgotten_at in self._windows:
            forgotten_at.extend(at + window for at in times)

    def released(self) -> None:
        """A request is no longer in flight."""
        self.in_flight -= 1

    def refunded(self) -> None:
        """A request was never sent."""
        self._unanswered -= 1
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
        """For each limit: the requests that count now, the limit, and its window in seconds."""
        return [
            (self._unanswered + sum(at > now for at in forgotten_at), count, window)
            for (count, window), (_, _, forgotten_at) in zip(self.quota.limits, self._windows, strict=True)
        ]

    def remembers(self, now: float) -> bool:
        """Whether anything that happened can still make a request wait."""
        windows = any(forgotten_at and forgotten_at[-1] > now for _, _, forgotten_at in self._windows)
        orphans = bool(self._orphans) and self._orphans[-1] > now
        live = self._unanswered > 0 or self.in_flight > len(self._orphans)
        return windows or orphans or live or self.paused_until > now
