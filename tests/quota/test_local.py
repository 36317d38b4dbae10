"""The quota of one event loop, in virtual time."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clicksgroup import ConfigurationError, Quota
from clicksgroup.quota import QuotaPausedError, Slot
from clicksgroup.quota.ledger import CLOCK_DRIFT, ORPHAN_HOLD
from clicksgroup.quota.local import FORGET_AFTER, LocalQuota, local_quota
from tests.checker import most_at_once, most_in_any_window
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
async def test_window() -> None:
    """The first requests up to the quota start at once, the next one a window after the first answer."""
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
    """Callers are served in the order in which they came."""
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
async def test_no_overtaking() -> None:
    """A caller that comes at the moment at which time has made room does not overtake one that waits."""
    quota = make((1, 10), in_flight=1)
    finish(await quota.acquire())
    (waiting,) = await waiters(quota, 1)
    asyncio.get_running_loop().now += 11  # type: ignore[attr-defined]
    late = asyncio.create_task(quota.acquire())
    finish(await waiting)
    assert not late.done()
    late.cancel()


@in_virtual_time
async def test_one_timer() -> None:
    """Fifty callers that wait need one timer, and none is left when they are gone."""
    quota = make((1, 10), in_flight=50)
    finish(await quota.acquire())
    tasks = await waiters(quota, 50)
    assert timers() == 1
    for task in tasks:
        task.cancel()
    await turns()
    assert timers() == 0


@in_virtual_time
async def test_cancelled_callers() -> None:
    """45 of 50 callers are cancelled: the other five are served in order, and no slot is lost."""
    quota = make((5, 10), in_flight=5)
    held = [await quota.acquire() for _ in range(5)]
    tasks = await waiters(quota, 50)
    remaining = tasks[4::10]
    for task in tasks:
        if task not in remaining:
            task.cancel()
    for slot in held:
        finish(slot)
    served: list[asyncio.Task[Slot]] = []
    for task in remaining:
        task.add_done_callback(served.append)
    slots = await asyncio.gather(*remaining)
    assert served == remaining
    assert clock() == pytest.approx(10 * CLOCK_DRIFT)
    for slot in slots:
        finish(slot)
    await asyncio.sleep(11)
    assert [await quota.acquire() for _ in range(5)]
    assert clock() == pytest.approx(10 * CLOCK_DRIFT + 11)


@in_virtual_time
async def test_cancelled_after_grant() -> None:
    """A slot that was granted to a caller as it is cancelled goes to the next one."""
    quota = make(in_flight=1)
    slot = await quota.acquire()
    first, second = await waiters(quota, 2)
    finish(slot)
    first.cancel()
    await second
    assert first.cancelled()
    assert "1 of 1 in flight" in repr(quota)


@in_virtual_time
async def test_cancelled_before_grant() -> None:
    """No slot is granted to a caller that was cancelled but has not run yet."""
    quota = make(in_flight=1)
    slot = await quota.acquire()
    first, second = await waiters(quota, 2)
    first.cancel()
    finish(slot)
    await second
    assert first.cancelled()


@in_virtual_time
async def test_refund() -> None:
    """A refunded slot counts as never granted."""
    quota = make((1, 10), in_flight=1)
    (await quota.acquire()).refund()
    await quota.acquire()
    assert clock() == 0


@in_virtual_time
async def test_release_without_answer() -> None:
    """A request that is given up without an answer counts from that moment."""
    quota = make((1, 10), in_flight=1)
    slot = await quota.acquire()
    await asyncio.sleep(5)
    slot.release()
    await quota.acquire()
    assert clock() == pytest.approx(5 + 10 * CLOCK_DRIFT)


@in_virtual_time
async def test_abandoned_in_flight() -> None:
    """An abandoned request counts as in flight for a while."""
    quota = make(in_flight=1)
    (await quota.acquire()).abandon()
    await quota.acquire()
    assert clock() == pytest.approx(ORPHAN_HOLD)


@in_virtual_time
async def test_abandoned_in_window() -> None:
    """The windows count an abandoned request from the moment at which it is no longer in flight."""
    quota = make((2, 10), in_flight=9)
    (await quota.acquire()).abandon()
    finish(await quota.acquire())
    await quota.acquire()
    assert clock() == pytest.approx(10 * CLOCK_DRIFT)
    await quota.acquire()
    assert clock() == pytest.approx(ORPHAN_HOLD + 10 * CLOCK_DRIFT)


@in_virtual_time
async def test_abandoned_after_answer() -> None:
    """The windows count an abandoned request that was answered from its answer."""
    quota = make((1, 10), in_flight=9)
    slot = await quota.acquire()
    slot.answered()
    slot.abandon()
    await quota.acquire()
    assert clock() == pytest.approx(10 * CLOCK_DRIFT)


@in_virtual_time
@pytest.mark.parametrize("end", [finish, Slot.abandon])
async def test_forgets(end: Callable[[Slot], None]) -> None:
    """A quota that is used for long keeps no more answers and slots than its windows need, or a thousand."""
    quota = make((24, 60), in_flight=8)
    for _ in range(2 * FORGET_AFTER):
        end(await quota.acquire())
        await asyncio.sleep(2.6)
    ledger = quota._memory.ledger
    assert max(len(ledger.places), len(ledger.answered)) <= FORGET_AFTER + 1


@in_virtual_time
async def test_repeated_reports() -> None:
    """A report that is repeated changes nothing."""
    quota = make((2, 10), in_flight=2)
    slot = await quota.acquire()
    for _ in range(2):
        slot.answered()
        slot.release()
        slot.refund()
        slot.abandon()
    assert repr(quota) == "<LocalQuota 0 of 2 in flight, 1 of 2 in 10 s, 0 waiting>"


@in_virtual_time
async def test_pause() -> None:
    """A 429 pauses all callers; then one trial request starts, and the others follow when it passes."""
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
async def test_trial_without_answer(end: str) -> None:
    """A trial request that ends without an answer is followed by another trial."""
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
async def test_older_trial() -> None:
    """The answer to an older trial request does not end a newer pause."""
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
async def test_two_pauses() -> None:
    """Of two pauses the later end counts."""
    quota = make(in_flight=2)
    first, second = await quota.acquire(), await quota.acquire()
    first.throttled(10)
    second.throttled(1)
    first.release()
    second.release()
    await quota.acquire()
    assert clock() == pytest.approx(10)


@in_virtual_time
async def test_max_pause() -> None:
    """A pause longer than `max_pause` is an error at once, for callers that wait and for callers that come."""
    quota = make(in_flight=1)
    slot = await quota.acquire()
    (refused, waiting) = [*await waiters(quota, 1, max_pause=3), *await waiters(quota, 1, max_pause=8)]
    slot.throttled(7)
    slot.release()
    with pytest.raises(QuotaPausedError) as raised:
        await refused
    assert raised.value.seconds == pytest.approx(7)
    await asyncio.sleep(2)
    with pytest.raises(QuotaPausedError) as raised:
        await quota.acquire(max_pause=4)
    assert raised.value.seconds == pytest.approx(5)
    assert clock() == pytest.approx(2)
    finish(await waiting)
    finish(await quota.acquire(max_pause=0))


@in_virtual_time
async def test_max_pause_and_windows() -> None:
    """`max_pause` does not limit how long a caller waits for a window."""
    quota = make((1, 3600), in_flight=1)
    finish(await quota.acquire(max_pause=1))
    await quota.acquire(max_pause=1)
    assert clock() == pytest.approx(3600 * CLOCK_DRIFT)


@in_virtual_time
async def test_cancelled_and_refused() -> None:
    """A caller that is cancelled as a pause refuses it stays cancelled."""
    quota = make(in_flight=1)
    slot = await quota.acquire()
    (refused,) = await waiters(quota, 1, max_pause=3)
    slot.throttled(7)
    refused.cancel()
    await turns()
    assert refused.cancelled()


def test_pause_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A pause is logged when it begins and when it ends."""

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
async def test_repr() -> None:
    """The repr shows the live state."""
    quota = make((3, 10), in_flight=1)
    finish(await quota.acquire())
    slot = await quota.acquire()
    await waiters(quota, 1)
    slot.throttled(5)
    assert repr(quota) == "<LocalQuota 1 of 1 in flight, 2 of 3 in 10 s, 1 waiting, paused for 5.0 s>"


