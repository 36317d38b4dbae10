"""The quota as the strictest server would keep it: a sliding window over arrivals, and a cap on what is open."""

from __future__ import annotations

import enum
from collections import deque

from clicksgroup.plans import Quota


class Verdict(enum.Enum):
    """What the rate_limiter says to a request that has just arrived."""

    ADMITTED = "admitted"
    WINDOW_FULL = "window full"
    TOO_MANY_IN_FLIGHT = "too many in flight"


class RateLimiter:
    """Admits a request iff that keeps every limit in every window; what it refuses leaves no trace.

    `in_flight` is how many admitted requests are open now, `in_flight_peak` the most there have been.
    """

    def __init__(self, quota: Quota) -> None:
        self.in_flight = 0
        self.in_flight_peak = 0
        self._allowed = quota.in_flight
        self._windows: list[tuple[int, float, deque[float]]] = [(n, seconds, deque()) for n, seconds in quota.limits]

    def arrive(self, now: float) -> Verdict:
        """RateLimiter a request that arrives now; one that is admitted is in flight until `leave`."""
        if self.in_flight >= self._allowed:
            return Verdict.TOO_MANY_IN_FLIGHT
        self._forget(now)
        if any(len(arrivals) >= allowed for allowed, _, arrivals in self._windows):
            return Verdict.WINDOW_FULL
        for _, _, arrivals in self._windows:
            arrivals.append(now)
        self.in_flight += 1
        self.in_flight_peak = max(self.in_flight_peak, self.in_flight)
        return Verdict.ADMITTED

    def leave(self) -> None:
        """An admitted request has been answered, or its connection is gone."""
        self.in_flight -= 1

    def seconds_until_room(self, now: float) -> float:
        """How long until every window has room for one more; 0 if they have now."""
        self._forget(now)
        full = [window for window in self._windows if len(window[2]) >= window[0]]
        return max((arrivals[-allowed] + seconds - now for allowed, seconds, arrivals in full), default=0.0)

    def _forget(self, now: float) -> None:
        for _, seconds, arrivals in self._windows:
            while arrivals and arrivals[0] <= now - seconds:
                arrivals.popleft()
