"""A process of a world: what it holds is gone at once when it is killed, as with SIGKILL."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import sqlite3
from collections.abc import Callable, Collection, Coroutine
from typing import Any, Protocol

import attrs

from tests.simulation.loop import SerialTask, SimulationLoop

CURRENT: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)
"""The process that the running code belongs to; None for the vendor and for what cannot be killed."""

STATEMENT = 0.0005
"""Seconds that a statement on SQLite takes."""


BUSY_INTERVAL = 0.01
BUSY_ATTEMPTS = 3000
"""Seconds between attempts, and how many there are, while another connection has the lock: 30 s, as the store says."""


class Closable(Protocol):
    """A file, or whatever the system closes when a process dies."""

    def close(self) -> None: ...


@attrs.define(eq=False)
class Process:
    """Tasks, timers, connections, databases and files that die together.

    Attributes:
        dead: whether it was killed.
        vanish: what is called where it dies, so that the vendor sees its connections end.
        files: what the system closes.
        on_statement: called before each statement on SQLite.
    """

    loop: SimulationLoop
    dead: bool = False
    vanish: list[Callable[[], None]] = attrs.field(factory=list)
    files: list[Closable] = attrs.field(factory=list)
    on_statement: Callable[[], None] = lambda: None
    tasks: list[SerialTask] = attrs.field(factory=list)

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine, and all that it starts, in this process."""
        context = contextvars.copy_context()
        context.run(CURRENT.set, self)
        return context.run(asyncio.create_task, work)

    def adopt(self, task: SerialTask) -> None:
        """Take a task that was started in this process."""
        self.tasks.append(task)

    def kill(self) -> None:
        """Let nothing of it run any more: no handler, no `finally`, no rollback of its own."""
        if self.dead:
            return
        self.dead = True
        for handle in self.loop.handles():
            if handle._context.get(CURRENT) is self:  # type: ignore[attr-defined]
                handle.cancel()
        for vanish in self.vanish:
            vanish()
        # Cursors before their connections: one that is open keeps the locks of a connection that was closed.
        for file in reversed(self.files):
            file.close()
        keep_for_ever(self.tasks)


def keep_for_ever(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Let nothing finalize these tasks, since the `finally` blocks of their coroutines would run."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(tasks))


class InlineQueue:
    """Stands for the queue of aiosqlite's thread: what is put into it is done at once, and its result comes later."""

    def put_nowait(self, item: tuple[asyncio.Future[Any] | None, Callable[[], Any]]) -> None:
        process = CURRENT.get()
        if process is not None:
            process.on_statement()
        self._do(*item, attempts=BUSY_ATTEMPTS)

    def _do(self, future: asyncio.Future[Any] | None, function: Callable[[], Any], attempts: int) -> None:
        process = CURRENT.get()
        try:
            result, error = function(), None
        except Exception as raised:
            if "locked" in str(raised) and attempts and future is not None:
                # SQLite itself would stop this thread, and with it the connection that has the lock.
                future.get_loop().call_later(BUSY_INTERVAL, self._do, future, function, attempts - 1)
                return
            result, error = None, raised
        if isinstance(result, sqlite3.Cursor) and process is not None:
            process.files.append(result)
        if future is not None:
            future.get_loop().call_later(STATEMENT, _resolve, future, result, error)


class NoThread:
    """Stands for aiosqlite's thread."""

    daemon = True

    def __init__(self, *args: Any, **options: Any) -> None:
        """Take what a thread takes."""

    def start(self) -> None:
        """Start nothing."""


def _resolve(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if not future.done():
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)
