"""What people read: lines on stderr, a live line of progress, tables on stdout, numbers and durations in words."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import unicodedata
from collections.abc import AsyncIterator, Callable

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

QUIET_SECONDS = 1.0
"""Work that ends sooner shows no progress."""

TICK_SECONDS = 0.5
"""Seconds between two updates of the progress."""

LONG_WAIT = 1.0
"""Seconds of waiting for quota from which on the progress says so."""

_WIDEST_BAR = 72

stderr = Console(stderr=True, highlight=False, markup=False, emoji=False)


def say(line: str, style: str | None = None) -> None:
    """Print a line to stderr, above the live line. It is never wrapped, so that `grep` and logs see it whole."""
    stderr.print(printable(line), style=style, soft_wrap=True)


def stdout() -> Console:
    """A console for tables on stdout, as wide as the terminal is now."""
    return _StdoutConsole(highlight=False, markup=False, emoji=False)


class _StdoutConsole(Console):
    def on_broken_pipe(self) -> None:
        # rich would exit with status 1. A reader that has read enough, such as `head`, is not a failure.
        raise BrokenPipeError


def is_interactive() -> bool:
    """Whether stderr is a terminal that can redraw a line."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


class LiveLine:
    """A line of progress at the bottom of the terminal, redrawn in place; nothing where stderr is no terminal."""

    def __init__(self) -> None:
        self._live = Live(
            console=stderr, transient=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )
        self._shown = False

    def show(self, text: str, *, done: float | None = None) -> None:
        """Draw the line, with a bar above it if `done` (from 0 to 1) is given."""
        if not is_interactive():
            return
        if not self._shown:
            self._live.start()
            self._shown = True
        drawn = Table.grid()
        if done is not None:
            drawn.add_row(ProgressBar(total=1, completed=done, width=min(stderr.width, _WIDEST_BAR)))
        drawn.add_row(Text(text, style="dim", no_wrap=True, overflow="ellipsis"))
        self._live.update(drawn, refresh=True)

    def hide(self) -> None:
        """Remove the line from the terminal, until it is shown again."""
        if self._shown:
            self._live.stop()
            self._shown = False


@contextlib.asynccontextmanager
async def ticking(tick: Callable[[], None]) -> AsyncIterator[None]:
    """Call `tick` every `TICK_SECONDS` while the block runs, and not before `QUIET_SECONDS` have passed."""
    task = asyncio.create_task(_tick(tick))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _tick(tick: Callable[[], None]) -> None:
    await asyncio.sleep(QUIET_SECONDS)
    while True:
        tick()
        await asyncio.sleep(TICK_SECONDS)


def printable(text: str) -> str:
    """Text from outside on one line, without the control characters that would command the terminal."""
    return "".join(_REPLACED.get(unicodedata.category(char), char) for char in " ".join(text.split()))


_REPLACED = dict.fromkeys(("Cc", "Cs", "Zl", "Zp"), "\N{REPLACEMENT CHARACTER}")


def joined(*parts: str | None) -> str:
    """The parts that are not empty, as one line."""
    return " · ".join(part for part in parts if part)


def progress_text(*parts: str, waited: float, left: float | None) -> str:
    """`3 of 31 dates · 3 requests · waiting for quota, 12 s · about 2 h left`.

    Args:
        parts: how much is done.
        waited: seconds of waiting for quota.
        left: seconds that the work will take; None where that is not known.
    """
    return joined(
        *parts,
        f"waiting for quota, {format_duration(waited)}" if waited >= LONG_WAIT else None,
        f"about {format_duration(left)} left" if left is not None else None,
    )


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


def use_utf8() -> None:
    """Write UTF-8 to stdout and stderr whatever the locale is. A character that cannot be encoded is escaped."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def discard_stdout() -> None:
    """Send the rest of the buffer of stdout nowhere, so that the exit neither blocks nor fails on it."""
    # A stdout that is not a file has nothing left in a buffer.
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
