"""The rate limiter, judged by a checker that shares no code with it."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import example, given, settings
from hypothesis import strategies as st

from clicksgroup.plans import Quota
from clicksgroup.sandbox.api import RateLimiter
from tests.checker import most_at_once, most_in_any_window


@settings(deadline=None)
# With these floats, the sum and the difference disagree.
@example([0.13436424411240122, 1.0], [(1, 1)])
@given(
    st.lists(st.floats(0, 3), max_size=60),
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 6)), min_size=1, max_size=2),
)
def test_windows(gaps: Sequence[float], limits: Sequence[tuple[int, float]]) -> None:
    """A request is admitted exactly if no window then holds more than its limit."""
    limiter = RateLimiter(Quota(*limits, in_flight=1))
    now = 0.0
    admitted: list[float] = []
    for gap in gaps:
        now += gap
        fits = all(most_in_any_window([*admitted, now], seconds) <= allowed for allowed, seconds in limits)
        assert (limiter.seconds_until_room(now) <= 0) is fits
        assert limiter.acquire(now) is fits
        if fits:
            admitted.append(now)
            limiter.release()


@given(st.lists(st.integers(1, 9), max_size=60), st.integers(1, 4))
def test_in_flight(durations: Sequence[int], cap: int) -> None:
    """A request each second is admitted exactly if no more than the cap are then open; the peak is remembered."""
    limiter = RateLimiter(Quota(in_flight=cap))
    spans: list[tuple[int, int]] = []
    for now, duration in enumerate(durations):
        for _, end in spans:
            if end == now:
                limiter.release()
        fits = most_at_once([*spans, (now, now + duration)]) <= cap
        assert limiter.acquire(now) is fits
        if fits:
            spans.append((now, now + duration))
        assert limiter.in_flight == sum(end > now for _, end in spans)
    assert limiter.in_flight_peak == most_at_once(spans)


def test_rejected_requests() -> None:
    """A rejected request does not count."""
    limiter = RateLimiter(Quota((1, 10), in_flight=5))
    limiter.acquire(0)
    assert [limiter.acquire(now) for now in (1, 5, 9.99)] == [False] * 3
    assert limiter.acquire(10)


def test_seconds_until_room() -> None:
    """The limiter says when the fullest window has room."""
    limiter = RateLimiter(Quota((2, 10), (3, 60), in_flight=5))
    for now in (0, 3, 11):
        assert limiter.acquire(now)
    assert limiter.seconds_until_room(12) == 48
