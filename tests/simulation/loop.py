"""The event loop of a world: its clock jumps to the next timer, and everything in it repeats from the seed."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

from tests.virtual_time import VirtualTimeLoop

MAX_STEPS = 3_000_000
"""Turns of the loop. A world takes thousands; more means that a task spins."""

MAX_SECONDS = 40 * 86_400.0
"""Virtual seconds. The longest worlds take days; more means that nothing progresses."""


class StuckError(Exception):
    """The world does not come to an end."""


class SerialTask(asyncio.Task[Any]):
    """A task whose hash is its number, so that sets of tasks have the same order in every run."""

    numbers = itertools.count()

    def __init__(self, coro: Coroutine[Any, Any, Any], **options: Any) -> None:
        self.number = next(SerialTask.numbers)
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self.number


class SimulationLoop(VirtualTimeLoop):
    """Notes what asyncio would log, and stops where a world does not end."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0
        self.reported: list[str] = []
        # Called with each new task.
        self.on_task: Callable[[SerialTask], None] = lambda task: None
        self.set_task_factory(self._make_task)  # type: ignore[arg-type]
        self.set_exception_handler(self._note)

    def live_timers(self) -> list[asyncio.TimerHandle]:
        """The timers that have not fired and were not cancelled."""
        return [handle for handle in self._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]

    def handles(self) -> list[asyncio.Handle]:
        """Everything that the loop is going to run."""
        return [*self._ready, *self._scheduled]  # type: ignore[attr-defined]

    def _run_once(self) -> None:
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise StuckError(f"no end after {MAX_STEPS:,} turns of the loop, at {self.now:.1f} s")
        if self.now > MAX_SECONDS:
            raise StuckError(f"no end after {self.now:,.0f} s")
        super()._run_once()  # type: ignore[misc]

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], *, context: Context | None = None
    ) -> SerialTask:
        task = SerialTask(coro, loop=loop, context=context)
        self.on_task(task)
        return task

    def _note(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.reported.append(f"{context['message']}: {error!r}" if error is not None else context["message"])
