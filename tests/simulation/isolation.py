"""What makes a world repeat from its seed: no wall clock, no threads, one source of chance, no order by address."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import functools
import gc
import itertools
import logging
import pathlib
import random
import sqlite3
import sys
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import attrs

from clicksgroup import PaginationWarning
from clicksgroup.prefetching import Prefetcher
from clicksgroup.quota import file as quota_file
from clicksgroup.workers import Worker
from tests.simulation.bodies import START
from tests.simulation.loop import SerialTask, SimulationLoop
from tests.simulation.network import SerialProtocol
from tests.simulation.process import CURRENT, InlineQueue, NoThread


@attrs.define(eq=False)
class Isolation:
    """One world, apart from everything else.

    Attributes:
        seed: of all chance.
        trace: where log records become lines, or None.
        logs: whether the package logs at all.
        folder: what files are kept in, where there are any. No line shows it.
    """

    seed: int
    trace: list[str] | None
    logs: bool
    folder: pathlib.Path | None
    loop: SimulationLoop = attrs.field(init=False, factory=SimulationLoop)
    reported: list[str] = attrs.field(init=False, factory=list)

    @contextlib.contextmanager
    def active(self) -> Iterator[SimulationLoop]:
        """The world's loop, while nothing from outside reaches it."""
        state, collects, hook = random.getstate(), gc.isenabled(), sys.unraisablehook
        random.seed(self.seed)
        sys.unraisablehook = lambda args: self.reported.append(f"{args.exc_value!r} in {args.object!r}")
        gc.disable()
        try:
            with warnings.catch_warnings(), self._logging(), self._patches():
                warnings.simplefilter("error")
                warnings.simplefilter("ignore", PaginationWarning)
                yield self.loop
        finally:
            random.setstate(state)
            sys.unraisablehook = hook
            if collects:
                gc.enable()

    def shown(self, text: str) -> str:
        """A text without what differs from run to run."""
        return text if self.folder is None else text.replace(str(self.folder), "FOLDER")

    @contextlib.contextmanager
    def _logging(self) -> Iterator[None]:
        logger, handler = logging.getLogger("clicksgroup"), _Lines(self)
        level, propagate = logger.level, logger.propagate
        logger.setLevel(logging.DEBUG if self.logs or self.trace is not None else logging.CRITICAL)
        logger.propagate = False
        logger.addHandler(handler)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate

    @contextlib.contextmanager
    def _patches(self) -> Iterator[None]:
        SerialTask.numbers = itertools.count()
        SerialProtocol.numbers = itertools.count()
        with contextlib.ExitStack() as stack:
            for patch in (*self._order_and_time(), *(self._files() if self.folder is not None else ())):
                stack.enter_context(patch)
            yield

    def _now(self, tz: Any = None) -> datetime.datetime:
        return START + datetime.timedelta(seconds=self.loop.time())

    def _seconds_of(self, clock: int) -> float:
        return self.loop.time()

    def _order_and_time(self) -> Iterator[Any]:
        numbers = itertools.count()

        def serial(prefetcher: Any) -> int:
            number: int = prefetcher.__dict__.setdefault("_simulation_number", next(numbers))
            return number

        yield mock.patch.object(Worker, "__hash__", lambda worker: hash(worker._task))
        yield mock.patch.object(Prefetcher, "__hash__", serial)
        clock = SimpleNamespace(datetime=SimpleNamespace(now=self._now), UTC=datetime.UTC)
        yield mock.patch("clicksgroup.prefetching.datetime", clock)
        yield mock.patch("aiohttp.connector.monotonic", self.loop.time)

    def _files(self) -> Iterator[Any]:
        """For what keeps files: threads do their work at once, and the system's clocks are the world's."""
        yield mock.patch("aiosqlite.core.SimpleQueue", InlineQueue)
        yield mock.patch("aiosqlite.core.Thread", NoThread)
        yield mock.patch.object(asyncio, "to_thread", _inline)
        yield mock.patch.object(time, "monotonic", self.loop.time)
        yield mock.patch.object(time, "clock_gettime", self._seconds_of)
        yield mock.patch.object(uuid, "uuid4", _uuid4)
        yield mock.patch.object(quota_file, "open_private", _registering(quota_file.open_private))
        yield mock.patch.object(sqlite3, "connect", _registering(functools.partial(_connect, sqlite3.connect)))


def _uuid4() -> uuid.UUID:
    return uuid.UUID(int=random.getrandbits(128), version=4)


async def _inline(function: Callable[..., Any], *args: Any) -> Any:
    result = function(*args)
    await asyncio.sleep(0.0003)
    return result


def _connect(connect: Callable[..., sqlite3.Connection], *args: Any, **options: Any) -> sqlite3.Connection:
    """A connection that does not wait for locks: see `InlineQueue`."""
    return connect(*args, **options | {"timeout": 0})


def _registering(open_file: Callable[..., Any]) -> Callable[..., Any]:
    """The system closes the files of a process that dies, and so ends its locks."""

    def open_registered(*args: Any, **options: Any) -> Any:
        file = open_file(*args, **options)
        if (process := CURRENT.get()) is not None:
            process.files.append(file)
        return file

    return open_registered


class _Lines(logging.Handler):
    """Log records as lines of the trace."""

    def __init__(self, isolation: Isolation) -> None:
        super().__init__()
        self._isolation = isolation

    def emit(self, record: logging.LogRecord) -> None:
        text = self._isolation.shown(record.getMessage())
        if self._isolation.trace is not None:
            self._isolation.trace.append(f"{'':14} {record.levelname} {text}")
