"""On a terminal: a table, a live line of progress, and Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import re
import struct
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

import attrs
import pytest

from clicksgroup import Quota
from clicksgroup.cli.console import State
from clicksgroup.sandbox import Fault, Sandbox
from tests.cli.calls import PROGRESS_AT_ONCE, PointAt

pty = pytest.importorskip("pty", reason="there are no pseudo-terminals")

NEVER = 3600.0


@pytest.mark.parametrize(
    ("width", "text"),
    [
        (100, "1,234 of 3,650 dates · 1,300 requests · next request in 12 s · about 2 h 42 min left"),
        (80, "1,234 of 3,650 dates · next request in 12 s · about 2 h 42 min left"),
        (50, "1,234 of 3,650 dates · about 2 h 42 min left"),
        (40, "about 2 h 42 min left"),
        (5, "about 2 h 42 min left"),
    ],
)
def test_narrow_progress(width: int, text: str) -> None:
    """In few columns the time that is left remains visible."""
    state = State(["1,234 of 3,650 dates", "1,300 requests"], next_request=12.3, left=9720.0)
    assert state.text(width) == text


def test_progress_without_eta() -> None:
    """As long as the time that is left is not known, the wait for the quota remains visible."""
    assert State(["0 of 31 dates", "9 requests"], next_request=51.0).text(25) == "next request in 51 s"
    assert State(["0 of 31 dates", "9 requests"], next_request=0.3).text(20) == "0 of 31 dates"


@attrs.define
class Terminal:
    """A pseudo-terminal with a command in it."""

    controller: int
    side: int
    process: asyncio.subprocess.Process | None = None
    seen: str = ""

    async def run(self, *args: str, stdout: IO[bytes] | None = None, code: str | None = None) -> None:
        start = ("-m", "clicksgroup") if code is None else ("-c", code)
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, *start, *args),
            stdin=self.side,
            stdout=stdout or self.side,
            stderr=self.side,
            preexec_fn=take_terminal,
            # readline puts LINES and COLUMNS into the environment, and the workers of pytest-xdist inherit them.
            env={name: value for name, value in os.environ.items() if name not in ("LINES", "COLUMNS")},
        )
        # Reading ends when the command does.
        os.close(self.side)

    async def wait_for(self, pattern: str) -> None:
        while not re.search(pattern, self.seen):
            try:
                read = await asyncio.to_thread(os.read, self.controller, 65536)
            except OSError:
                pytest.fail(f"it ended without {pattern!r}: {self.seen}")
            self.seen += read.decode(errors="replace")

    def resize(self, *, lines: int, columns: int) -> None:
        import fcntl
        import termios

        fcntl.ioctl(self.controller, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def press(self, keys: bytes) -> None:
        os.write(self.controller, keys)


def take_terminal() -> None:
    import fcntl
    import termios

    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
async def terminal(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Terminal]:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("COLUMNS")
    controller, side = pty.openpty()
    opened = Terminal(controller, side)
    yield opened
    if opened.process is not None and opened.process.returncode is None:
        opened.process.kill()
        await opened.process.wait()
    os.close(controller)


@pytest.mark.slow
async def test_table_and_summary(point_at: PointAt, terminal: Terminal) -> None:
    """A terminal gets a table and a summary."""
    async with Sandbox(quota=Quota(in_flight=2)) as sandbox:
        point_at(sandbox)
        await terminal.run("clicks", "2025-01-03")
        await terminal.wait_for(r"95 records of 1 date · 4 requests · ")
    assert re.search(r"2025-01-03 +207  Kitchenware +15,994 +11,472", terminal.seen)


@pytest.mark.slow
async def test_live_line_and_ctrl_c(point_at: PointAt, terminal: Terminal) -> None:
    """The live line shows the progress, and Ctrl-C ends the command."""
    async with Sandbox(quota=Quota(in_flight=2), faults=[Fault(page=2, delay=NEVER)]) as sandbox:
        point_at(sandbox)
        await terminal.run("clicks", "2025-01-03", "2025-01-04")
        await terminal.wait_for("0 of 2 dates · 1 page · 30 records")
        terminal.press(b"\x03")
        await terminal.wait_for("interrupted")
        assert terminal.process is not None
        assert await terminal.process.wait() == 130
    assert "Traceback" not in terminal.seen


@pytest.mark.slow
async def test_backfill_waits_for_quota(point_at: PointAt, terminal: Terminal, tmp_path: Path) -> None:
    """The progress of a backfill says that it waits for quota."""
    async with Sandbox(groups=1) as sandbox:
        point_at(sandbox)
        store = str(tmp_path / "clicks.db")
        await terminal.run("backfill", "2025-01", "--store", store, "--quota", f"3/{NEVER:g}")
        await terminal.wait_for(r"3 of 31 dates · 3 requests · next request in \d+ .* · about \d+ h")
        terminal.press(b"\x03")
        await terminal.wait_for("run the same command again to go on")
        assert terminal.process is not None
        assert await terminal.process.wait() == 130


@pytest.mark.parametrize(("lines", "options"), [(12, ()), (30, ()), (12, ("--top", "20"))])
async def test_chart_fits(terminal: Terminal, lines: int, options: tuple[str, ...]) -> None:
    """A chart keeps its first line and the largest groups in sight, with as many groups as fit."""
    terminal.resize(lines=lines, columns=80)
    await terminal.run("chart", "2025-01", "--sandbox", *options)
    await terminal.wait_for(r"other \(\d+\)[^\n]*\n")
    shown = terminal.seen.count("\n")
    assert shown == (23 if options else lines - 1)


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"TERM": "unknown"}, {"TTY_COMPATIBLE": "0"}])
async def test_terminal_without_cursor(
    point_at: PointAt, terminal: Terminal, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal that cannot redraw a line, by its own word, gets the progress as lines, and the data."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    async with Sandbox(quota=Quota(in_flight=2), faults=[Fault(page=2, delay=NEVER)]) as sandbox:
        point_at(sandbox)
        await terminal.run("clicks", "2025-01-03", code=PROGRESS_AT_ONCE)
        await terminal.wait_for("0 of 1 date · 1 page · 30 records")
        await terminal.wait_for(r"2025-01-03 +207  Kitchenware +15,994 +11,472")
        terminal.press(b"\x03")
        await terminal.wait_for("interrupted")
    assert "\x1b" not in terminal.seen


@pytest.mark.slow
async def test_redirected_stdout(point_at: PointAt, terminal: Terminal, tmp_path: Path) -> None:
    """With stdout in a file, the live line stays on the terminal, and out of the file."""
    async with Sandbox(quota=Quota(in_flight=2), faults=[Fault(page=2, delay=NEVER)]) as sandbox:
        point_at(sandbox)
        file = tmp_path / "out.csv"
        with file.open("wb") as out:
            await terminal.run("clicks", "2025-01-03", stdout=out)
            await terminal.wait_for("0 of 1 date")
            assert terminal.process is not None
            terminal.process.terminate()
            assert await terminal.process.wait() == 143
        assert b"\x1b" not in file.read_bytes()
        assert file.read_bytes().count(b"2025-01-03") == 30
