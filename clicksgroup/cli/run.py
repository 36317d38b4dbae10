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
from typing import Any, NoReturn, ParamSpec

import click

from clicksgroup.cli.console import VERBOSITY, discard, say
from clicksgroup.errors import ClicksGroupError, ConfigurationError, PaginationWarning

P = ParamSpec("P")
Work = Coroutine[Any, Any, int | None]

FAILED = 1
WRONG_USAGE = 2
INCOMPLETE = 3

ADVICE = "clicksgroup.advice"
"""The key in click's context under which a command leaves how to continue, as soon as running it again would help."""

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Signals that end the work. SIGHUP comes when its terminal is closed, unless `nohup` ignores it."""

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class Interrupted(KeyboardInterrupt):
    """The signal of this number ended the work."""


def run_async(command: Callable[P, Work]) -> Callable[P, NoReturn]:
    """Make a command of a coroutine function that returns its exit status (None for 0). The process exits with it."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> NoReturn:
        with exit_on_error(), _log_on_stderr():
            status = _run_until_signal(command(*args, **kwargs))
            sys.stdout.flush()
            sys.exit(status or 0)

    return wrapped


@contextlib.contextmanager
def exit_on_error() -> Iterator[None]:
    """Turn an error or a signal into one line on stderr and an exit status."""
    try:
        yield
    except BrokenPipeError:
        # The reader of stdout, such as `head`, has read enough.
        discard(sys.stdout)
        sys.exit(0)
    except Interrupted as interrupted:
        discard(sys.stdout)
        say("; ".join(filter(None, ["interrupted", _advice()])))
        sys.exit(128 + interrupted.args[0])
    except click.exceptions.NoArgsIsHelpError as error:
        # The command alone, without arguments.
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        help_at = f" (see: {context.command_path} --help)" if context is not None else ""
        _fail(f"{error.format_message()}{help_at}", error.exit_code)
    except ConfigurationError as error:
        _fail(str(error), WRONG_USAGE)
    except ClicksGroupError as error:
        text = "; ".join([str(error), *getattr(error, "__notes__", ())])
        if error.retryable and _advice():
            _fail(f"{text}. Everything fetched so far is stored: {_advice()}", INCOMPLETE)
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


def _advice() -> str | None:
    context = click.get_current_context(silent=True)
    return context.meta.get(ADVICE) if context is not None else None


def _fail(message: str, status: int) -> NoReturn:
    say(f"error: {message}", "bold red")
    sys.exit(status)


def _run_until_signal(work: Work) -> int | None:
    """Run work to its end. The first signal cancels it, the second aborts it."""
    received = signal.SIGINT

    async def main() -> int | None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def end(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
            nonlocal received
            received = signal.Signals(signum)
            if task.cancelling():
                raise Interrupted(signum)
            task.cancel()
            # The event loop may be asleep.
            loop.call_soon_threadsafe(lambda: None)

        with contextlib.ExitStack() as handlers:
            # Python takes no handlers in another thread. Those of the event loop could not abort code that blocks it.
            if threading.current_thread() is threading.main_thread():
                for signum in SIGNALS:
                    # An ignored signal stays ignored, as SIGINT is in a command that a script runs in the background.
                    if signal.getsignal(signum) is not signal.SIG_IGN:
                        handlers.callback(signal.signal, signum, signal.signal(signum, end))
            try:
                return await work
            except Exception as error:
                # An error of the cleanup is not what ended the work.
                if task.cancelling():
                    raise asyncio.CancelledError from error
                raise

    try:
        return asyncio.run(main())
    except asyncio.CancelledError:
        raise Interrupted(received) from None


@contextlib.contextmanager
def _log_on_stderr() -> Iterator[None]:
    """Print the log and warnings (not with --quiet), with -v pauses of the quota too, with -vv each request too."""
    logger, handler = logging.getLogger("clicksgroup"), _StderrHandler()
    level = logger.level
    # ERROR, WARNING, INFO and DEBUG are 10 apart.
    logger.setLevel(logging.WARNING - 10 * min(click.get_current_context().meta.get(VERBOSITY, 0), 2))
    logger.addHandler(handler)
    with warnings.catch_warnings():
        # The client warns once of each kind of problem, however many pages have it.
        warnings.simplefilter("always", PaginationWarning)
        warnings.showwarning = lambda message, *_args, **_kwargs: logger.warning("%s", message)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)


class _StderrHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        style = "yellow" if record.levelno >= logging.WARNING else None
        say(f"{record.levelname.lower()}: {record.getMessage()}", style)
