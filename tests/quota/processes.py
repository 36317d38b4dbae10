"""Starts and ends the worker processes of a test."""

from __future__ import annotations

import asyncio
import json
import pathlib
import signal
import sys
from types import TracebackType
from typing import Any, Self

from clicksgroup.plans import Quota
from tests.quota_server import QuotaServer

WORKER = pathlib.Path(__file__).with_name("worker.py")


class Processes:
    """Worker processes that send requests to one server. Those that still run at the end are killed.

    Args:
        server: where they send requests.
        quota: what they share.
        options: where the quota is kept, as `worker.py` reads it.
    """

    def __init__(self, server: QuotaServer, quota: Quota, **options: Any) -> None:
        self._server = server
        self._options = {"limits": quota.limits, "in_flight": quota.in_flight, **options}
        self._workers: dict[str, asyncio.subprocess.Process] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for name in tuple(self._workers):
            await self.kill(name)

    async def start(self, name: str, *, tasks: int = 3) -> None:
        self._workers[name] = await asyncio.create_subprocess_exec(
            sys.executable, "-W", "error", WORKER, name, str(self._server.port), str(tasks), json.dumps(self._options),
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip

    async def kill(self, name: str) -> None:
        """Send SIGKILL, so that the process cannot report anything."""
        worker = self._workers.pop(name)
        if worker.returncode is None:
            worker.send_signal(signal.SIGKILL)
        await worker.communicate()

    async def finish(self, expected: str = "") -> None:
        """Wait until all have ended by themselves, without an error, or a warning that does not hold this text."""
        self._server.stop()
        for name in tuple(self._workers):
            worker = self._workers.pop(name)
            _, stderr = await worker.communicate()
            said = [line for line in stderr.decode().splitlines() if not expected or expected not in line]
            assert (worker.returncode, said) == (0, []), name
