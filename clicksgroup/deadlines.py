"""Bounds in time for many short works at once, with one timer for all.

`asyncio.timeout` sets a timer for each and takes it back. Here it stays where it is, since most works end long before
their time is up: when it rings, it looks for one whose time is, and is set anew for the next.
"""

from __future__ import annotations

import asyncio
import math
from types import TracebackType
from typing import Self

TICK = 0.001
"""Seconds until the timer rings again, at the least: uvloop counts whole milliseconds, and rings half of one early."""


class Deadlines:
    """All that are under way in one event loop. It is made in that loop, and holds on to it until `close`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._running: set[Deadline] = set()
        self._timer: asyncio.Handle | None = None
        self._rings_at = math.inf

    def within(self, seconds: float) -> Deadline:
        """A context for what the current task does: like `asyncio.timeout`, it raises `TimeoutError`."""
        return Deadline(self, seconds)

    def close(self) -> None:
        """Take the timer back: nothing is under way any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._rings_at = None, math.inf

    def _add(self, deadline: Deadline) -> None:
        if deadline._when < self._rings_at:
            self._set_timer(deadline._when)
        self._running.add(deadline)

    def _set_timer(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._rings_at = self._loop.call_at(when, self._ring), when

    def _ring(self) -> None:
        self._timer, self._rings_at = None, math.inf
        now = self._loop.time()
        for deadline in [deadline for deadline in self._running if deadline._when <= now]:
            deadline._pass()
        if self._running:
            self._set_timer(max(min(deadline._when for deadline in self._running), now + TICK))


class Deadline:
    """One of them. The task is cancelled when its time is up; that becomes a `TimeoutError` on the way out, unless
    somebody else has cancelled the task too.
    """

    __slots__ = ("_cancelling", "_deadlines", "_passed", "_seconds", "_task", "_when")

    def __init__(self, deadlines: Deadlines, seconds: float) -> None:
        self._deadlines = deadlines
        self._seconds = seconds
        self._passed = False

    def __enter__(self) -> Self:
        task = asyncio.current_task(self._deadlines._loop)
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self.resume()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._deadlines._running.discard(self)
        if self._passed and self._task.uncancel() <= self._cancelling and exc_type is asyncio.CancelledError:
            raise TimeoutError from exc

    def pause(self) -> None:
        """Stop counting."""
        if self._passed:  # and somebody has caught the cancellation
            raise asyncio.CancelledError
        self._deadlines._running.discard(self)

    def resume(self) -> None:
        """Count, all the seconds anew."""
        self._when = self._deadlines._loop.time() + self._seconds
        self._deadlines._add(self)

    def _pass(self) -> None:
        self._deadlines._running.discard(self)
        self._passed = True
        self._task.cancel()
