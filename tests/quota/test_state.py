"""The state of a shared quota: which process is granted what, judged by a server in virtual time."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clicksgroup.plans import Quota
from clicksgroup.quota.ledger import Event
from clicksgroup.quota.state import TURN_TIMEOUT, ExchangeResult, Report, SharedState
from tests.quota.simulation import Process, Simulation

limits = st.lists(st.tuples(st.integers(1, 6), st.sampled_from([1.0, 3.0, 20.0])), min_size=1, max_size=2)


def state_of(quota: Quota) -> SharedState:
    return SharedState(quota, clock=1000.0)


def grants(state: SharedState, holder: str, *request_ids: str, now: float = 1000.0) -> list[str]:
    return list(exchange(state, holder, request_ids=request_ids, now=now).granted)


def exchange(
    state: SharedState, holder: str, *events: Event, request_ids: Sequence[str] = (), now: float
) -> ExchangeResult:
    held = {slot_id: slot.answered for slot_id, slot in state.places.items() if slot.holder == holder}
    return state.exchange(holder, Report(events, request_ids, held), now)


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(limits, st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**32), st.booleans())
def test_keeps_quota(limits: list[tuple[int, float]], in_flight: int, processes: int, seed: int, faults: bool) -> None:
    """No quota is exceeded and no slot is lost, whatever the network, the deaths, lost results and refunds."""
    quota = Quota(*limits, in_flight=in_flight)
    state = state_of(quota)
    dead: set[str] = set()

    def died(name: str, now: float) -> None:
        dead.add(name)

    def exchange(process: Process, now: float) -> ExchangeResult:
        state.join(process.name, quota, now)
        for name in dead & state.holders.keys():
            state.remove(name, now)
        return state.exchange(process.name, Report(process.events, process.waiting, process.held), now)

    simulation = Simulation(quota, exchange, random.Random(seed), died)
    simulation.run(processes, 60, faults=faults)
    assert simulation.violations() == []


def test_first_come_first_served() -> None:
    """The first request to come is the first to start, in whichever process."""
    state = state_of(Quota((2, 10), in_flight=1))
    assert grants(state, "a", "a1") == ["a1"]
    assert grants(state, "b", "b1") == []
    assert grants(state, "a", "a2") == []
    exchange(state, "a", Event("released", "a1", 1001.0), request_ids=["a2"], now=1001.0)
    assert grants(state, "a", "a2", now=1001.1) == []
    assert grants(state, "b", "b1", now=1001.2) == ["b1"]


def test_turn_timeout() -> None:
    """A process that does not come when it is its turn loses it."""
    state = state_of(Quota(in_flight=1))
    grants(state, "a", "a1")
    grants(state, "stopped", "s1")
    grants(state, "b", "b1")
    exchange(state, "a", Event("released", "a1", 1001.0), now=1001.0)
    assert grants(state, "b", "b1", now=1001.0) == []
    assert grants(state, "b", "b1", now=1001.0 + TURN_TIMEOUT) == ["b1"]
    assert grants(state, "stopped", "s1", now=1002.0) == []


def test_lost_result() -> None:
    """A result that was lost is given again, and nothing is granted twice."""
    state = state_of(Quota((3, 10), in_flight=3))
    assert grants(state, "a", "a1", "a2") == ["a1", "a2"]
    assert grants(state, "a", "a1", "a2", "a3", "a4") == ["a1", "a2", "a3"]


def test_retry_in() -> None:
    """Each process that waits for a window is told the moment at which its first request may start."""
    state = state_of(Quota((2, 10), in_flight=2))
    grants(state, "a", "a1", "a2")
    for slot, at in (("a1", 1001.0), ("a2", 1002.0)):
        exchange(state, "a", Event("answered", slot, at), Event("released", slot, at), now=at)
    assert exchange(state, "a", request_ids=["a3"], now=1003.0).retry_in == 1001.0 + state.memory - 1003.0
    assert exchange(state, "b", request_ids=["b1"], now=1003.0).retry_in == 1002.0 + state.memory - 1003.0


def test_pause() -> None:
    """After a pause one trial request starts in all processes, and the others follow when it passes."""
    state = state_of(Quota(in_flight=4))
    grants(state, "a", "a1")
    result = exchange(state, "a", Event("throttled", "a1", 1000.0, 5.0), request_ids=["a2"], now=1000.0)
    assert (result.granted, result.pause_left, result.retry_in) == ([], 5.0, 5.0)
    assert grants(state, "b", "b1", now=1004.9) == []
    assert grants(state, "a", "a2", "a3", now=1005.0) == ["a2"]
    assert grants(state, "b", "b1", now=1005.0) == []
    exchange(state, "a", Event("answered", "a2", 1005.5), request_ids=["a3"], now=1005.5)
    assert grants(state, "b", "b1", now=1005.5) == ["b1"]


def test_trial_of_dead_process() -> None:
    """When the process of the trial request dies, another request is the trial."""
    state = state_of(Quota(in_flight=4))
    state.holders = {"a": math.inf, "b": math.inf}
    grants(state, "a", "a1")
    exchange(state, "a", Event("throttled", "a1", 1000.0, 1.0), Event("released", "a1", 1000.0), now=1000.0)
    assert grants(state, "a", "a2", now=1001.0) == ["a2"]
    assert grants(state, "b", "b1", "b2", now=1001.0) == []
    state.remove("a", 1002.0)
    assert grants(state, "b", "b1", "b2", now=1002.0) == ["b1"]


def test_slots_of_dead_process() -> None:
    """Slots that a dead process had in flight come back five seconds after it was removed."""
    state = state_of(Quota(in_flight=1))
    state.holders = {"a": math.inf}
    grants(state, "a", "a1")
    state.remove("a", 1010.0)
    assert grants(state, "b", "b1", now=1014.9) == []
    assert grants(state, "b", "b1", now=1015.0) == ["b1"]


def test_leaving() -> None:
    """A process that leaves loses its turn, and its slots come back as those of a dead process do."""
    state = state_of(Quota(in_flight=1))
    state.join("a", state.quota, 1000.0)
    assert grants(state, "a", "a1", "a2") == ["a1"]
    assert grants(state, "b", "b1") == []
    state.exchange("a", Report(held={"a1": False}, leaving=True), 1010.0)
    assert (state.holders, state.queue) == ({}, [("b1", "b")])
    assert grants(state, "b", "b1", now=1014.9) == []
    assert grants(state, "b", "b1", now=1015.0) == ["b1"]
