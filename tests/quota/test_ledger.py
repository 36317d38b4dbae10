"""The rule by which a request may start, judged by what a server would have seen."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable
from typing import Literal

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clicksgroup.plans import Quota
from clicksgroup.quota.ledger import Ledger
from clicksgroup.quota.shared import CLOCK_DRIFT, ORPHAN_HOLD
from tests.quota.checker import most_at_once, most_in_any_window, most_in_fixed_windows

Fate = Literal["answered", "throttled", "given up", "never sent", "abandoned"]
TICK = 1e-9


@attrs.frozen
class Trip:
    """What happens to one request; all in seconds.

    Args:
        after: between the wish before and this one.
        there: its way to the server, which counts it `counted` after it came.
        work: from there to the answer's headers.
        back: their way.
        body: from the headers to the end of the body.
        pause: what a 429 asks for.
    """

    fate: Fate
    after: float
    there: float
    work: float
    back: float
    body: float
    pause: float


class Simulation:
    """Sends requests as a ledger allows, over a network that is slow as each trip says."""

    def __init__(self, quota: Quota, trips: list[Trip]) -> None:
        self.ledger = Ledger(quota)
        self.arrivals: list[float] = []
        self.open: list[tuple[float, float]] = []
        self.granted: list[Trip] = []
        self.pauses: list[tuple[int, float]] = []  # how many were granted before it, its end
        self.grants: list[float] = []
        self.trials: dict[int, int] = {}  # by number: how many were granted before its end was known
        self.now = 0.0
        self._trial: int | None = None
        self._numbers = itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._queue: deque[Trip] = deque()
        wished = 0.0
        for trip in trips:
            wished += trip.after
            self._at(wished, lambda trip=trip: self._queue.append(trip))  # type: ignore[misc]
        while self._events:
            self.now, _, event = heapq.heappop(self._events)
            event()
            self._dispatch()

    def _at(self, when: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._numbers), event))

    def _dispatch(self) -> None:
        while self._queue:
            delay = self.ledger.delay(self.now)
            if delay > 0:
                if delay < math.inf:
                    self._at(self.now + max(delay, TICK), lambda: None)
                return
            self._grant(self._queue.popleft())

    def _grant(self, trip: Trip) -> None:
        number = len(self.granted)
        self.granted.append(trip)
        self.grants.append(self.now)
        if self.ledger.grant():
            self._trial = number
        if trip.fate == "never sent":
            self._at(self.now + trip.there, lambda: self._refund(number))
            return
        came = self.now + trip.there
        headers = came + trip.work + trip.back
        if trip.fate == "abandoned":  # the server gets it in time, but nobody learns when
            known = self.now + min(trip.back, trip.there)
            self.arrivals.append(min(came, known + ORPHAN_HOLD))
            self.open.append((self.arrivals[-1], min(came + trip.work, known + ORPHAN_HOLD)))
            self._at(known, lambda: self._abandon(number))
        elif trip.fate == "given up":  # after the server got it; it may work on
            known = came + min(trip.work, trip.back)
            self.arrivals.append(came)
            self.open.append((came, known))
            self._at(known, lambda: self._give_up(number))
        else:
            self.arrivals.append(came)
            self.open.append((came, headers + trip.body))
            self._at(headers, lambda: self._headers(number, trip))
            self._at(headers + trip.body, self.ledger.released)

    def _headers(self, number: int, trip: Trip) -> None:
        self.ledger.answered(self.now)
        if trip.fate == "throttled":
            self.pauses.append((len(self.grants), self.now + trip.pause))
            self.ledger.pause(self.now, trip.pause)
            self._trial_known(self._trial)
        elif self._trial_known(number):
            self.ledger.trial_ended(True)

    def _refund(self, number: int) -> None:
        self.ledger.refunded()
        if self._trial_known(number):
            self.ledger.trial_ended(False)

    def _give_up(self, number: int) -> None:
        self.ledger.answered(self.now)
        self.ledger.released()
        if self._trial_known(number):
            self.ledger.trial_ended(False)

    def _abandon(self, number: int) -> None:
        self.ledger.answered(self.now + ORPHAN_HOLD)
        self.ledger.orphaned(self.now)
        if self._trial_known(number):
            self.ledger.trial_ended(False)

    def _trial_known(self, number: int | None) -> bool:
        if number is None or number != self._trial:
            return False
        self._trial = None
        self.trials[number] = len(self.grants)
        return True


seconds = st.one_of(st.integers(0, 24).map(lambda n: n / 8), st.floats(0, 8, allow_nan=False))
fates = st.sampled_from(["answered"] * 6 + ["throttled", "given up", "never sent", "abandoned"])
trips = st.lists(
    st.builds(Trip, fates, st.just(0.0) | seconds, seconds, seconds, seconds, seconds, seconds), min_size=1, max_size=40
)
limits = st.tuples(st.integers(1, 5), st.sampled_from([0.25, 1, 3, 10]))
quotas = st.builds(
    lambda limits, n: Quota(*limits, in_flight=n), st.lists(limits, min_size=0, max_size=3), st.integers(1, 3)
)
drifts = st.sampled_from([1 / CLOCK_DRIFT + 1e-9, 1.0, CLOCK_DRIFT])


@settings(max_examples=300, deadline=None)
@given(quota=quotas, trips=trips, drift=drifts, phase=seconds)
def test_no_server_ever_sees_more_than_the_quota(quota: Quota, trips: list[Trip], drift: float, phase: float) -> None:
    """In no sliding window, in no fixed one of any phase, and never too many at once, though its clock runs off."""
    simulation = Simulation(quota, trips)
    arrivals = [at * drift for at in simulation.arrivals]
    for count, window in quota.limits:
        assert most_in_any_window(arrivals, window) <= count
        for begin in [phase, *arrivals]:
            assert most_in_fixed_windows(arrivals, window, begin) <= count
    assert most_at_once(simulation.open) <= quota.in_flight


@settings(max_examples=200, deadline=None)
@given(quota=quotas, trips=trips)
def test_no_slot_is_lost_for_ever(quota: Quota, trips: list[Trip]) -> None:
    """Everybody goes in the end, and when all has been forgotten the whole quota is there again."""
    simulation = Simulation(quota, trips)
    assert simulation.granted == trips
    ledger, late = simulation.ledger, simulation.now + 1000
    assert not ledger.remembers(late)
    assert ledger.delay(late) == 0
    assert ledger.in_flight == 0
    assert all(used == 0 for used, _, _ in ledger.used(late))


@settings(max_examples=200, deadline=None)
@given(quota=quotas, trips=trips)
def test_nothing_starts_in_a_pause_and_after_it_one_goes_alone(quota: Quota, trips: list[Trip]) -> None:
    simulation = Simulation(quota, trips)
    for granted_before, end in simulation.pauses:
        assert all(at >= end for at in simulation.grants[granted_before:])
        assert granted_before in [*simulation.trials, len(simulation.grants)]
    for number, granted_until_known in simulation.trials.items():
        assert granted_until_known == number + 1


def test_a_probe_that_fails_is_followed_by_another_and_one_that_passes_by_all() -> None:
    ledger = Ledger(Quota(in_flight=9))
    ledger.pause(0.0, 1.0)
    for passed in (False, True):
        assert ledger.grant()
        assert ledger.delay(2.0) == math.inf
        ledger.trial_ended(passed)
        assert ledger.delay(2.0) == 0
    assert not ledger.grant()


def test_what_may_be_counted_late_is_remembered_longer_than_what_was_answered_after_it() -> None:
    ledger = Ledger(Quota((2, 10), in_flight=2))
    for counted_at in (5.0, 0.0):
        ledger.grant()
        ledger.answered(counted_at)
        ledger.released()
    assert ledger.delay(0.0) == pytest.approx(10 * CLOCK_DRIFT)
    assert ledger.remembers(14.0)
    assert [used for used, _, _ in ledger.used(11.0)] == [1]


def test_a_slot_comes_back_one_window_after_the_answer_and_not_after_the_sending() -> None:
    ledger = Ledger(Quota((1, 10), in_flight=1))
    ledger.grant()
    ledger.answered(4.0)
    ledger.released()
    assert ledger.delay(13.9) > 0
    assert ledger.delay(4.0) == pytest.approx(10 * CLOCK_DRIFT)
    assert ledger.delay(14.01) == 0


def test_a_place_in_flight_comes_back_after_the_body_and_not_after_the_headers() -> None:
    ledger = Ledger(Quota((9, 10), in_flight=1))
    ledger.grant()
    ledger.answered(1.0)
    assert ledger.delay(1.0) == math.inf
    ledger.released()
    assert ledger.delay(1.0) == 0


def test_all_windows_hold_at_once_and_the_longest_wait_counts() -> None:
    ledger = Ledger(Quota((1, 1), (2, 10), in_flight=2))
    for now in (0.0, 2.0):
        assert ledger.delay(now) == 0
        ledger.grant()
        ledger.answered(now)
        ledger.released()
    assert ledger.delay(2.0) == pytest.approx(10 * CLOCK_DRIFT - 2)
