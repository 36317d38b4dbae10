"""Calls of the command line, in this process or in a process of its own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable

from click.testing import CliRunner, Result

from clicksgroup.cli import clicksgroup
from clicksgroup.sandbox import Sandbox

PointAt = Callable[[Sandbox], None]

PROGRESS_AT_ONCE = """
from clicksgroup.cli import console
console.LINE_SECONDS = 0.01
from clicksgroup.__main__ import main
main()
"""
"""The command, with lines of progress that come as fast as they can."""


def call(*args: str, stdin: str | bytes | None = None) -> Result:
    """Call it in this process. An exception that it does not handle is raised."""
    result = CliRunner().invoke(clicksgroup, args, input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


async def call_beside(*args: str, stdin: str | bytes | None = None) -> Result:
    """The same in a thread, for tests that run a server in their event loop."""
    return await asyncio.to_thread(call, *args, stdin=stdin)


async def start(*args: str) -> asyncio.subprocess.Process:
    """Start it as a process of its own."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-W", "error", "-m", "clicksgroup", *args),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def fill(store: str, *dates: str) -> None:
    """Fill a store with made-up clicks."""
    assert call("backfill", *dates, "--sandbox", "--store", store).exit_code == 0
