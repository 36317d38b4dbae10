"""SIGINT, SIGTERM and SIGHUP end every command promptly: exit status 130, 143 or 129, one line, no traceback."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import select
import signal
import sys
from pathlib import Path

import pytest

from clicksgroup import Quota
from clicksgroup.sandbox import Fault, Sandbox
from tests.cli.calls import PointAt, start

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are sent as on Unix")


NEVER = 3600.0
"""Seconds that no test waits for: a command that does not end at once fails the test."""

ENDS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


async def ended(process: asyncio.subprocess.Process, signum: signal.Signals) -> tuple[int | None, bytes | None, bytes]:
    process.send_signal(signum)
    try:
        out, err = await asyncio.wait_for(process.communicate(), 20)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    return process.returncode, out, err


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "status"), ENDS)
async def test_slow_answer(point_at: PointAt, signum: signal.Signals, status: int) -> None:
    """A signal ends a command that waits for an answer."""
    async with Sandbox(faults=[Fault(delay=NEVER)]) as sandbox:
        point_at(sandbox)
        process = await start("clicks", "2025-01-03")
        await sandbox.wait_for_requests(1)
        assert await ended(process, signum) == (status, b"", b"interrupted\n")


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "status"), ENDS)
async def test_waiting_for_quota(point_at: PointAt, tmp_path: Path, signum: signal.Signals, status: int) -> None:
    """A signal ends a backfill that waits for quota, and its line says how to go on."""
    async with Sandbox(groups=1, quota=Quota((2, NEVER))) as sandbox:
        point_at(sandbox)
        store = str(tmp_path / "clicks.db")
        process = await start("backfill", "2025-01", "--store", store, "--quota", f"2/{NEVER:g}", "-v")
        await sandbox.wait_for_requests(2)
        returncode, out, err = await ended(process, signum)
        assert (returncode, out) == (status, b"")
        assert err.splitlines()[-1] == b"interrupted; run the same command again to go on where it stopped"
        assert b"Traceback" not in err
        assert len(sandbox.requests) == 2


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "status"), ENDS)
async def test_pause(point_at: PointAt, signum: signal.Signals, status: int) -> None:
    """A signal ends a command that waits out a pause."""
    async with Sandbox(groups=1, faults=[Fault(retry_after=200)]) as sandbox:
        point_at(sandbox)
        process = await start("clicks", "2025-01-03", "-v")
        assert process.stderr is not None
        # The pause has begun.
        assert b"200" in await process.stderr.readline()
        returncode, _, err = await ended(process, signum)
        assert (returncode, err.splitlines()[-1]) == (status, b"interrupted")
        assert b"Traceback" not in err


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "status"), ENDS)
async def test_full_pipe(signum: signal.Signals, status: int) -> None:
    """A signal ends a command that writes to a pipe that nobody reads."""
    reads, writes = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "clicksgroup", "export", "2025-01", "--sandbox"),
        stdout=writes,
        stderr=asyncio.subprocess.PIPE,
    )
    # The kernel does not tell when the pipe is full. It holds less than the 5,000 records that are written at a time.
    while select.select([], [writes], [], 0)[1]:
        await asyncio.sleep(0.01)
    os.close(writes)
    assert await ended(process, signum) == (status, None, b"interrupted\n")
    os.close(reads)


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "status"), ENDS)
async def test_sandbox_server(signum: signal.Signals, status: int) -> None:
    """A signal ends the sandbox server."""
    process = await start("sandbox")
    assert process.stdout is not None
    assert process.stderr is not None
    lines = [await process.stdout.readline() for _ in range(3)]
    await process.stderr.readline()
    assert [line.split(b"=")[0] for line in lines] == [
        b"export CLICKSGROUP_BASE_URL",
        b"export CLICKSGROUP_API_KEY",
        b"export CLICKSGROUP_PLAN",
    ]
    assert await ended(process, signum) == (status, b"", b"interrupted\n")


WHILE_IMPORTING = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.{signum})

sys.meta_path.insert(0, Finder())
from clicksgroup.__main__ import main
main()
"""


@pytest.mark.parametrize(("signum", "status"), ENDS)
@pytest.mark.parametrize("module", ["clicksgroup.cli", "rich", "aiohttp"])
async def test_while_importing(module: str, signum: signal.Signals, status: int) -> None:
    """A signal in the first tenths of a second ends the command with one line."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WHILE_IMPORTING.format(module=module, signum=signum.name), "doctor", "--sandbox"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert await process.communicate() == (b"", b"interrupted\n")
    assert process.returncode == status


STUBBORN = """
import asyncio, time
import click
from clicksgroup.cli.run import run_async

@run_async
async def work():
    print("started", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        print("cancelled", flush=True)
        time.sleep(3600)

with click.Context(click.Command("stubborn")):
    work()
"""


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "status"), ENDS)
async def test_second_signal(signum: signal.Signals, status: int) -> None:
    """A second signal aborts work whose cleanup does not end, even one that blocks the event loop."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", STUBBORN), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"started\n"
    process.send_signal(signum)
    assert await process.stdout.readline() == b"cancelled\n"
    assert await ended(process, signum) == (status, b"", b"interrupted\n")


async def test_ignored_sigint(point_at: PointAt) -> None:
    """An ignored SIGINT stays ignored, as in a command that a script runs in the background with `&`."""
    process: asyncio.subprocess.Process | None = None

    def interrupt(_: object) -> None:
        assert process is not None
        process.send_signal(signal.SIGINT)

    async with Sandbox(groups=1, quota=Quota(in_flight=1), faults=interrupt) as sandbox:
        point_at(sandbox)
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            process = await start("clicks", "2025-01-03")
        finally:
            signal.signal(signal.SIGINT, before)
        out, err = await asyncio.wait_for(process.communicate(), 20)
        assert len(sandbox.requests) == 1
    assert (process.returncode, out.count(b"2025-01-03"), err) == (0, 1, b"")


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "status"), ENDS)
async def test_interrupted_file(point_at: PointAt, tmp_path: Path, signum: signal.Signals, status: int) -> None:
    """An interrupted command leaves no file."""
    async with Sandbox(groups=60, faults=[Fault(page=2, delay=NEVER)]) as sandbox:
        point_at(sandbox)
        process = await start("clicks", "2025-01-03", "-o", str(tmp_path / "clicks.csv"))
        await sandbox.wait_for_requests(2)
        returncode, _, _ = await ended(process, signum)
    assert (returncode, [path.name for path in tmp_path.iterdir()]) == (status, ["state"])


@pytest.mark.slow
async def test_interrupted_backfill(point_at: PointAt, tmp_path: Path) -> None:
    """An interrupted backfill continues where it stopped: no stored date is fetched again."""
    store = ("--store", str(tmp_path / "clicks.db"))
    async with Sandbox(groups=1, quota=Quota(in_flight=4), faults=[Fault(date="2025-01-20", delay=NEVER)]) as sandbox:
        point_at(sandbox)
        process = await start("backfill", "2025-01", *store, "--quota", "10000/1")
        # Of the one date that hangs, and of all others.
        await sandbox.wait_for_requests(31)
        returncode, _, _ = await ended(process, signal.SIGINT)
        assert returncode == 130
        again = await start("backfill", "2025-01", *store, "--quota", "10000/1")
        _, err = await again.communicate()
        assert again.returncode == 0
        found = re.search(r"(\d+) dates fetched · (\d+) final already", err.decode())
        assert found is not None
        fetched, kept = map(int, found.groups())
        assert fetched + kept == 31
        assert len(sandbox.requests) == 31 + fetched
