"""How long a user waits for a large date, where the service answers after 0.4 s, as a ratio to the round trips.

All runs of a round go on at the same time, since they wait nearly all the time; each has a sandbox of its own. A round
trip is measured: the mean of those that go one after the other at the same time. So the load of the machine cancels.
"""

from __future__ import annotations

import asyncio
import datetime
import math
import secrets
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import aiohttp
import attrs
import orjson

from benchmarks.harness import Options, machine, table
from clicksgroup import Quota, date_range
from clicksgroup.sandbox import Sandbox

LATENCY = 0.4
PAGE_SIZE = 30
LARGE = datetime.date(2025, 1, 1)
DATES = date_range("2025-01-01", "2025-03-02")
"""The mixed job: a large date, then 60 small ones."""


@attrs.frozen
class Case:
    """A job: the pages of its first date, how many requests may be in flight, and the dates; all others have one."""

    pages: int
    in_flight: int
    dates: Sequence[datetime.date] = (LARGE,)

    @property
    def requests(self) -> int:
        return self.pages + len(self.dates) - 1

    @property
    def round_trips(self) -> int:
        """The fewest there can be: nobody knows how many pages a date has before its first one has come."""
        return 1 + math.ceil((self.requests - 1) / self.in_flight)

    def __str__(self) -> str:
        others = f", then {len(self.dates) - 1} dates of one" if len(self.dates) > 1 else ""
        return f"{self.pages} pages{others}, {self.in_flight} in flight"


CASES = (Case(34, 3), Case(10, 2), Case(34, 3, DATES))
TARGETS = ("ratio at most 1.10", "ratio at most 1.10", "places used at least 0.95")


async def in_parallel(sandbox: Sandbox, case: Case) -> int:
    """Clicksgroup as its README shows it."""
    async with sandbox.client() as client:
        return len([record async for record in client.clicks(case.dates)])


async def one_by_one(sandbox: Sandbox, case: Case) -> int:
    """Clicksgroup with check="warn": one page of a date after the other."""
    async with sandbox.client(check="warn") as client:
        return len([record async for record in client.clicks(case.dates)])


async def hand_written(sandbox: Sandbox, case: Case) -> int:
    """Aiohttp and a semaphore: the first page of each date, and then a gather of the others. Nothing is checked."""
    places = asyncio.Semaphore(case.in_flight)
    headers = {"Authorization": f"APIKey {sandbox.api_key}", "User-Agent": "benchmark"}
    async with aiohttp.ClientSession(headers=headers) as session:

        async def page(date: datetime.date, number: int) -> tuple[int, int]:
            url = f"{sandbox.url}/api/link/v1/clicks-by-group?ymd={date}&pages={number}"
            async with places, session.get(url) as response:
                result = orjson.loads(await response.read())["result"]
            return len(result["list"]), result["extra"]["totalCount"]

        async def whole(date: datetime.date) -> int:
            size, total = await page(date, 1)
            others = range(2, math.ceil(total / PAGE_SIZE) + 1)
            return size + sum([size for size, _ in await asyncio.gather(*(page(date, number) for number in others))])

        return sum(await asyncio.gather(*map(whole, case.dates)))


SEQUENTIAL = "one page after the other"
SIDES: dict[str, Callable[[Sandbox, Case], Awaitable[int]]] = {
    "clicksgroup": in_parallel,
    SEQUENTIAL: one_by_one,
    "hand-written gather": hand_written,
}


def run(options: Options) -> str:
    """Run all sides in all cases, and return the table."""
    latency = 0.01 if options.quick else LATENCY
    rounds = [asyncio.run(_round(latency)) for _ in range(options.rounds)]
    rows = []
    for number, case in enumerate(CASES):
        for name in SIDES:
            seconds = statistics.median(walls[number, name] for walls in rounds)
            trips = statistics.median(walls[number, name] / _round_trip(walls) for walls in rounds)
            rows.append(
                (
                    f"{case}: {name}",
                    f"{seconds:.2f}",
                    f"{trips / case.round_trips:.2f}",
                    f"{case.requests / case.in_flight / trips:.2f}",
                )
            )
    head = ("", "wall, s", "× round trips", "places used")
    targets = [
        f"- {case} ({case.round_trips} round trips): wanted {target}"
        for case, target in zip(CASES, TARGETS, strict=True)
    ]
    about = f"{latency:g} s of latency; the median of {len(rounds)} rounds. {machine(['clicksgroup', 'aiohttp'])}"
    return "\n".join([about, "", table(head, rows), "", *targets])


def _round_trip(walls: Mapping[tuple[int, str], float]) -> float:
    return walls[0, SEQUENTIAL] / CASES[0].requests


async def _round(latency: float) -> dict[tuple[int, str], float]:
    """The seconds of each case and side."""
    keys = [(number, name) for number in range(len(CASES)) for name in SIDES]
    barrier = asyncio.Barrier(len(keys))
    walls = await asyncio.gather(*(_wall(CASES[number], SIDES[name], latency, barrier) for number, name in keys))
    return dict(zip(keys, walls, strict=True))


async def _wall(
    case: Case, side: Callable[[Sandbox, Case], Awaitable[int]], latency: float, barrier: asyncio.Barrier
) -> float:
    def groups(date: datetime.date) -> int:
        return case.pages * PAGE_SIZE if date == LARGE else 1

    # Each with a key of its own: the port of an ended one may be given again, and the process remembers its quota.
    key = secrets.token_hex(16)
    async with Sandbox(groups, latency=latency, quota=Quota(in_flight=case.in_flight), api_key=key) as sandbox:
        # Its clicks are generated when they are asked for first.
        for date in case.dates:
            sandbox.truth(date)
        await barrier.wait()
        began = time.perf_counter()
        records = await side(sandbox, case)
        wall = time.perf_counter() - began
        if records != case.pages * PAGE_SIZE + len(case.dates) - 1 or len(sandbox.requests) != case.requests:
            raise RuntimeError(f"{case}: {records} records, {len(sandbox.requests)} requests")
    return wall
