"""Limits that are learned from answers of 429: by a server in virtual time that allows less than is configured."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmarks.lower import CASES, Case, Server, run_against
from clicksgroup.plans import Quota
from clicksgroup.quota.learned_limits import Limit, limits_for
from clicksgroup.quota.ledger import Event, Ledger
from clicksgroup.quota.local import LocalQuota
from clicksgroup.quota.shared import SharedQuota
from tests.virtual_time import VirtualTimeLoop, in_virtual_time

QUOTA = Quota((24, 60), in_flight=2)


@pytest.mark.parametrize("allowed", [20, 12, 6])
def test_lower_limit(allowed: int) -> None:
    """In 12 windows at most 3 answers are 429, and at least 90 % of what the server allows is used."""
    for case, seed in itertools.product(CASES, range(4)):
        server = Server(allowed, case, seed)
        run_against(server, QUOTA, windows=12)
        assert server.rejected <= 3
        assert server.accepted >= 0.9 * 12 * allowed


@pytest.mark.parametrize("allowed", [20, 12, 6])
def test_limit_is_raised(allowed: int) -> None:
    """When the server allows more again, the client is back at it within 150 windows."""
    server = Server(allowed, CASES[0], seed=1)
    back: list[float] = []

    def look(quota: SharedQuota, now: float) -> None:
        if now > 100 * 60:
            server.allowed = 24
        if server.allowed == 24 and not back and quota.limits_in_force == QUOTA.limits:
            back.append(now)

    run_against(server, QUOTA, windows=260, look=look)
    assert back[0] < (100 + 150) * 60


@pytest.mark.parametrize("number", [1, 2, 5, 9])
def test_single_429(number: int) -> None:
    """A single 429 for another reason, early in a window, changes no limit and costs nothing but its pause."""
    server = Server(24, Case(True, False, False), seed=1, reject_number=number)

    def look(quota: SharedQuota, now: float) -> None:
        assert quota.limits_in_force == QUOTA.limits

    run_against(server, QUOTA, windows=3, look=look)
    assert server.accepted >= 3 * 24 - 2


def test_long_window() -> None:
    """A 429 lowers the window that was fullest; an hour is never lowered by more than half at once."""
    ledger = Ledger(Quota((24, 60), (1250, 3600), in_flight=1))
    for number in range(20):
        ledger.grant(f"{number}")
        ledger.apply(Event("answered", f"{number}", float(number)))
        ledger.apply(Event("released", f"{number}", float(number)))
    ledger.grant("last")
    ledger.apply(Event("throttled", "last", 20.0))
    assert [limit.in_force for limit in ledger.limits] == [20, 1250]
    hour = limits_for(Quota((1250, 3600)))[0]
    for now in (0.0, 60.0, 120.0, 180.0):
        hour.throttled(1, now, same_burst=False)
    assert hour.in_force == 312


def test_other_quota() -> None:
    """A learned limit of a window stays known when the quota is replaced, and never exceeds the new one."""
    learned = Limit(24, 60.0, 12)
    assert [limit.in_force for limit in limits_for(Quota((20, 60), (9, 5)), [learned])] == [12, 9]
    assert limits_for(Quota((9, 60)), [learned])[0].in_force == 9


def test_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """A learned limit is said once, and shown in the repr."""
    reprs: list[str] = []
    with caplog.at_level(logging.WARNING, "clicksgroup"):
        server = Server(20, CASES[0], seed=1)
        run_against(server, QUOTA, windows=12, look=lambda quota, now: reprs.append(repr(quota)))
    (record,) = caplog.records
    assert record.getMessage() == (
        "the server allows 20 requests in 60 s, not 24: staying below; set quota=Quota((20, 60)) to start there"
    )
    assert "learned: 20 in 60 s, not 24" in reprs[-1]


@in_virtual_time
async def test_said_without_a_pause(caplog: pytest.LogCaptureFixture) -> None:
    """A learned limit is said also where the 429 brought no pause, and one that is merely configured is not."""
    quota = LocalQuota(Quota((4, 60), (6, 60), in_flight=1), asyncio.get_running_loop())
    for _ in range(3):
        (slot := await quota.acquire()).answered()
        slot.release()
    assert caplog.records == []
    (slot := await quota.acquire()).throttled(0)
    slot.release()
    (await quota.acquire()).refund()
    (record,) = caplog.records
    assert record.getMessage().startswith("the server allows 3 requests in 60 s, not 4")


@in_virtual_time
async def test_seconds_until() -> None:
    """The seconds until requests may start count what is left of a window, learned limits and a pause."""
    loop = asyncio.get_running_loop()
    quota = LocalQuota(Quota((3, 60), in_flight=1), loop)
    assert quota.seconds_until(3) == 0
    assert quota.seconds_until(4) == pytest.approx(60, rel=0.001)
    (slot := await quota.acquire()).answered()
    slot.release()
    await asyncio.sleep(20)
    assert quota.seconds_until(3) == pytest.approx(40, rel=0.001)
    (slot := await quota.acquire()).throttled(55)
    slot.release()
    assert quota.seconds_until(1) == pytest.approx(55, rel=0.001)


def test_nothing_but_429() -> None:
    """Where for a whole window nothing but 429s came, one request a window remains: a server may count those too."""
    (limit,) = limits_for(Quota((24, 60)))
    for at in (100.0, 130.0, 159.0):
        limit.throttled(0, at, same_burst=False)
        assert limit.in_force == 24
    limit.succeeded(1, 159.5)
    for at in (160.0, 219.0):
        limit.throttled(0, at, same_burst=False)
        assert limit.in_force == 24
    limit.throttled(0, 220.0, same_burst=False)
    assert limit.in_force == 1


def test_nothing_but_429_in_a_long_window() -> None:
    """A long window is halved at most, once a window."""
    (limit,) = limits_for(Quota((1250, 3600)))
    for at, in_force in ((0.0, 1250), (3599.0, 1250), (3600.0, 625), (3601.0, 625), (7200.0, 312)):
        limit.throttled(0, at, same_burst=False)
        assert limit.in_force == in_force


@settings(max_examples=60, deadline=None)
# The server falls to 1 and counts what it rejects.
@example(configured=5, in_flight=1, case=0, seed=9, latency=1.0)
@example(configured=5, in_flight=1, case=1, seed=9, latency=1.0)
@given(
    st.integers(1, 30), st.integers(1, 3), st.integers(0, len(CASES) - 1), st.integers(0, 2**32), st.floats(0.01, 4.0)
)
def test_never_above_ceiling(configured: int, in_flight: int, case: int, seed: int, latency: float) -> None:
    """However the server's limit changes, the limit in force is at least 1 and at most what is configured."""
    rng = random.Random(seed)
    server = Server(rng.randint(1, configured), CASES[case], seed, latency=latency)

    def look(quota: SharedQuota, now: float) -> None:
        ((count, _),) = quota.limits_in_force
        assert 1 <= count <= configured
        if rng.random() < 0.02:
            server.allowed = rng.randint(1, configured)

    before = 0
    quota = Quota((configured, 60), in_flight=in_flight)
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        kept = runner.run(_local(quota))
        for windows in range(5, 30, 5):
            run_against(server, quota, windows=windows, look=look, kept=kept, runner=runner)
            # There is always progress.
            assert server.accepted > before
            before = server.accepted


async def _local(quota: Quota) -> LocalQuota:
    return LocalQuota(quota, asyncio.get_running_loop())
