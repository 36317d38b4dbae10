"""Output for people: lines on stderr, tables on stdout, numbers and durations in words."""

from __future__ import annotations

import contextlib
import os
import sys
import unicodedata
from collections.abc import Iterator
from typing import IO

import click
import orjson
from rich.console import Console

VERBOSITY = "clicksgroup.verbosity"
"""The key in click's context under which `-v` leaves how much of the log is wanted, and `--quiet` leaves -1."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        # rich would exit with status 1. A reader that has read enough, such as `head`, is not a failure.
        raise BrokenPipeError


stderr = _Console(stderr=True, highlight=False, markup=False, emoji=False)


def say(line: str, style: str | None = None) -> None:
    """Print a line to stderr, above the live line. It is never wrapped, so that `grep` and logs see it whole."""
    with unless_gone():
        stderr.print(printable(line), style=style, soft_wrap=True)


def note(line: str, style: str | None = None) -> None:
    """The same for what a user can do without: nothing is printed with --quiet."""
    if not is_quiet():
        say(line, style)


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
    return "".join("\N{REPLACEMENT CHARACTER}" if _is_control(char) else char for char in " ".join(text.split()))


def _is_control(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cs")


def joined(*parts: str | None) -> str:
    """The parts that are not empty, as one line."""
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


def use_utf8() -> None:
    """Write UTF-8 to stdout and stderr whatever the locale is. A character that cannot be encoded is escaped."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def discard(stream: IO[str]) -> None:
    """Send the rest of a stream's buffer nowhere, so that the exit neither blocks nor fails on it."""
    # A stream that is not a file has nothing left in a buffer.
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
