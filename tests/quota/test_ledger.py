"""The rule that says when a request may start, judged by what a server would have seen."""

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
from clicksgroup.quota.ledger import CLOCK_DRIFT, ORPHAN_HOLD, Event, EventKind, Ledger
from tests.checker import most_at_once, most_in_any_window, most_in_fixed_windows

Fate = Literal["answered", "throttled", "given up", "never sent", "abandoned"]
TICK = 1e-9


@attrs.frozen
class Trip:
    """What happens to one request; all in seconds.

    Args:
        after: between the last request that was wanted and this one.
        there: on the way to the server, which counts it when it arrives.
        work: from there until the headers of the answer are sent.
        back: on the way back.
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
        # For each pause: how many requests were granted before it, and when it ends.
        self.pauses: list[tuple[int, float]] = []
        self.grants: list[float] = []
        # For each trial, by its number: how many requests were granted before its end was known.
        self.trials: dict[int, int] = {}
        self.now = 0.0
        self._numbers = itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._queue: deque[Trip] = deque()
        wanted_at = 0.0
        for trip in trips:
            wanted_at += trip.after
            self._at(wanted_at, lambda trip=trip: self._queue.append(trip))  # type: ignore[misc]
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
        self.ledger.grant(f"{number}")
        if trip.fate == "never sent":
            self._at(self.now + trip.there, lambda: self._report(number, "refunded"))
            return
        arrival = self.now + trip.there
        headers = arrival + trip.work + trip.back
        if trip.fate == "abandoned":
            # The server gets it in time, but the client does not learn when.
            known = self.now + min(trip.back, trip.there)
            self.arrivals.append(min(arrival, known + ORPHAN_HOLD))
            self.open.append((self.arrivals[-1], min(arrival + trip.work, known + ORPHAN_HOLD)))
            self._at(known, lambda: self._report(number, "abandoned"))
        elif trip.fate == "given up":
            # After the server got it; it may still work on it.
            known = arrival + min(trip.work, trip.back)
            self.arrivals.append(arrival)
            self.open.append((arrival, known))
            self._at(known, lambda: self._report(number, "released"))
        else:
            self.arrivals.append(arrival)
            self.open.append((arrival, headers + trip.body))
            kind: EventKind = "throttled" if trip.fate == "throttled" else "answered"
            self._at(headers, lambda: self._report(number, kind, trip.pause))
            self._at(headers + trip.body, lambda: self._report(number, "released"))

    def _report(self, number: int, kind: EventKind, pause: float = 0.0) -> None:
        trial = self.ledger.trial
        if kind == "throttled":
            self.pauses.append((len(self.grants), self.now + pause))
        self.ledger.apply(Event(kind, f"{number}", self.now, pause))
        if trial is not None and self.ledger.trial is None:
            self.trials[int(trial)] = len(self.grants)


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


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(quota=quotas, trips=trips, drift=drifts, phase=seconds)
def test_keeps_quota(quota: Quota, trips: list[Trip], drift: float, phase: float) -> None:
    """No server sees more than the quota, in sliding and in fixed windows and at once, even if its clock drifts."""
    simulation = Simulation(quota, trips)
    arrivals = [at * drift for at in simulation.arrivals]
    for count, window in quota.limits:
        assert most_in_any_window(arrivals, window) <= count
        for begin in [phase, *arrivals]:
            assert most_in_fixed_windows(arrivals, window, begin) <= count
    assert most_at_once(simulation.open) <= quota.in_flight


@settings(max_examples=200, deadline=None)
@given(quota=quotas, trips=trips)
def test_no_slot_is_lost(quota: Quota, trips: list[Trip]) -> None:
    """Every request starts in the end, and when all is forgotten the whole quota is there again."""
    simulation = Simulation(quota, trips)
    assert simulation.granted == trips
    ledger, late = simulation.ledger, simulation.now + 1000
    assert ledger.delay(late) == 0
    assert ledger.in_flight(late) == []
    forecast = ledger.forecast(late)
    assert (forecast.answered, forecast.unanswered) == ((), 0)
    assert not ledger.remembers(late)


@settings(max_examples=200, deadline=None)
@given(quota=quotas, trips=trips)
def test_pause(quota: Quota, trips: list[Trip]) -> None:
    """No request starts in a pause, and after it one trial request starts alone."""
    simulation = Simulation(quota, trips)
    for granted_before, end in simulation.pauses:
        assert all(at >= end for at in simulation.grants[granted_before:])
        assert granted_before in [*simulation.trials, len(simulation.grants)]
    for number, granted_until_known in simulation.trials.items():
        assert granted_until_known == number + 1


def test_trial() -> None:
    """A trial request that fails is followed by another one, a trial that passes by all others."""
    ledger = Ledger(Quota(in_flight=9))
    ledger.grant("first")
    ledger.apply(Event("throttled", "first", 0.0, 1.0))
    endings: tuple[EventKind, ...] = ("refunded", "released", "abandoned", "answered")
    for kind in endings:
        ledger.grant(kind)
        assert ledger.trial == kind
        assert ledger.delay(2.0) == math.inf
        ledger.apply(Event(kind, kind, 2.0))
        assert ledger.delay(2.0) == 0
    ledger.grant("last")
    assert ledger.trial is None


def test_counted_late() -> None:
    """A request that the server may count late is remembered longer than one that was answered after it."""
    ledger = Ledger(Quota((2, 10), in_flight=2))
    endings: tuple[EventKind, ...] = ("abandoned", "released")
    for kind in endings:
        ledger.grant(kind)
        ledger.apply(Event(kind, kind, 0.0))
    assert ledger.delay(0.0) == pytest.approx(10 * CLOCK_DRIFT)
    assert ledger.remembers(14.0)
    assert ledger.forecast(11.0).used() == ["1 of 2 in 10 s"]


def test_window_starts_with_answer() -> None:
    """A slot comes back one window after the answer, not after the sending."""
    ledger = Ledger(Quota((1, 10), in_flight=1))
    ledger.grant("sent")
    ledger.apply(Event("answered", "sent", 4.0))
    ledger.apply(Event("released", "sent", 4.0))
    assert ledger.delay(13.9) > 0
    assert ledger.delay(4.0) == pytest.approx(10 * CLOCK_DRIFT)
    assert ledger.delay(14.01) == 0


def test_in_flight_until_released() -> None:
    """A request is in flight until its body was read, not until its headers have arrived."""
    ledger = Ledger(Quota((9, 10), in_flight=1))
    ledger.grant("sent")
    ledger.apply(Event("answered", "sent", 1.0))
    assert ledger.delay(1.0) == math.inf
    ledger.apply(Event("released", "sent", 1.0))
    assert ledger.delay(1.0) == 0


def test_several_windows() -> None:
    """All windows hold at once, and the longest wait counts."""
    ledger = Ledger(Quota((1, 1), (2, 10), in_flight=2))
    for now in (0.0, 2.0):
        assert ledger.delay(now) == 0
        ledger.grant("sent")
        ledger.apply(Event("answered", "sent", now))
        ledger.apply(Event("released", "sent", now))
    assert ledger.delay(2.0) == pytest.approx(10 * CLOCK_DRIFT - 2)


def test_looking_ahead_raises_no_limit() -> None:
    """A learned limit is raised only where requests use it up, not because others wait."""
    ledger = Ledger(Quota((24, 2), in_flight=3))
    (limit,) = ledger.limits
    limit.in_force = 12
    assert ledger.delay(1000.0, ahead=20) == math.inf
    assert limit.in_force == 12


def test_pause_of_unknown_slot() -> None:
    """A 429 pauses all, also where its slot was forgotten meanwhile."""
    ledger = Ledger(Quota(in_flight=2))
    ledger.apply(Event("throttled", "forgotten", 1.0, 60.0))
    assert ledger.delay(2.0) == 59.0
