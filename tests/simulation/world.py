"""Runs one world from its seed, and tells what it did against its promises."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

import aiohttp
import attrs

from clicksgroup import ClicksClient, Quota
from clicksgroup.quota import FileQuota, SharedQuota
from tests.simulation.backfills import FIRST_CLIENT, BackfillRuns
from tests.simulation.checks import Evidence, problems
from tests.simulation.drawing import draw_world
from tests.simulation.isolation import Isolation
from tests.simulation.loop import SerialTask, SimulationLoop
from tests.simulation.network import MemoryConnector
from tests.simulation.plan import ClientPlan, WorldPlan
from tests.simulation.process import CURRENT, keep_for_ever
from tests.simulation.readers import Reading
from tests.simulation.redis import SimulatedRedis
from tests.simulation.vendor import Vendor

SETTLING = 20.0
"""Seconds after which nothing of a closed client may be left: longer than any request is held for."""

BASE_URL = "http://localhost"


@attrs.frozen
class Outcome:
    """What a world came to: its problems in words, none if every promise held."""

    seed: int
    problems: list[str]
    requests: int
    seconds: float
    trace: list[str]


def run_world(seed: int, *, trace: bool = False) -> Outcome:
    """Run the world of a seed. The same seed gives the same trace, byte for byte."""
    plan = draw_world(seed)
    lines: list[str] | None = [repr(plan)] if trace else None
    with _folder(plan) as folder:
        isolation = Isolation(seed, lines, plan.logs, folder)
        with isolation.active() as loop:
            vendor = Vendor(plan, loop, lines)
            evidence = Evidence(plan, vendor)
            loop.on_task = _adopt
            try:
                loop.run_until_complete(_live(evidence, folder))
            except Exception as error:
                # A world that fails in any way is a finding.
                evidence.problems.append(f"{type(error).__name__}: {error}; {_pending(loop)}")
            seconds = loop.time()
            _collect(isolation, evidence)
        found = [isolation.shown(problem) for problem in problems(evidence, seconds)]
    if lines is not None:
        lines.extend(f"PROBLEM {problem}" for problem in found)
    return Outcome(seed, found, len(vendor.requests), seconds, lines or [])


@contextlib.contextmanager
def _folder(plan: WorldPlan) -> Iterator[pathlib.Path | None]:
    """Where a world keeps files, if it does: in memory where that can be had."""
    if not plan.shared_quota and plan.backfill is None:
        yield None
        return
    memory = pathlib.Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="clicksgroup-", dir=memory if memory.is_dir() else None) as folder:
        yield pathlib.Path(folder)


def _adopt(task: SerialTask) -> None:
    if (process := CURRENT.get()) is not None:
        process.adopt(task)


def _collect(isolation: Isolation, evidence: Evidence) -> None:
    """Collect garbage, which shows what nobody has retrieved or closed."""
    loop = isolation.loop
    if evidence.ended_at is None:
        # It broke in the middle, and what is left of it must not disturb the next world.
        keep_for_ever(asyncio.all_tasks(loop))
        loop.steps, loop.now = 0, 0.0
    loop.run_until_complete(loop.shutdown_asyncgens())
    gc.collect()
    evidence.problems += [f"asyncio would log: {text}" for text in (*loop.reported, *isolation.reported)]
    loop.close()


async def _live(evidence: Evidence, folder: pathlib.Path | None) -> None:
    world = evidence.world
    evidence.readings = [Reading(reader) for reader in world.readers]
    if world.redis is not None:
        evidence.redis = SimulatedRedis(world.redis, world.seed)
    lives = [_client(number, evidence, folder) for number in range(len(world.clients))]
    if world.backfill is not None:
        assert folder is not None
        runs = evidence.backfill = BackfillRuns(world.backfill, folder / "clicks.db", evidence.vendor)
        lives.append(runs.run(lambda number, session: _make_client(number, session, evidence, folder)))
    await asyncio.gather(*lives)
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimulationLoop)
    evidence.ended_at = loop.time()
    await asyncio.sleep(SETTLING)
    dead = {task for process in evidence.processes() if process.dead for task in process.tasks}
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task() and task not in dead]
    evidence.problems += [f"a task is left: {task!r}" for task in others]
    evidence.problems += [f"a timer is left: {handle!r}" for handle in loop.live_timers()]


def _make_client(
    number: int, session: aiohttp.ClientSession, evidence: Evidence, folder: pathlib.Path | None
) -> ClicksClient:
    world = evidence.world
    plan = world.clients[number] if number < len(world.clients) else ClientPlan(None, "strict", "v1", False)
    quota: Quota | SharedQuota = world.quota
    if evidence.redis is not None:
        quota = evidence.redis.quota(world.quota)
    elif world.shared_quota and folder is not None:
        quota = FileQuota(folder / "quota.json", world.quota)
    return ClicksClient(
        # What a process remembers of a key's quota, no other world and no run after a kill may know.
        f"key-{world.seed}-{max(0, number - FIRST_CLIENT + 1)}", plan=world.plan, quota=quota, base_url=BASE_URL,
        session=session, timeout=world.timeout, retry=world.retry, check=plan.check, api_version=plan.api_version,
    )  # fmt: skip


async def _client(number: int, evidence: Evidence, folder: pathlib.Path | None) -> None:
    loop, vendor = asyncio.get_running_loop(), evidence.vendor
    plan = evidence.world.clients[number]
    readings = [reading for reading in evidence.readings if reading.plan.client == number]
    options: Any = {"middlewares": (_pass_through,)} if plan.middleware else {}
    async with aiohttp.ClientSession(connector=MemoryConnector(vendor, number), **options) as session:
        client = _make_client(number, session, evidence, folder)
        async with client:
            tasks = [asyncio.create_task(reading.run(client)) for reading in readings]
            if tasks:
                await asyncio.wait(tasks, timeout=plan.closes)
            vendor.note(f"client {number} closes")
        evidence.closed_at[number] = loop.time()
        for reading in readings:
            if reading.stopped_at is None:
                reading.stopped_at = loop.time()
        for task in tasks:
            await task
        evidence.stats[number] = client.stats


async def _pass_through(request: aiohttp.ClientRequest, handler: Any) -> aiohttp.ClientResponse:
    response: aiohttp.ClientResponse = await handler(request)
    return response


def _pending(loop: SimulationLoop) -> str:
    tasks = sorted(asyncio.all_tasks(loop), key=hash)
    return f"{len(tasks)} tasks wait: {[task.get_coro() for task in tasks][:5]!r}"
