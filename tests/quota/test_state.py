from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from clicksgroup.plans import Quota
from clicksgroup.quota.state import TURN, Event, ExchangeResult, SharedState
from tests.quota.simulation import Process, Simulation

limits = st.lists(st.tuples(st.integers(1, 6), st.sampled_from([1.0, 3.0, 20.0])), min_size=1, max_size=2)


def state_of(quota: Quota) -> SharedState:
    return SharedState(quota, 1000.0, "boot")


def grants(state: SharedState, holder: str, *tickets: str, now: float = 1000.0) -> list[str]:
    return list(state.exchange(holder, (), tickets, now).granted)


@settings(deadline=None, max_examples=40)
@given(limits, st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**32), st.booleans())
def test_no_window_is_ever_over_and_nothing_is_lost_for_ever(
    limits: list[tuple[int, float]], in_flight: int, processes: int, seed: int, troubles: bool
) -> None:
    """Whatever the network, the deaths, the lost replies and the refunds."""
    quota = Quota(*limits, in_flight=in_flight)
    state = state_of(quota)
    gone: set[str] = set()

    def died(name: str, now: float) -> None:
        gone.add(name)

    def exchange(process: Process, now: float) -> ExchangeResult:
        if process.name not in state.holders:
            state.holders.append(process.name)
        for name in gone & set(state.holders):
            state.remove_dead(name, now)
        return state.exchange(process.name, process.events, process.tickets, now)

    simulation = Simulation(quota, exchange, random.Random(seed), died)
    simulation.run(processes, 60, troubles=troubles)
    assert simulation.over() == []


def test_the_first_to_come_is_the_first_to_go_in_whichever_process() -> None:
    state = state_of(Quota((2, 10), in_flight=1))
    assert grants(state, "a", "a1") == ["a1"]
    assert grants(state, "b", "b1") == []
    assert grants(state, "a", "a2") == []
    state.exchange("a", (Event("released", "a1", 1001.0),), ("a2",), 1001.0)
    assert grants(state, "a", "a2", now=1001.1) == []
    assert grants(state, "b", "b1", now=1001.2) == ["b1"]


def test_a_process_that_does_not_come_when_it_is_its_turn_is_passed_over() -> None:
    state = state_of(Quota(in_flight=1))
    grants(state, "a", "a1")
    grants(state, "stopped", "s1")
    grants(state, "b", "b1")
    state.exchange("a", (Event("released", "a1", 1001.0),), (), 1001.0)
    assert grants(state, "b", "b1", now=1001.0) == []
    assert grants(state, "b", "b1", now=1001.0 + TURN) == ["b1"]
    assert grants(state, "stopped", "s1", now=1002.0) == []


def test_a_reply_that_was_lost_is_given_again_and_grants_nothing_twice() -> None:
    state = state_of(Quota((3, 10), in_flight=3))
    assert grants(state, "a", "a1", "a2") == ["a1", "a2"]
    assert grants(state, "a", "a1", "a2", "a3", "a4") == ["a1", "a2", "a3"]


def test_who_waits_for_a_window_is_told_the_very_moment() -> None:
    """Each place in the queue its own: nobody asks before it can be served."""
    state = state_of(Quota((2, 10), in_flight=2))
    grants(state, "a", "a1", "a2")
    for ticket, at in (("a1", 1001.0), ("a2", 1002.0)):
        state.exchange("a", (Event("answered", ticket, at), Event("released", ticket, at)), (), at)
    assert state.exchange("a", (), ("a3",), 1003.0).again == 1001.0 + state.memory - 1003.0
    assert state.exchange("b", (), ("b1",), 1003.0).again == 1002.0 + state.memory - 1003.0


def test_after_a_pause_one_goes_first_of_all_processes_and_the_rest_when_it_passes() -> None:
    state = state_of(Quota(in_flight=4))
    grants(state, "a", "a1")
    reply = state.exchange("a", (Event("throttled", "a1", 1000.0, 5.0),), ("a2",), 1000.0)
    assert (reply.granted, reply.paused, reply.again) == ([], 5.0, 5.0)
    assert grants(state, "b", "b1", now=1004.9) == []
    assert grants(state, "a", "a2", "a3", now=1005.0) == ["a2"]
    assert grants(state, "b", "b1", now=1005.0) == []
    state.exchange("a", (Event("answered", "a2", 1005.5),), ("a3",), 1005.5)
    assert grants(state, "b", "b1", now=1005.5) == ["b1"]


def test_a_probe_that_dies_with_its_process_lets_another_one_probe() -> None:
    state = state_of(Quota(in_flight=4))
    state.holders = ["a", "b"]
    grants(state, "a", "a1")
    state.exchange("a", (Event("throttled", "a1", 1000.0, 1.0), Event("released", "a1", 1000.0)), (), 1000.0)
    assert grants(state, "a", "a2", now=1001.0) == ["a2"]
    assert grants(state, "b", "b1", "b2", now=1001.0) == []
    state.remove_dead("a", 1002.0)
    assert grants(state, "b", "b1", "b2", now=1002.0) == ["b1"]


def test_what_a_dead_process_had_in_flight_comes_back_five_seconds_after_it_was_missed() -> None:
    state = state_of(Quota(in_flight=1))
    state.holders = ["a"]
    grants(state, "a", "a1")
    state.remove_dead("a", 1010.0)
    assert grants(state, "b", "b1", now=1014.9) == []
    assert grants(state, "b", "b1", now=1015.0) == ["b1"]


def test_a_clock_that_is_set_anew_makes_nothing_older_or_younger() -> None:
    state = state_of(Quota((1, 60), in_flight=1))
    grants(state, "a", "a1")
    state.exchange("a", (Event("released", "a1", 1000.0),), (), 1000.0)
    state.shift(-900.0)
    assert grants(state, "a", "a2", now=100.0 + 60.0) == []
    assert grants(state, "a", "a2", now=100.0 + 60.1) == ["a2"]
