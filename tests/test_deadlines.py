"""Bounds in time: each work is stopped at its own moment, whoever else is under way, and with one timer for all."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clicksgroup.deadlines import Deadlines
from tests.virtual_time import VirtualTimeLoop, in_virtual_time


class Works:
    """Works that take a while, each with a bound; what became of them and when."""

    def __init__(self) -> None:
        self.deadlines = Deadlines()
        self.loop = asyncio.get_running_loop()

    async def work(self, start: float, bound: float, lasts: float) -> tuple[str, float]:
        await asyncio.sleep(start)
        began = self.loop.time()
        try:
            with self.deadlines.within(bound):
                await asyncio.sleep(lasts)
        except TimeoutError:
            return "late", self.loop.time() - began
        return "done", self.loop.time() - began


_seconds = st.integers(1, 40)


@given(st.lists(st.tuples(_seconds, _seconds, _seconds).filter(lambda work: work[1] != work[2]), max_size=8))
def test_each_is_stopped_at_its_own_time_and_no_other(works: list[tuple[int, int, int]]) -> None:
    async def run() -> list[tuple[str, float]]:
        team = Works()
        return list(await asyncio.gather(*(team.work(*work) for work in works)))

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        became = runner.run(run())
    expected = [("late" if lasts > bound else "done", min(bound, lasts)) for _, bound, lasts in works]
    assert [(what, round(when, 6)) for what, when in became] == expected


@in_virtual_time
async def test_works_that_end_in_time_share_a_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred works of a second, one after the other, within thirty each: it rings every thirty seconds or so."""
    team = Works()
    timers: list[float] = []
    call_at = team.loop.call_at

    def counting(when: float, callback: Any, *args: Any, **kwargs: Any) -> asyncio.TimerHandle:
        if callback == team.deadlines._ring:
            timers.append(when)
        return call_at(when, callback, *args, **kwargs)

    monkeypatch.setattr(team.loop, "call_at", counting)
    for _ in range(100):
        assert (await team.work(0, 30, 1))[0] == "done"
    assert 1 <= len(timers) <= 5


def test_uvloop_counts_milliseconds() -> None:
    """It rings half a millisecond early, and what it is to do at once has no moment at all."""
    uvloop = pytest.importorskip("uvloop")

    async def run() -> list[tuple[str, float]]:
        team = Works()
        works = (team.work(number / 997, 0.05, 0.2 if number % 2 else 0.01) for number in range(200))
        return list(await asyncio.gather(*works))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        became = runner.run(run())
    assert [what for what, _ in became[1::2]] == ["late"] * 100
    assert all(when > 0.0495 for what, when in became if what == "late")


@in_virtual_time
async def test_a_cancellation_that_was_caught_comes_again() -> None:
    """Somebody in between caught it and goes on: not for long, and it is late all the same."""
    deadlines = Deadlines()

    async def work() -> None:
        with deadlines.within(1) as deadline:
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                deadline.pause()
                raise AssertionError from None

    with pytest.raises(TimeoutError):
        await work()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@in_virtual_time
async def test_somebody_elses_cancellation_is_none_of_ours() -> None:
    """Before the deadline, and at the very same moment: the task is cancelled, not late."""
    for moment in (1, 2):
        deadlines = Deadlines()

        async def work(deadlines: Deadlines = deadlines) -> None:
            with deadlines.within(2):
                await asyncio.sleep(10)

        task = asyncio.create_task(work())
        task.get_loop().call_later(moment, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()


@in_virtual_time
async def test_a_task_that_was_late_is_not_cancelled_any_more() -> None:
    """What is awaited after it, runs; a bound around it keeps its own count."""
    deadlines = Deadlines()
    async with asyncio.timeout(100):
        with pytest.raises(TimeoutError), deadlines.within(1):
            await asyncio.sleep(10)
        await asyncio.sleep(10)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@in_virtual_time
async def test_an_error_goes_on_its_way() -> None:
    with pytest.raises(ZeroDivisionError), Deadlines().within(1):
        raise ZeroDivisionError


@in_virtual_time
async def test_a_pause_does_not_count() -> None:
    """After it all the seconds count anew."""
    loop = asyncio.get_running_loop()

    async def work() -> None:
        with Deadlines().within(5) as deadline:
            await asyncio.sleep(4)
            deadline.pause()
            await asyncio.sleep(50)
            deadline.resume()
            await asyncio.sleep(50)

    with pytest.raises(TimeoutError):
        await work()
    assert round(loop.time(), 6) == 59


@in_virtual_time
async def test_closed_they_leave_no_timer() -> None:
    deadlines = Deadlines()
    with deadlines.within(5):
        pass
    assert deadlines._timer is not None
    timer = deadlines._timer
    deadlines.close()
    deadlines.close()
    assert timer.cancelled()
    assert deadlines._timer is None
