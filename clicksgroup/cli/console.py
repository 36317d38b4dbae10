"""Output for people: lines and the progress on stderr, tables on stdout, numbers and durations in words."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import IO

import attrs
import click
import orjson
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

VERBOSITY = "clicksgroup.verbosity"
"""The key in click's context under which `-v` leaves how much of the log is wanted, and `--quiet` leaves -1."""

MAX_FAILURES = 10
"""Failed dates that are named."""

QUIET_SECONDS = 1.0
"""Work that ends sooner shows no progress."""

TICK_SECONDS = 0.5
"""Seconds between two updates of the live line."""

LINE_SECONDS = 60.0
"""Seconds between two lines of progress where stderr is no terminal."""

LONG_WAIT = 1.0
"""Seconds until the next request from which on the progress says so."""

_WIDEST_BAR = 72
_CONTROL_CHARACTER = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class _Console(Console):
    def on_broken_pipe(self) -> None:
        # rich would exit with status 1. A reader that has read enough, such as `head`, is not a failure.
        raise BrokenPipeError


stderr = _Console(stderr=True, highlight=False, markup=False, emoji=False)


def say(line: str, style: str | None = None) -> None:
    """Print a line to stderr, above the live line. It is never wrapped, so that `grep` and logs see it whole."""
    with unless_gone():
        stderr.print(printable(line), style=style, soft_wrap=True)


def note(*parts: str | None, style: str | None = None) -> None:
    """Print the parts that are not empty, as one line, unless --quiet was given: a user can do without it."""
    if not is_quiet():
        say(_joined(*parts), style)


def say_failures(failures: Sequence[str]) -> None:
    """Name the first `MAX_FAILURES` dates that failed."""
    for failure in failures[:MAX_FAILURES]:
        say(failure, "red")
    if len(failures) > MAX_FAILURES:
        say(
            f"… and {format_count(len(failures) - MAX_FAILURES, 'date')} more: clicksgroup status --json has all", "red"
        )


def is_quiet() -> bool:
    """Whether --quiet was given."""
    context = click.get_current_context(silent=True)
    return context is not None and context.meta.get(VERBOSITY, 0) < 0


@contextlib.contextmanager
def unless_gone() -> Iterator[None]:
    """Swallow failures to write to stderr, as logging does: a terminal that goes away must not end a job."""
    try:
        yield
    except BlockingIOError:
        pass
    except (OSError, ValueError):
        discard(sys.stderr)


def stdout() -> Console:
    """A console for tables on stdout, as wide as the terminal is now."""
    return _Console(highlight=False, markup=False, emoji=False)


def print_json(value: object) -> None:
    """Print an object as one line of JSON to stdout."""
    click.echo(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode())


def is_interactive() -> bool:
    """Whether stderr is a terminal that can redraw a line, by its own word and by that of the environment."""
    return sys.stderr.isatty() and stderr.is_terminal and not stderr.is_dumb_terminal


def printable(text: str) -> str:
    """Text from outside on one line, without the control characters that would command the terminal."""
    return _CONTROL_CHARACTER.sub("\N{REPLACEMENT CHARACTER}", " ".join(text.split()))


def _joined(*parts: str | None) -> str:
    return " · ".join(part for part in parts if part)


def format_count(number: int, noun: str) -> str:
    """`1 date`, `1,460 requests`."""
    return f"{number:,} {noun if number == 1 else noun + 's'}"


def format_duration(seconds: float) -> str:
    """`0.3 s`, `45 s`, `12 min`, `2 h 42 min`, `3 days 4 h`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} days {hours} h" if hours else f"{days} days"


def discard(stream: IO[str]) -> None:
    """Send the rest of a stream's buffer nowhere, so that the exit neither blocks nor fails on it."""
    # A stream that is not a file has nothing left in a buffer.
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@attrs.frozen
class State:
    """How far a job is: what is done, the most important first, and the share of it, from 0 to 1, for a bar."""

    parts: Sequence[str]
    # Seconds until the quota allows the next request; None if none waits for it.
    next_request: float | None = None
    # Seconds that the job will still take.
    left: float | None = None
    done: float | None = None

    def text(self, width: float = math.inf) -> str:
        """`3 of 31 dates · 3 requests · next request in 12 s · about 2 h left`; in few columns less of it."""
        first, *others = self.parts
        wait = self.next_request
        waiting = f"next request in {format_duration(wait)}" if wait is not None and wait >= LONG_WAIT else None
        left = f"about {format_duration(self.left)} left" if self.left is not None else None
        last = left or waiting
        texts = [_joined(first, *others[:count], waiting, left) for count in range(len(others), -1, -1)]
        texts += [_joined(first, last), last or first]
        return next((text for text in texts if len(text) <= width), texts[-1])


@contextlib.asynccontextmanager
async def showing(state: Callable[[], State]) -> AsyncIterator[None]:
    """Show the state of the job while the block runs, and not before `QUIET_SECONDS` have passed."""
    task = asyncio.create_task(_show(state))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        hide_progress()


async def _show(state: Callable[[], State]) -> None:
    if is_quiet():
        return
    if not is_interactive():
        while True:
            await asyncio.sleep(LINE_SECONDS)
            say(state().text())
    await asyncio.sleep(QUIET_SECONDS)
    while True:
        with unless_gone():
            _live.start()
            _live.update(_drawn(state()), refresh=True)
        await asyncio.sleep(TICK_SECONDS)


# The line at the bottom of the terminal, redrawn in place.
_live = Live(console=stderr, transient=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)


def _drawn(state: State) -> Table:
    """The line, with a bar above it if the share that is done is known."""
    drawn = Table.grid()
    if state.done is not None:
        drawn.add_row(ProgressBar(total=1, completed=state.done, width=min(stderr.width, _WIDEST_BAR)))
    drawn.add_row(Text(state.text(stderr.width), style="dim", no_wrap=True, overflow="ellipsis"))
    return drawn


def hide_progress() -> None:
    """Remove the line from the terminal, until it is drawn again."""
    with unless_gone():
        _live.stop()