@in_virtual_time
async def test_owner() -> None:
    """Origin and key together own one quota."""
    quota = Quota((1, 10))
    async with local_quota(quota, OWNER) as kept:
        assert local_quota(quota, OWNER) is kept
        assert local_quota(quota, (OWNER[0], "another key")) is not kept
        assert local_quota(quota, ("https://example.com:443", OWNER[1])) is not kept


@in_virtual_time
async def test_different_quotas() -> None:
    """A different quota for the same owner is refused."""
    async with local_quota(Quota((1, 10)), OWNER):
        with pytest.raises(ConfigurationError, match=r"quota: Quota\(\(1, 10.0\), in_flight=1\) is already in force"):
            local_quota(Quota((2, 10)), OWNER)


@in_virtual_time
async def test_outlives_users() -> None:
    """A quota outlives its users for as long as its windows count anything."""
    quota = Quota((1, 10))
    async with local_quota(quota, OWNER) as kept:
        finish(await kept.acquire())
    await asyncio.sleep(9)
    assert local_quota(quota, OWNER) is kept
    await asyncio.sleep(2)
    assert local_quota(Quota((2, 10)), OWNER) is not kept


@in_virtual_time
async def test_outlives_users_while_paused() -> None:
    """A quota outlives its users for as long as it is paused."""
    quota = Quota()
    async with local_quota(quota, OWNER) as kept:
        slot = await kept.acquire()
        slot.throttled(10)
        slot.release()
    await asyncio.sleep(9)
    assert local_quota(quota, OWNER) is kept


