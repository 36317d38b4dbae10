"""Runs one world from its seed, and tells what it did against its promises."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import gc
import itertools
import logging
import random
import sys
import warnings
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import aiohttp
import attrs

from clicksgroup import ClicksClient, PaginationWarning
from clicksgroup.prefetching import Prefetcher
from clicksgroup.workers import Worker
from tests.simulation.bodies import START
from tests.simulation.checks import Evidence, problems
from tests.simulation.loop import SerialTask, SimulationLoop
from tests.simulation.network import MemoryConnector, SerialProtocol
from tests.simulation.plan import ClientPlan, WorldPlan, draw_world
from tests.simulation.readers import Reading
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
    with _deterministic(seed, lines, plan) as evidence_of:
        loop = SimulationLoop()
        vendor = Vendor(plan, loop, lines)
        evidence = Evidence(plan, vendor)
        evidence_of.append(loop)
        try:
            loop.run_until_complete(_live(plan, vendor, evidence))
        except Exception as error:
            # A world that fails in any way is a finding.
            evidence.problems.append(f"{type(error).__name__}: {error}; {_pending(loop)}")
        finally:
            seconds = loop.time()
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()
        gc.collect()
        evidence.problems += [f"asyncio would log: {text}" for text in loop.reported]
    found = problems(evidence, seconds)
    if lines is not None:
        lines.extend(f"PROBLEM {problem}" for problem in found)
    return Outcome(seed, found, len(vendor.requests), seconds, lines or [])


async def _live(plan: WorldPlan, vendor: Vendor, evidence: Evidence) -> None:
    evidence.readings = [Reading(reader) for reader in plan.readers]
    await asyncio.gather(
        *(_client(number, client, plan, vendor, evidence) for number, client in enumerate(plan.clients))
    )
    evidence.ended_at = asyncio.get_running_loop().time()
    await asyncio.sleep(SETTLING)
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimulationLoop)
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    evidence.problems += [f"a task is left: {task!r}" for task in others]
    evidence.problems += [f"a timer is left: {handle!r}" for handle in loop.live_timers()]


async def _client(number: int, plan: ClientPlan, world: WorldPlan, vendor: Vendor, evidence: Evidence) -> None:
    loop = asyncio.get_running_loop()
    readings = [reading for reading in evidence.readings if reading.plan.client == number]
    options: Any = {"middlewares": (_pass_through,)} if plan.middleware else {}
    async with aiohttp.ClientSession(connector=MemoryConnector(vendor, number), **options) as session:
        client = ClicksClient(
            "simulated-key", plan=world.plan, quota=world.quota, base_url=BASE_URL, session=session,
            timeout=world.timeout, retry=world.retry, check=plan.check, api_version=plan.api_version,
        )  # fmt: skip
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


@contextlib.contextmanager
def _deterministic(seed: int, lines: list[str] | None, plan: WorldPlan) -> Iterator[list[SimulationLoop]]:
    """No wall clock, no order of a set that depends on addresses, one source of chance, garbage only when we say so."""
    loops: list[SimulationLoop] = []

    def monotonic() -> float:
        return loops[0].time()

    def now(tz: Any = None) -> datetime.datetime:
        return START + datetime.timedelta(seconds=monotonic())

    SerialTask.numbers = itertools.count()
    SerialProtocol.numbers = itertools.count()
    numbers = itertools.count()

    def serial(self: Any) -> int:
        number: int = self.__dict__.setdefault("_simulation_number", next(numbers))
        return number

    state = random.getstate()
    random.seed(seed)
    logger, handler = logging.getLogger("clicksgroup"), _Lines(lines)
    level, propagate = logger.level, logger.propagate
    logger.setLevel(logging.DEBUG if plan.logs or lines is not None else logging.CRITICAL)
    logger.propagate = False
    logger.addHandler(handler)
    hook = sys.unraisablehook
    unraisable: list[str] = []
    sys.unraisablehook = lambda args: unraisable.append(f"{args.exc_value!r} in {args.object!r}")
    enabled = gc.isenabled()
    gc.disable()
    try:
        with (
            warnings.catch_warnings(),
            mock.patch.object(Worker, "__hash__", lambda worker: hash(worker._task)),
            mock.patch.object(Prefetcher, "__hash__", serial),
            mock.patch("clicksgroup.workers.datetime", SimpleNamespace(datetime=SimpleNamespace(now=now), UTC=None)),
            mock.patch("aiohttp.connector.monotonic", monotonic),
        ):
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", PaginationWarning)
            yield loops
    finally:
        sys.unraisablehook = hook
        if enabled:
            gc.enable()
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
        random.setstate(state)
    if unraisable and loops:
        loops[0].reported += unraisable


class _Lines(logging.Handler):
    """Log records as lines of the trace."""

    def __init__(self, lines: list[str] | None) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if self._lines is not None:
            self._lines.append(f"{'':14} {record.levelname} {text}")


def _pending(loop: SimulationLoop) -> str:
    tasks = sorted(asyncio.all_tasks(loop), key=hash)
    return f"{len(tasks)} tasks wait: {[task.get_coro() for task in tasks][:5]!r}"
