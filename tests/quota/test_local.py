"""The quota of one event loop, in a loop whose clock costs nothing."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clicksgroup import ConfigurationError, Quota
from clicksgroup.quota import QuotaPausedError, Slot
from clicksgroup.quota.local import LocalQuota, local_quota
from clicksgroup.quota.shared import CLOCK_DRIFT, ORPHAN_HOLD
from tests.quota.checker import most_at_once, most_in_any_window
from tests.virtual_time import VirtualTimeLoop, in_virtual_time

OWNER = ("https://vivoldi.com:443", "digest of a key")


def make(*limits: tuple[int, float], in_flight: int = 1) -> LocalQuota:
    return LocalQuota(Quota(*limits, in_flight=in_flight), asyncio.get_running_loop())


def clock() -> float:
    return asyncio.get_running_loop().time()


def timers() -> int:
    loop = asyncio.get_running_loop()
    return sum(not handle.cancelled() for handle in loop._scheduled)  # type: ignore[attr-defined]


async def turns(number: int = 3) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def waiters(quota: LocalQuota, number: int, max_pause: float = math.inf) -> list[asyncio.Task[Slot]]:
    tasks = [asyncio.create_task(quota.acquire(max_pause)) for _ in range(number)]
    await turns(1)
    return tasks


def finish(slot: Slot) -> None:
    slot.answered()
    slot.release()


@in_virtual_time
async def test_the_first_requests_up_to_the_quota_go_at_once_and_the_next_a_window_after_the_first_answer() -> None:
    quota = make((24, 60), in_flight=24)
    slots = [await quota.acquire() for _ in range(24)]
    assert clock() == 0
    await asyncio.sleep(2)
    for slot in slots:
        finish(slot)
    await quota.acquire()
    assert clock() == pytest.approx(2 + 60 * CLOCK_DRIFT)


@in_virtual_time
async def test_first_come_first_served() -> None:
    quota = make((2, 10), in_flight=1)
    order = []

    async def caller(number: int) -> None:
        slot = await quota.acquire()
        order.append(number)
        await asyncio.sleep(random.random())
        finish(slot)

    await asyncio.gather(*(caller(number) for number in range(20)))
    assert order == list(range(20))


@in_virtual_time
async def test_nobody_overtakes_who_waits() -> None:
    """Not even who asks at the very moment at which time has made room."""
    quota = make((1, 10), in_flight=1)
    finish(await quota.acquire())
    (waiting,) = await waiters(quota, 1)
    asyncio.get_running_loop().now += 11  # type: ignore[attr-defined]
    late = asyncio.create_task(quota.acquire())
    finish(await waiting)
    assert not late.done()
    late.cancel()


@in_virtual_time
async def test_fifty_waiters_have_one_timer_and_none_is_left_when_they_are_gone() -> None:
    quota = make((1, 10), in_flight=50)
    finish(await quota.acquire())
    tasks = await waiters(quota, 50)
    assert timers() == 1
    for task in tasks:
        task.cancel()
    await turns()
    assert timers() == 0


@in_virtual_time
async def test_45_of_50_are_cancelled_and_the_other_five_go_in_order_and_no_slot_is_lost() -> None:
    quota = make((5, 10), in_flight=5)
    held = [await quota.acquire() for _ in range(5)]
    tasks = await waiters(quota, 50)
    stay = tasks[4::10]
    for task in tasks:
        if task not in stay:
            task.cancel()
    for slot in held:
        finish(slot)
    went: list[asyncio.Task[Slot]] = []
    for task in stay:
        task.add_done_callback(went.append)
    slots = await asyncio.gather(*stay)
    assert went == stay
    assert clock() == pytest.approx(10 * CLOCK_DRIFT)
    for slot in slots:
        finish(slot)
    await asyncio.sleep(11)
    assert [await quota.acquire() for _ in range(5)]
    assert clock() == pytest.approx(10 * CLOCK_DRIFT + 11)


@in_virtual_time
async def test_a_slot_that_reaches_a_waiter_as_it_is_cancelled_goes_to_the_next() -> None:
    quota = make(in_flight=1)
    slot = await quota.acquire()
    first, second = await waiters(quota, 2)
    finish(slot)
    first.cancel()  # the slot is granted, but it has not run yet
    await second
    assert first.cancelled()
    assert "1 of 1 in flight" in repr(quota)


@in_virtual_time
async def test_a_slot_is_not_wasted_on_a_waiter_that_was_cancelled_a_moment_ago() -> None:
    quota = make(in_flight=1)
    slot = await quota.acquire()
    first, second = await waiters(quota, 2)
    first.cancel()  # it has not run yet
    finish(slot)
    await second
    assert first.cancelled()


@in_virtual_time
async def test_a_refund_is_as_though_nothing_had_been_granted() -> None:
    quota = make((1, 10), in_flight=1)
    (await quota.acquire()).refund()
    await quota.acquire()
    assert clock() == 0


@in_virtual_time
async def test_a_request_that_is_given_up_without_an_answer_counts_from_that_moment() -> None:
    quota = make((1, 10), in_flight=1)
    slot = await quota.acquire()
    await asyncio.sleep(5)
    slot.release()
    await quota.acquire()
    assert clock() == pytest.approx(5 + 10 * CLOCK_DRIFT)


@in_virtual_time
async def test_an_abandoned_request_keeps_its_place_in_flight_for_a_while() -> None:
    quota = make(in_flight=1)
    (await quota.acquire()).abandon()
    await quota.acquire()
    assert clock() == pytest.approx(ORPHAN_HOLD)


@in_virtual_time
async def test_an_abandoned_request_may_be_counted_by_the_server_as_late_as_its_place_is_kept() -> None:
    quota = make((2, 10), in_flight=9)
    (await quota.acquire()).abandon()
    finish(await quota.acquire())
    await quota.acquire()
    assert clock() == pytest.approx(10 * CLOCK_DRIFT)
    await quota.acquire()
    assert clock() == pytest.approx(ORPHAN_HOLD + 10 * CLOCK_DRIFT)


@in_virtual_time
async def test_an_abandoned_request_that_was_answered_counts_from_its_answer() -> None:
    quota = make((1, 10), in_flight=9)
    slot = await quota.acquire()
    slot.answered()
    slot.abandon()
    await quota.acquire()
    assert clock() == pytest.approx(10 * CLOCK_DRIFT)


@in_virtual_time
async def test_what_is_said_twice_counts_once() -> None:
    quota = make((2, 10), in_flight=2)
    slot = await quota.acquire()
    for _ in range(2):
        slot.answered()
        slot.release()
        slot.refund()
        slot.abandon()
    assert repr(quota) == "<LocalQuota 0 of 2 in flight, 1 of 2 in 10 s, 0 waiting>"


@in_virtual_time
async def test_a_429_pauses_everybody_then_one_goes_first_and_the_rest_follow_when_it_passes() -> None:
    quota = make(in_flight=5)
    slot = await quota.acquire()
    slot.throttled(7)
    slot.release()
    tasks = await waiters(quota, 4)
    trial = await tasks[0]
    assert clock() == pytest.approx(7)
    await asyncio.sleep(1)
    assert not any(task.done() for task in tasks[1:])
    trial.answered()
    await asyncio.gather(*tasks)
    assert clock() == pytest.approx(8)


@in_virtual_time
@pytest.mark.parametrize("end", ["refund", "release", "abandon"])
async def test_a_probe_that_ends_without_an_answer_is_followed_by_another(end: str) -> None:
    quota = make(in_flight=9)
    slot = await quota.acquire()
    slot.throttled(7)
    slot.release()
    tasks = await waiters(quota, 3)
    getattr(await tasks[0], end)()
    second = await tasks[1]
    await turns()
    assert not tasks[2].done()
    finish(second)
    await tasks[2]


@in_virtual_time
async def test_the_answer_to_an_older_probe_does_not_end_a_newer_pause() -> None:
    quota = make(in_flight=5)
    first, second = await quota.acquire(), await quota.acquire()
    first.throttled(1)
    first.release()
    trial = await quota.acquire()
    second.throttled(10)
    second.release()
    tasks = await waiters(quota, 2)
    finish(trial)
    newer = await tasks[0]
    assert clock() == pytest.approx(11)
    await turns()
    assert not tasks[1].done()
    finish(newer)
    await tasks[1]


@in_virtual_time
async def test_of_two_pauses_the_later_end_counts() -> None:
    quota = make(in_flight=2)
    first, second = await quota.acquire(), await quota.acquire()
    first.throttled(10)
    second.throttled(1)
    first.release()
    second.release()
    await quota.acquire()
    assert clock() == pytest.approx(10)


@in_virtual_time
async def test_a_pause_longer_than_a_callers_patience_is_an_error_at_once() -> None:
    """For those who wait when it begins, and for those who ask while it lasts; it costs nothing."""
    quota = make(in_flight=1)
    slot = await quota.acquire()
    (hasty, patient) = [*await waiters(quota, 1, max_pause=3), *await waiters(quota, 1, max_pause=8)]
    slot.throttled(7)
    slot.release()
    with pytest.raises(QuotaPausedError) as raised:
        await hasty
    assert raised.value.seconds == pytest.approx(7)
    await asyncio.sleep(2)
    with pytest.raises(QuotaPausedError) as raised:
        await quota.acquire(max_pause=4)
    assert raised.value.seconds == pytest.approx(5)
    assert clock() == pytest.approx(2)
    finish(await patient)
    finish(await quota.acquire(max_pause=0))


@in_virtual_time
async def test_patience_is_for_pauses_and_not_for_windows() -> None:
    quota = make((1, 3600), in_flight=1)
    finish(await quota.acquire(max_pause=1))
    await quota.acquire(max_pause=1)
    assert clock() == pytest.approx(3600 * CLOCK_DRIFT)


@in_virtual_time
async def test_who_is_cancelled_as_a_pause_turns_him_away_stays_cancelled() -> None:
    quota = make(in_flight=1)
    slot = await quota.acquire()
    (hasty,) = await waiters(quota, 1, max_pause=3)
    slot.throttled(7)
    hasty.cancel()
    await turns()
    assert hasty.cancelled()


def test_a_pause_is_told_when_it_begins_and_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    @in_virtual_time
    async def pause() -> None:
        quota = make(in_flight=1)
        slot = await quota.acquire()
        slot.throttled(7)
        slot.release()
        finish(await quota.acquire())

    with caplog.at_level(logging.INFO, "clicksgroup"):
        pause()
    begins, ends = (record.getMessage() for record in caplog.records)
    assert "7.0 s" in begins
    assert "over" in ends


@in_virtual_time
async def test_its_repr_shows_what_is_going_on() -> None:
    quota = make((3, 10), in_flight=1)
    finish(await quota.acquire())
    slot = await quota.acquire()
    await waiters(quota, 1)
    slot.throttled(5)
    assert repr(quota) == "<LocalQuota 1 of 1 in flight, 2 of 3 in 10 s, 1 waiting, paused for 5.0 s>"


@in_virtual_time
async def test_who_shares_an_owner_shares_a_quota_and_nobody_else() -> None:
    quota = Quota((1, 10))
    async with local_quota(quota, OWNER) as kept:
        assert local_quota(quota, OWNER) is kept
        assert local_quota(quota, (OWNER[0], "another key")) is not kept
        assert local_quota(quota, ("https://example.com:443", OWNER[1])) is not kept


@in_virtual_time
async def test_another_quota_for_the_same_owner_is_refused() -> None:
    async with local_quota(Quota((1, 10)), OWNER):
        with pytest.raises(ConfigurationError, match=r"quota: Quota\(\(1, 10.0\), in_flight=1\) is kept"):
            local_quota(Quota((2, 10)), OWNER)


@in_virtual_time
async def test_a_quota_outlives_its_users_as_long_as_its_windows_remember_anything() -> None:
    quota = Quota((1, 10))
    async with local_quota(quota, OWNER) as kept:
        finish(await kept.acquire())
    await asyncio.sleep(9)
    assert local_quota(quota, OWNER) is kept
    await asyncio.sleep(2)
    assert local_quota(Quota((2, 10)), OWNER) is not kept


@in_virtual_time
async def test_a_quota_outlives_its_users_as_long_as_it_is_paused() -> None:
    quota = Quota()
    async with local_quota(quota, OWNER) as kept:
        slot = await kept.acquire()
        slot.throttled(10)
        slot.release()
    await asyncio.sleep(9)
    assert local_quota(quota, OWNER) is kept


def test_each_loop_has_its_own() -> None:
    kept = []
    for _ in range(2):
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:

            async def ask() -> None:
                async with local_quota(Quota((1, 10)), OWNER) as quota:
                    finish(await quota.acquire())
                    kept.append(quota)

            runner.run(ask())
    assert kept[0] is not kept[1]


def moments(rng: random.Random) -> Iterator[float]:
    while True:
        yield rng.choice([0.0, rng.random() * 0.2, rng.random() * 3])


@settings(max_examples=150, deadline=None)
@given(
    limits=st.lists(st.tuples(st.integers(1, 5), st.sampled_from([0.5, 2.0, 10.0])), max_size=2),
    in_flight=st.integers(1, 3),
    seed=st.integers(0, 2**32),
)
def test_callers_who_fail_in_every_way_never_break_the_quota(
    limits: list[tuple[int, float]], in_flight: int, seed: int
) -> None:
    """Whatever becomes of them, all who stay go in their order, and the whole quota is there in the end."""
    rng = random.Random(seed)
    wait = moments(rng)
    arrivals: list[float] = []
    spans: list[tuple[float, float]] = []
    went: list[int] = []

    async def caller(quota: LocalQuota, number: int) -> None:
        slot = await quota.acquire()
        went.append(number)
        fate = rng.choice(["answer"] * 6 + ["refund", "give up", "429", "abandon"])
        try:
            await asyncio.sleep(next(wait))
            if fate == "refund":
                return slot.refund()
            began = clock()
            arrivals.append(began)
            await asyncio.sleep(next(wait))
            spans.append((began, clock()))
            if fate == "answer":
                slot.answered()
            elif fate == "429":
                slot.throttled(next(wait))
            if fate == "abandon":
                slot.abandon()
            else:
                slot.release()
        except asyncio.CancelledError:
            slot.release()
            raise

    @in_virtual_time
    async def simulation() -> None:
        quota = make(*limits, in_flight=in_flight)
        tasks = []
        for number in range(40):
            tasks.append(asyncio.create_task(caller(quota, number)))
            await asyncio.sleep(next(wait) / 4)
            if rng.random() < 0.3:
                rng.choice(tasks).cancel()
        await asyncio.wait(tasks)
        await asyncio.sleep(100)
        assert not quota.remembers()
        slots = [await quota.acquire() for _ in range(1)]
        for slot in slots:
            finish(slot)

    simulation()
    assert went == sorted(went)
    for count, window in limits:
        assert most_in_any_window(arrivals, window) <= count
    assert most_at_once(spans) <= in_flight
