"""Running a command's work: signals end it promptly, and whatever ends it becomes one line and an exit status."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import signal
import sys
import warnings
from collections.abc import Coroutine, Iterator
from types import FrameType
from typing import Any, NoReturn, TextIO

import attrs
import click

from clicksgroup.cli.console import abandon_stdout, say, writing
from clicksgroup.errors import ClicksGroupError, ConfigurationError, PaginationWarning, RequestError

VERBOSITY = "clicksgroup.verbosity"
"""Where the options leave in the context how much of the log is wanted."""

FAILED = 1
WRONG_USAGE = 2
INCOMPLETE = 3

MOST_WARNINGS = 10
"""Lines; a server that disagrees on every page would drown everything else."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


@attrs.define
class Resumption:
    """How work that ended early goes on.

    Args:
        advice: what to do then.
        begun: to be set when a request was sent.
    """

    advice: str
    begun: bool = False

    def helps(self, error: ClicksGroupError) -> bool:
        """Whether the work may get further another time."""
        # A store or a quota that failed before the first request was never usable: that is a matter of its setting.
        return error.retryable and (self.begun or isinstance(error, RequestError))


def run(work: Coroutine[Any, Any, int | None], resumption: Resumption | None = None) -> NoReturn:
    """Run a command's work and leave with its exit status.

    Args:
        work: what to do; it returns the exit status, None for 0.
        resumption: how it goes on where it stopped, if it does.
    """
    with guarded(resumption), _warnings_said(), _log_said():
        status = _run(work, resumption)
        sys.stdout.flush()
        sys.exit(status)


@contextlib.contextmanager
def guarded(resumption: Resumption | None = None) -> Iterator[None]:
    """Turn what ends the work into one line and an exit status."""
    try:
        yield
    except BrokenPipeError:  # whoever reads us has had enough
        abandon_stdout()
        sys.exit(0)
    except ConfigurationError as error:
        _fail(str(error), WRONG_USAGE)
    except ClicksGroupError as error:
        if resumption is not None and resumption.helps(error):
            _fail(f"{error}. What was fetched is kept: {resumption.advice}", INCOMPLETE)
        _fail(str(error), FAILED)
    except ImportError as error:  # a part whose extra is missing says which
        if "pip install" not in str(error):
            raise
        _fail(str(error), WRONG_USAGE)
    except OSError as error:
        abandon_stdout()
        what = error.filename or ("cannot write the output" if error.errno in _NO_ROOM else type(error).__name__)
        _fail(f"{what}: {error.strerror or error}", FAILED)


@contextlib.contextmanager
def _log_said() -> Iterator[None]:
    """The log on stderr: warnings as they are, with -v pauses of the quota, with -vv each request."""
    verbosity = click.get_current_context().meta.get(VERBOSITY, 0)
    logger, handler = logging.getLogger("clicksgroup"), _SayingHandler()
    level, propagate = logger.level, logger.propagate
    logger.setLevel((logging.WARNING, logging.INFO)[verbosity] if verbosity < 2 else logging.DEBUG)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.propagate = propagate
        logger.removeHandler(handler)


class _SayingHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(
            f"{record.levelname.lower()}: {record.getMessage()}",
            "yellow" if record.levelno >= logging.WARNING else None,
        )


def _run(work: Coroutine[Any, Any, int | None], resumption: Resumption | None) -> int:
    interruption = _Interruption()
    with asyncio.Runner() as runner:
        try:
            return runner.run(interruption.around(work)) or 0
        except BaseException:  # whatever ending early made of it
            if interruption.signal is None:
                raise
    abandon_stdout()
    say("interrupted" if resumption is None else f"interrupted; {resumption.advice}")
    return 128 + interruption.signal


class _Interruption:
    """SIGINT and SIGTERM cancel the work; they break off what a loop cannot see the end of, a write to a reader that
    does not read, and a second one breaks off whatever there is. One that is ignored, as SIGINT is of a command that a
    script put into the background, stays so.
    """

    def __init__(self) -> None:
        self.signal: int | None = None

    async def around(self, work: Coroutine[Any, Any, int | None]) -> int | None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def interrupt(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
            again, self.signal = self.signal is not None, signum
            if again:
                raise KeyboardInterrupt
            loop.call_soon_threadsafe(task.cancel)
            writing.forbid()

        writing.allow()
        before = {}
        for signum in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(signum) is signal.SIG_IGN:
                continue
            with contextlib.suppress(ValueError):  # not the main thread: then signals are somebody else's
                before[signum] = signal.signal(signum, interrupt)
        try:
            return await work
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)


@contextlib.contextmanager
def _warnings_said() -> Iterator[None]:
    """Warnings as lines on stderr, the first few of them."""
    said = 0

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,  # noqa: ARG001
        lineno: int,  # noqa: ARG001
        file: TextIO | None = None,  # noqa: ARG001
        line: str | None = None,  # noqa: ARG001
    ) -> None:
        nonlocal said
        said += 1
        if said <= MOST_WARNINGS or not issubclass(category, PaginationWarning):
            say(f"warning: {message}", "yellow")

    with warnings.catch_warnings():
        warnings.simplefilter("always", PaginationWarning)
        warnings.showwarning = show
        try:
            yield
        finally:
            if said > MOST_WARNINGS:
                say(f"… and {said - MOST_WARNINGS:,} more warnings", "yellow")


def _fail(message: str, status: int) -> NoReturn:
    say(f"error: {message}", "bold red")
    sys.exit(status)
