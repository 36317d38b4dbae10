"""Running a command: signals end it, and each way to end has an exit status and one line on stderr."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import logging
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Coroutine, Iterator
from types import FrameType
from typing import Any, Concatenate, NoReturn, ParamSpec

import attrs
import click

from clicksgroup.cli.console import VERBOSITY, discard, is_quiet, say
from clicksgroup.errors import ClicksGroupError, ConfigurationError, PaginationWarning, RequestError

P = ParamSpec("P")
Work = Coroutine[Any, Any, int | None]

FAILED = 1
WRONG_USAGE = 2
INCOMPLETE = 3

MAX_WARNINGS = 10
"""Lines. A server that disagrees on every page would hide everything else."""

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


@attrs.define
class Resumption:
    """How to continue work that ended early. The work sets both.

    Args:
        advice: what the user should do; empty where the work cannot be continued.
        begun: whether a request was sent.
    """

    advice: str = ""
    begun: bool = False

    def helps(self, error: ClicksGroupError) -> bool:
        """Whether the work may get further if it is run again."""
        # A store or a quota that fails before the first request has wrong settings, which time does not repair.
        return bool(self.advice) and error.retryable and (self.begun or isinstance(error, RequestError))


TERMINATING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Signals that end the work as SIGINT does. SIGHUP comes when its terminal is closed, unless `nohup` ignores it."""


class Terminated(KeyboardInterrupt):
    """Another signal than SIGINT ended the work."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def run_async(command: Callable[P, Work]) -> Callable[P, None]:
    """Make a command of a coroutine function: it runs, and the process exits with its status."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        run(command(*args, **kwargs))

    return wrapped


def run_resumable(command: Callable[Concatenate[Resumption, P], Work]) -> Callable[P, None]:
    """The same, for a command that can say how to continue it."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        resumption = Resumption()
        run(command(resumption, *args, **kwargs), resumption)

    return wrapped


def run(work: Work, resumption: Resumption | None = None) -> NoReturn:
    """Run a command's work, which returns its exit status (None for 0), and exit with it."""
    with exit_on_error(resumption), _warnings_on_stderr(), _log_on_stderr():
        status = _run_until_signal(work)
        sys.stdout.flush()
        sys.exit(status or 0)


@contextlib.contextmanager
def exit_on_error(resumption: Resumption | None = None) -> Iterator[None]:
    """Turn an error or a signal into one line on stderr and an exit status."""
    resumption = resumption or Resumption()
    try:
        yield
    except BrokenPipeError:
        # The reader of stdout, such as `head`, has read enough.
        discard(sys.stdout)
        sys.exit(0)
    except KeyboardInterrupt as interrupt:
        discard(sys.stdout)
        say(f"interrupted; {resumption.advice}" if resumption.advice else "interrupted")
        sys.exit(128 + (interrupt.signum if isinstance(interrupt, Terminated) else signal.SIGINT))
    except click.ClickException as error:
        _exit_on_click_error(error)
    except ConfigurationError as error:
        _fail(str(error), WRONG_USAGE)
    except ClicksGroupError as error:
        text = "; ".join([str(error), *getattr(error, "__notes__", ())])
        if resumption.helps(error):
            _fail(f"{text}. Everything fetched so far is stored: {resumption.advice}", INCOMPLETE)
        _fail(text, FAILED)
    except ImportError as error:
        # An extra that is missing says how to install it. Any other failed import is a bug.
        if "pip install" not in str(error):
            raise
        _fail(str(error), WRONG_USAGE)
    except OSError as error:
        discard(sys.stdout)
        what = error.filename or ("cannot write the output" if error.errno in _DISK_ERRORS else type(error).__name__)
        _fail(f"{what}: {error.strerror or error}", FAILED)


def _exit_on_click_error(error: click.ClickException) -> NoReturn:
    # The command alone, without arguments.
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        sys.exit(error.exit_code)
    context = getattr(error, "ctx", None)
    help_at = f" (see: {context.command_path} --help)" if context is not None else ""
    _fail(f"{error.format_message()}{help_at}", error.exit_code)


def _fail(message: str, status: int) -> NoReturn:
    say(f"error: {message}", "bold red")
    sys.exit(status)


def _run_until_signal(work: Work) -> int | None:
    """Run work to its end. The first signal cancels it, the second aborts it.

    Raises:
        KeyboardInterrupt: SIGINT ended it.
        Terminated: another signal ended it.
    """
    received = signal.SIGTERM

    async def main() -> int | None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def terminate(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
            nonlocal received
            received = signal.Signals(signum)
            if task.cancelling():
                raise Terminated(signum)
            task.cancel()
            # The event loop may be asleep.
            loop.call_soon_threadsafe(lambda: None)

        # The Runner handles SIGINT alone. This is not the event loop's own handler, because that one could not abort
        # code that blocks the event loop.
        with contextlib.ExitStack() as stack:
            for signum in TERMINATING:
                stack.enter_context(_signal_handler(signum, terminate))
            try:
                return await work
            except Exception as error:
                # An error of the cleanup is not what ended the work.
                if task.cancelling():
                    raise asyncio.CancelledError from error
                raise

    # The Runner replaces Python's own handler only, and `__main__` has removed that one.
    with _signal_handler(signal.SIGINT, signal.default_int_handler):
        try:
            with asyncio.Runner() as runner:
                return runner.run(main())
        except asyncio.CancelledError:
            raise Terminated(received) from None


@contextlib.contextmanager
def _signal_handler(signum: signal.Signals, handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    """Handle a signal, unless it is ignored, as SIGINT is in a command that a script runs in the background."""
    before = signal.getsignal(signum)
    if before is signal.SIG_IGN or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signum, handler)
    try:
        yield
    finally:
        signal.signal(signum, before)


@contextlib.contextmanager
def _log_on_stderr() -> Iterator[None]:
    """Print the log: warnings (not with --quiet), with -v pauses of the quota too, with -vv each request too."""
    verbosity = click.get_current_context().meta.get(VERBOSITY, 0)
    logger, handler = logging.getLogger("clicksgroup"), _StderrHandler()
    level, propagate = logger.level, logger.propagate
    logger.setLevel(_LEVELS[min(verbosity, 2)])
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.propagate = propagate
        logger.removeHandler(handler)


_LEVELS = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG}


class _StderrHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        style = "yellow" if record.levelno >= logging.WARNING else None
        say(f"{record.levelname.lower()}: {record.getMessage()}", style)


@contextlib.contextmanager
def _warnings_on_stderr() -> Iterator[None]:
    """Print warnings as lines, at most `MAX_WARNINGS` of those about pages."""
    count = 0

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        nonlocal count
        if is_quiet():
            return
        count += 1
        if count <= MAX_WARNINGS or not issubclass(category, PaginationWarning):
            say(f"warning: {message}", "yellow")

    with warnings.catch_warnings():
        warnings.simplefilter("always", PaginationWarning)
        warnings.showwarning = show
        try:
            yield
        finally:
            if count > MAX_WARNINGS:
                say(f"… and {count - MAX_WARNINGS:,} more warnings", "yellow")
