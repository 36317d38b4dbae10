"""Judges what a server saw, knowing nothing of how it came about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def most_in_any_window(arrivals: Iterable[float], window: float) -> int:
    """The most arrivals in any half-open stretch of so many seconds, wherever it begins.

    Fixed windows are such stretches, whatever their phase.
    """
    times = sorted(arrivals)
    most = first = 0
    for last, at in enumerate(times):
        while times[first] <= at - window:
            first += 1
        most = max(most, last - first + 1)
    return most


def most_in_fixed_windows(arrivals: Sequence[float], window: float, phase: float) -> int:
    """The most arrivals in any of the windows that follow each other without a gap from `phase` on."""
    numbers = [(at - phase) // window for at in arrivals]
    return max(map(numbers.count, set(numbers)), default=0)


def most_at_once(spans: Iterable[tuple[float, float]]) -> int:
    """The most half-open spans of time that hold one moment."""
    spans = [(begin, end) for begin, end in spans if begin < end]
    changes = sorted([(end, -1) for _, end in spans] + [(begin, 1) for begin, _ in spans])
    open_now = most = 0
    for _, change in changes:
        open_now += change
        most = max(most, open_now)
    return most
