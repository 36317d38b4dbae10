"""What the state of a quota allows from now on: the figures of estimates, log lines and reprs."""

from __future__ import annotations

import bisect
import math

import attrs

CLOCK_DRIFT = 1.0005
"""Each window is counted longer by this factor, since the server's clock may run a little slower than ours."""


@attrs.frozen
class Forecast:
    """A snapshot of a quota. Times are seconds from the moment at which it was taken; what is past is negative.

    Args:
        limits: the requests and the seconds of each window in force.
        answered: when the requests that still count were answered, in ascending order.
        unanswered: requests that have not been answered yet.
        paused_until: when a pause ends.
    """

    limits: tuple[tuple[int, float], ...] = ()
    answered: tuple[float, ...] = ()
    unanswered: int = 0
    paused_until: float = -math.inf

    def seconds_until(self, requests: int, now: float = 0.0) -> float:
        """Seconds from `now` until the last of so many requests may start, if every answer comes at once."""
        times = sorted([*self.answered, *[now] * self.unanswered])
        start = max(now, self.paused_until)
        for _ in range(requests):
            for count, window in self.limits:
                if len(times) >= count:
                    start = max(start, times[-count] + window * CLOCK_DRIFT)
            bisect.insort(times, start)
        return start - now if requests else 0.0

    def wait(self, now: float = 0.0) -> str:
        """Why the next request has to wait, and how long; "" if it need not.

        Such as `quota used up (9 of 9 in 60 s), next request in 51 s`.
        """
        seconds = self.seconds_until(1, now)
        if seconds <= 0:
            return ""
        used_up = ", ".join(self.used(now, only_full=True))
        reason = f"quota used up ({used_up})" if used_up else "quota paused"
        return f"{reason}, next request in {max(math.ceil(seconds), 1)} s"

    def used(self, now: float = 0.0, *, only_full: bool = False) -> list[str]:
        """What is used of each window, or of those that are used up, such as `9 of 9 in 60 s`."""
        words = []
        for count, window in self.limits:
            forgotten = bisect.bisect_right(self.answered, now, key=lambda at: at + window * CLOCK_DRIFT)
            used = len(self.answered) - forgotten + self.unanswered
            if used >= count or not only_full:
                words.append(f"{used} of {count} in {window:g} s")
        return words