def test_event_loops() -> None:
    """Each event loop has a quota of its own."""
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
@example(limits=[], in_flight=2, seed=462773831)
@given(
    limits=st.lists(st.tuples(st.integers(1, 5), st.sampled_from([0.5, 2.0, 10.0])), max_size=2),
    in_flight=st.integers(1, 3),
    seed=st.integers(0, 2**32),
)
def test_keeps_quota(limits: list[tuple[int, float]], in_flight: int, seed: int) -> None:
    """The quota is kept, nobody is served later than a caller that came after, and no slot is lost.

    In one moment of the clock the order may change: a caller with a free slot goes on at once, a waiting one a turn of
    the loop later.
    """
    rng = random.Random(seed)
    wait = moments(rng)
    arrivals: list[float] = []
    spans: list[tuple[float, float]] = []
    served: dict[int, float] = {}

    async def caller(quota: LocalQuota, number: int) -> None:
        slot = await quota.acquire()
        served[number] = clock()
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
        forecast = quota.forecast()
        assert (forecast.answered, forecast.unanswered) == ((), 0)
        assert f" 0 of {in_flight} in flight" in repr(quota)
        finish(await quota.acquire())

    simulation()
    times = [served[number] for number in sorted(served)]
    assert times == sorted(times)
    for count, window in limits:
        assert most_in_any_window(arrivals, window) <= count
    assert most_at_once(spans) <= in_flight


def test_wait_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A wait for the quota that is longer than a second is logged once, in the words of the repr."""
    reprs: list[str] = []

    @in_virtual_time
    async def wait() -> None:
        quota = make((2, 60), in_flight=1)
        for _ in range(2):
            finish(await quota.acquire())
        await asyncio.sleep(9)
        (waiting,) = await waiters(quota, 1)
        await waiters(quota, 1)
        assert quota.wait_status() == "quota used up (2 of 2 in 60 s), next request in 52 s"
        reprs.append(repr(quota))
        await waiting

    with caplog.at_level(logging.INFO, "clicksgroup"):
        wait()
    assert [record.getMessage() for record in caplog.records] == [
        "quota used up (2 of 2 in 60 s), next request in 52 s"
    ]
    assert "quota used up (2 of 2 in 60 s), next request in 52 s" in reprs[0]
