"""The checker itself, against the definitions written out as brute force."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from tests.checker import (
    most_at_once,
    most_in_any_window,
    most_in_fixed_windows,
    rejections,
    share_used,
    violations,
)

# Eighths of a second are exact as floats, so that both sides agree about the ends of a window.
seconds = st.integers(0, 80).map(lambda eighths: eighths / 8)
windows = st.integers(1, 40).map(lambda eighths: eighths / 8)
arrivals = st.lists(seconds, max_size=30)
spans = st.lists(st.tuples(seconds, seconds).map(lambda ends: (min(ends), max(ends))), max_size=20)


@given(arrivals, windows)
def test_any_window(times: Sequence[float], window: float) -> None:
    """The fullest window begins with an arrival, so trying all arrivals is enough."""
    brute_force = max((sum(begin <= at < begin + window for at in times) for begin in times), default=0)
    assert most_in_any_window(times, window) == brute_force


@given(arrivals, windows, seconds)
def test_fixed_windows(times: Sequence[float], window: float, phase: float) -> None:
    """Windows that begin at the phase and go on in both directions."""
    begins = [phase + number * window for number in range(-90, 90)]
    brute_force = max(sum(begin <= at < begin + window for at in times) for begin in begins)
    assert most_in_fixed_windows(times, window, phase) == brute_force
    assert brute_force <= most_in_any_window(times, window)


@given(spans)
def test_at_once(open_spans: Sequence[tuple[float, float]]) -> None:
    """A span holds its begin and not its end, so the busiest moment is the begin of a span."""
    brute_force = max((sum(a <= begin < b for a, b in open_spans) for begin, _ in open_spans), default=0)
    assert most_at_once(open_spans) == brute_force


@given(arrivals, st.integers(1, 5), windows)
def test_rejections(times: Sequence[float], count: int, window: float) -> None:
    """A request is accepted where fewer than `count` accepted ones lie in the window before it."""
    accepted: list[float] = []
    for at in sorted(times):
        if sum(at - window < earlier <= at for earlier in accepted) < count:
            accepted.append(at)
    assert rejections(sorted(times), count, window) == len(times) - len(accepted)
    assert (rejections(sorted(times), count, window) == 0) == (most_in_any_window(times, window) <= count)


@given(arrivals, spans, st.integers(1, 5), windows, st.integers(1, 3), seconds)
def test_violations(
    times: Sequence[float],
    open_spans: Sequence[tuple[float, float]],
    count: int,
    window: float,
    in_flight: int,
    phase: float,
) -> None:
    """One line for each limit that is exceeded, and none otherwise."""
    over = most_in_any_window(times, window) > count
    too_many = most_at_once(open_spans) > in_flight
    for phases in ([], [phase]):
        assert len(violations([(count, window)], in_flight, times, open_spans, phases)) == over + too_many


def test_words() -> None:
    """A violation says what was seen and what is allowed."""
    assert violations([(9, 9), (1, 10.0)], 1, [0.0, 9.5], [(0.0, 2.0), (1.0, 2.0)]) == [
        "2 requests within 10.0 s, allowed 1",
        "2 requests in flight, allowed 1",
    ]


def test_share_used() -> None:
    """Whole windows count: 4 requests in 3 windows of 1 s each use a third; two arrivals fill no window of three."""
    assert share_used([0.0, 3.0, 6.0, 9.0], 1, 1.0) == 1 / 3
    assert share_used([0.0, 1.0, 2.0, 3.0, 3.5], 2, 2.0) == 4 / 3.5
    assert share_used([0.0, 1.0], 3, 1.0) == 0.0
    assert share_used([], 3, 1.0) == 0.0
