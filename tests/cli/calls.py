"""The command line, called in this process or as one of its own."""

from __future__ import annotations

import asyncio
import subprocess
import sys

from click.testing import CliRunner, Result

from clicksgroup.cli import clicksgroup


def call(*args: str, stdin: str | bytes | None = None) -> Result:
    """Call it in this process; whatever it does not expect itself is raised."""
    result = CliRunner().invoke(clicksgroup, args, input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


async def call_beside(*args: str, stdin: str | bytes | None = None) -> Result:
    """The same, while the loop of the test goes on: for tests that run a server in it."""
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
