"""The quota as the strictest server would enforce it: sliding windows over arrivals, and a cap on open requests."""

from __future__ import annotations

import enum
from collections import deque

from clicksgroup.plans import Quota


class Admission(enum.Enum):
    """Whether a request that has just arrived is admitted."""

    ADMITTED = "admitted"
    WINDOW_FULL = "window full"
    TOO_MANY_IN_FLIGHT = "too many in flight"


class RateLimiter:
    """Admits a request if that keeps every limit in every window. Rejected requests do not count.

    `in_flight` is how many admitted requests are open, and `in_flight_peak` is the most there have been.
    """

    def __init__(self, quota: Quota) -> None:
        self.in_flight = 0
        self.in_flight_peak = 0
        self._max_in_flight = quota.in_flight
        self._windows: list[tuple[int, float, deque[float]]] = [(n, seconds, deque()) for n, seconds in quota.limits]

    def acquire(self, now: float) -> Admission:
        """Decide on a request that arrives now. If it is admitted, it is in flight until `release`."""
        if self.in_flight >= self._max_in_flight:
            return Admission.TOO_MANY_IN_FLIGHT
        if self._full_windows(now):
            return Admission.WINDOW_FULL
        for _, _, arrivals in self._windows:
            arrivals.append(now)
        self.in_flight += 1
        self.in_flight_peak = max(self.in_flight_peak, self.in_flight)
        return Admission.ADMITTED

    def release(self) -> None:
        """An admitted request has been answered, or its connection is gone."""
        self.in_flight -= 1

    def seconds_until_room(self, now: float) -> float:
        """How long until every window has room for one more request; 0 if they have now."""
        full = self._full_windows(now)
        return max((arrivals[-allowed] + seconds - now for allowed, seconds, arrivals in full), default=0.0)

    def _full_windows(self, now: float) -> list[tuple[int, float, deque[float]]]:
        for _, seconds, arrivals in self._windows:
            while arrivals and arrivals[0] <= now - seconds:
                arrivals.popleft()
        return [window for window in self._windows if len(window[2]) >= window[0]]
