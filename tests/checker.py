"""Checks recorded requests against a quota: the one checker of the tests and the benchmarks.

Pure functions over seconds of any one clock. They know nothing of the package, so that no limiter checks itself.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence


def violations(
    limits: Sequence[tuple[int, float]],
    in_flight: int,
    arrivals: Sequence[float],
    spans: Iterable[tuple[float, float]],
    phases: Sequence[float] = (),
) -> list[str]:
    """Everything that exceeds a quota, in words; an empty list if nothing does.

    Args:
        limits: pairs of a number of requests and a window in seconds.
        in_flight: how many requests may be open at once.
        arrivals: when the server counted each request.
        spans: when the server began and ended the work on each request.
        phases: for each limit, where fixed windows begin; sliding windows alone are checked without it.
    """
    found = []
    for number, (count, window) in enumerate(limits):
        most = most_in_any_window(arrivals, window)
        if phases:
            most = max(most, most_in_fixed_windows(arrivals, window, phases[number]))
        if most > count:
            found.append(f"{most} requests within {window} s, allowed {count}")
    if (most := most_at_once(spans)) > in_flight:
        found.append(f"{most} requests in flight, allowed {in_flight}")
    return found


def most_in_any_window(arrivals: Iterable[float], window: float) -> int:
    """The most arrivals in any half-open window of this many seconds, wherever it begins."""
    recent: deque[float] = deque()
    most = 0
    for at in sorted(arrivals):
        recent.append(at)
        while recent[0] <= at - window:
            recent.popleft()
        most = max(most, len(recent))
    return most


def most_in_fixed_windows(arrivals: Iterable[float], window: float, phase: float) -> int:
    """The most arrivals in any of the windows that follow each other without a gap, one of them from `phase` on."""
    return max(Counter((at - phase) // window for at in arrivals).values(), default=0)


def most_at_once(spans: Iterable[tuple[float, float]]) -> int:
    """The most half-open spans of time that share a moment."""
    spans = [(begin, end) for begin, end in spans if begin < end]
    changes = sorted([(end, -1) for _, end in spans] + [(begin, 1) for begin, _ in spans])
    open_now = most = 0
    for _, change in changes:
        open_now += change
        most = max(most, open_now)
    return most


def rejections(arrivals: Iterable[float], count: int, window: float) -> int:
    """How many requests a server would reject that does not count the rejected ones, in order of arrival."""
    accepted: deque[float] = deque()
    rejected = 0
    for at in arrivals:
        while accepted and accepted[0] <= at - window:
            accepted.popleft()
        if len(accepted) < count:
            accepted.append(at)
        else:
            rejected += 1
    return rejected


def share_used(arrivals: Sequence[float], count: int, window: float) -> float:
    """The share of a limit that was used, over as many whole windows as the arrivals fill; 0 if they fill none."""
    windows = (len(arrivals) - 1) // count
    took = arrivals[windows * count] - arrivals[0] if windows > 0 else 0.0
    return windows * window / took if took else 0.0
