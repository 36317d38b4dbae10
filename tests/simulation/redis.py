"""Redis in a world: one value, a clock of its own that may be set, and calls that take time or get lost."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import random
from types import SimpleNamespace
from typing import Any

from redis.exceptions import ConnectionError as LostConnectionError

from clicksgroup import Quota
from clicksgroup.quota.remote import RemoteQuota
from clicksgroup.redis import RedisBackend
from clicksgroup.settings import Secret
from tests.simulation.plan import RedisPlan

EPOCH = 1_700_000_000.0
"""What its clock shows at 0 s, until it is set."""

OUTAGE_TIMEOUT = 60.0
"""Seconds, so that calls that get lost never end a reader."""


class SimulatedRedis:
    """The server: it does what the script of `RedisQuota` says."""

    def __init__(self, plan: RedisPlan, seed: int) -> None:
        self._plan = plan
        self._rng = random.Random(seed + 2)
        self._loop = asyncio.get_running_loop()
        self._value = b""
        self._forgotten = plan.forgets is None

    def quota(self, quota: Quota) -> RemoteQuota:
        """The quota as one process has it."""
        return RemoteQuota(quota, functools.partial(_Backend, self, quota), OUTAGE_TIMEOUT)

    async def call(self, known: str, new: bytes) -> list[Any]:
        """Compare and set, as `clicksgroup.redis.SCRIPT` says."""
        await self._travel()
        if self._plan.forgets is not None and not self._forgotten and self._loop.time() >= self._plan.forgets:
            self._forgotten, self._value = True, b""
        unchanged, value = known == self.digest(), self._value
        if unchanged and new:
            self._value = new
        time = self._time()
        await self._travel()
        return [int(time), int(time % 1 * 1e6), None if unchanged else value]

    def digest(self) -> str:
        """Of the value, as the script compares it."""
        return hashlib.sha1(self._value, usedforsecurity=False).hexdigest()

    async def _travel(self) -> None:
        await asyncio.sleep(self._plan.latency * (1 + self._rng.random()))
        if self._rng.random() < self._plan.failures:
            raise LostConnectionError("the connection was lost")

    def _time(self) -> float:
        now = self._loop.time()
        return EPOCH + now + sum(seconds for since, seconds in self._plan.steps if since <= now)


class _Backend(RedisBackend):
    """The backend of one process, whose calls go to the simulated server."""

    def __init__(self, server: SimulatedRedis, quota: Quota) -> None:
        super().__init__(Secret("redis://localhost"), quota, "world", OUTAGE_TIMEOUT)

        async def script(*, keys: list[str], args: list[Any]) -> list[Any]:
            return await server.call(*args)

        async def aclose() -> None: ...

        self.script: Any = script
        self._client: Any = SimpleNamespace(aclose=aclose)
