"""The judge: strict, and blind to what it refuses."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import example, given, settings
from hypothesis import strategies as st

from clicksgroup.plans import Quota
from clicksgroup.sandbox.judge import Judge, Verdict


@settings(deadline=None)
@example([0.13436424411240122, 1.0], [(1, 1)])  # floats: the sum and the difference disagree
@given(
    st.lists(st.floats(0, 3), max_size=60),
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 6)), min_size=1, max_size=2),
)
def test_it_admits_exactly_what_every_window_allows(gaps: Sequence[float], limits: Sequence[tuple[int, float]]) -> None:
    judge = Judge(Quota(*limits, in_flight=1))
    now = 0.0
    admitted: list[float] = []
    for gap in gaps:
        now += gap
        fits = all(sum(at > now - seconds for at in admitted) < allowed for allowed, seconds in limits)
        verdict = judge.arrive(now)
        assert (verdict is Verdict.ADMITTED) == fits
        if verdict is Verdict.ADMITTED:
            admitted.append(now)
            judge.leave()


def test_what_it_refuses_leaves_no_trace() -> None:
    judge = Judge(Quota((1, 10), in_flight=5))
    judge.arrive(0)
    assert [judge.arrive(now) for now in (1, 5, 9.99)] == [Verdict.WINDOW_FULL] * 3
    assert judge.arrive(10) is Verdict.ADMITTED


def test_it_says_when_there_is_room() -> None:
    judge = Judge(Quota((2, 10), (3, 60), in_flight=5))
    for now in (0, 3, 11):
        assert judge.arrive(now) is Verdict.ADMITTED
    assert judge.seconds_until_room(12) == 48


def test_it_caps_what_is_in_flight_and_remembers_the_peak() -> None:
    judge = Judge(Quota(in_flight=2))
    assert [judge.arrive(0) for _ in range(3)] == [Verdict.ADMITTED, Verdict.ADMITTED, Verdict.TOO_MANY_IN_FLIGHT]
    judge.leave()
    assert judge.arrive(0) is Verdict.ADMITTED
    assert (judge.in_flight, judge.in_flight_peak) == (2, 2)
