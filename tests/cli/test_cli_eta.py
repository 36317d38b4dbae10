"""The time that is left, as the progress says it, is true."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import attrs
import pytest

from clicksgroup import Quota
from clicksgroup.cli.resources import OpenedClient, WatchedQuota
from clicksgroup.quota.local import LocalQuota
from tests.virtual_time import in_virtual_time

QUOTAS = [
    Quota.of("personal"),
    Quota.of("business"),
    Quota.of("enterprise"),
    Quota((24, 60), (100, 900), in_flight=2),
    Quota((60, 60), in_flight=1),
]


def tenths(requests: int) -> set[int]:
    return {max(requests * tenth // 10, 1) for tenth in range(1, 11)}


@attrs.define
class ManyRequests:
    """Requests that take `latency` seconds each, sent by as many workers as may be in flight."""

    quota: WatchedQuota
    latency: float
    left: int = 0
    requests: int = 0
    pages: int = 0
    retries: int = 0
    # The time and what is said at it, for each tenth.
    said: list[tuple[float, float]] = attrs.field(factory=list)

    async def run(self, requests: int, opened: OpenedClient) -> None:
        self.left = requests
        async with self.quota, asyncio.TaskGroup() as workers:
            for _ in range(self.quota.quota.in_flight):
                workers.create_task(self._work(requests, opened))

    async def _work(self, requests: int, opened: OpenedClient) -> None:
        loop = asyncio.get_running_loop()
        while self.left:
            self.left -= 1
            slot = await self.quota.acquire()
            self.requests += 1
            await asyncio.sleep(self.latency)
            slot.answered()
            slot.release()
            self.pages += 1
            if self.pages in tenths(requests):
                self.said.append((loop.time(), opened.seconds_left(requests - self.pages)))


@pytest.mark.parametrize("quota", QUOTAS, ids=repr)
@pytest.mark.parametrize("latency", [0.1, 0.6, 2.8])
@pytest.mark.parametrize("requests", [5, 24, 25, 61, 200, 500])
@pytest.mark.parametrize("used", [0, 8])
@in_virtual_time
async def test_eta(quota: Quota, latency: float, requests: int, used: int) -> None:
    """At every tenth of a job, also in a window that is half used, it is within 15 % or 5 s of the truth."""
    loop = asyncio.get_running_loop()
    inner = LocalQuota(quota, loop)
    watched = WatchedQuota(inner)
    async with watched:
        for _ in range(used):
            slot = await inner.acquire()
            slot.answered()
            slot.release()
        await asyncio.sleep(20)
        job = ManyRequests(watched, latency)
        client = cast("Any", SimpleNamespace(stats=job))
        await job.run(requests, OpenedClient(client, watched))
    end = loop.time()
    assert len(job.said) == len(tenths(requests))
    for at, said in job.said:
        assert said == pytest.approx(end - at, rel=0.15, abs=5.0)


@in_virtual_time
async def test_next_request() -> None:
    """While requests wait for the quota, it is known when the next may start, and nothing is said before that."""
    watched = WatchedQuota(LocalQuota(Quota((2, 60), in_flight=1), asyncio.get_running_loop()))
    async with watched:
        # Another job may have to end first, which says nothing of the pace.
        await asyncio.sleep(100)
        assert watched.seconds_busy == 0
        for _ in range(2):
            slot = await watched.acquire()
            slot.answered()
            slot.release()
        assert watched.next_request is None
        waiting = asyncio.create_task(watched.acquire())
        await asyncio.sleep(12)
        assert watched.next_request == pytest.approx(48, abs=0.1)
        assert watched.seconds_busy == pytest.approx(0, abs=0.1)
        (await waiting).release()
        assert watched.next_request is None
        await asyncio.sleep(3)
        assert watched.seconds_busy == pytest.approx(3, abs=0.1)
