"""What is said on stderr: lines, and one that is live where somebody watches."""

from __future__ import annotations

import contextlib
import os
import sys
import unicodedata
from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.live import Live

QUIET_SECONDS = 1.0
"""Work that is done sooner shows no progress."""

stderr = Console(stderr=True, highlight=False, markup=False, emoji=False)


def say(line: str, style: str | None = None) -> None:
    """Print a line to stderr, above the live one if there is one; whole, as logs and `grep` want it."""
    stderr.print(printable(line), style=style, soft_wrap=True)


def printable(text: str) -> str:
    """Text of somebody else's on one line, without what would command the terminal."""
    return "".join(_REPLACED.get(unicodedata.category(char), char) for char in " ".join(text.split()))


_REPLACED = dict.fromkeys(("Cc", "Cs", "Zl", "Zp"), "\N{REPLACEMENT CHARACTER}")


class DataConsole(Console):
    """One whose reader may have had enough: rich would make that a failure."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def stdout() -> Console:
    """For tables on stdout, as wide as the terminal is now."""
    return DataConsole(highlight=False, markup=False, emoji=False)


def speak_utf8() -> None:
    """Data are UTF-8 wherever they go, and a message never fails for a character that cannot be shown."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def is_watched() -> bool:
    """Whether somebody looks at stderr on a terminal that can redraw a line."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


class _Writing:
    """Data being written to a reader, who may never read: a signal has to break that off, since no loop can."""

    def __init__(self) -> None:
        self._under_way = False
        self._forbidden = False

    def __enter__(self) -> None:
        self._under_way = True
        if self._forbidden:
            raise KeyboardInterrupt

    def __exit__(self, *_: object) -> None:
        self._under_way = False

    def allow(self) -> None:
        """At the beginning of a command."""
        self._under_way = self._forbidden = False

    def forbid(self) -> None:
        """From now on; what is under way is broken off. To be called by a signal handler."""
        self._forbidden = True
        if self._under_way:
            raise KeyboardInterrupt


writing = _Writing()


def abandon_stdout() -> None:
    """What is left in its buffer goes nowhere."""
    with contextlib.suppress(OSError):  # where it is no file, nothing is left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class LiveLine:
    """A line at the bottom of stderr, redrawn in place; nothing where nobody watches."""

    def __init__(self) -> None:
        self._live = Live(
            console=stderr, transient=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )
        self._shown = False

    def show(self, what: RenderableType) -> None:
        if not is_watched():
            return
        if not self._shown:
            self._live.start()
            self._shown = True
        self._live.update(what, refresh=True)

    def hide(self) -> None:
        if self._shown:
            self._live.stop()
            self._shown = False

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Off the terminal while something is written to stdout, if that is the terminal too."""
        if sys.stdout.isatty():
            self.hide()
        with writing:
            yield
