"""The limiter: strict, and blind to what it refuses."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import example, given, settings
from hypothesis import strategies as st

from clicksgroup.plans import Quota
from clicksgroup.sandbox.rate_limiter import RateLimiter, Verdict


@settings(deadline=None)
@example([0.13436424411240122, 1.0], [(1, 1)])  # floats: the sum and the difference disagree
@given(
    st.lists(st.floats(0, 3), max_size=60),
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 6)), min_size=1, max_size=2),
)
def test_it_admits_exactly_what_every_window_allows(gaps: Sequence[float], limits: Sequence[tuple[int, float]]) -> None:
    limiter = RateLimiter(Quota(*limits, in_flight=1))
    now = 0.0
    admitted: list[float] = []
    for gap in gaps:
        now += gap
        fits = all(sum(at > now - seconds for at in admitted) < allowed for allowed, seconds in limits)
        verdict = limiter.arrive(now)
        assert (verdict is Verdict.ADMITTED) == fits
        if verdict is Verdict.ADMITTED:
            admitted.append(now)
            limiter.leave()


def test_what_it_refuses_leaves_no_trace() -> None:
    limiter = RateLimiter(Quota((1, 10), in_flight=5))
    limiter.arrive(0)
    assert [limiter.arrive(now) for now in (1, 5, 9.99)] == [Verdict.WINDOW_FULL] * 3
    assert limiter.arrive(10) is Verdict.ADMITTED


def test_it_says_when_there_is_room() -> None:
    limiter = RateLimiter(Quota((2, 10), (3, 60), in_flight=5))
    for now in (0, 3, 11):
        assert limiter.arrive(now) is Verdict.ADMITTED
    assert limiter.seconds_until_room(12) == 48


def test_it_caps_what_is_in_flight_and_remembers_the_peak() -> None:
    limiter = RateLimiter(Quota(in_flight=2))
    assert [limiter.arrive(0) for _ in range(3)] == [Verdict.ADMITTED, Verdict.ADMITTED, Verdict.TOO_MANY_IN_FLIGHT]
    limiter.leave()
    assert limiter.arrive(0) is Verdict.ADMITTED
    assert (limiter.in_flight, limiter.in_flight_peak) == (2, 2)
