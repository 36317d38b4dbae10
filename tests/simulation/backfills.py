"""Backfills that are killed at a random moment and run again, and what must be in their store each time."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import datetime
import pathlib
import sqlite3
from collections.abc import Callable
from typing import Any

import aiohttp
import attrs

from clicksgroup import ClicksClient, ClicksGroupError
from clicksgroup.store import BackfillReport, ClickStore
from clicksgroup.store.backfill import Clock
from tests.simulation.bodies import START, Row
from tests.simulation.loop import SimulationLoop
from tests.simulation.network import MemoryConnector
from tests.simulation.plan import BackfillPlan, Kill
from tests.simulation.process import Process
from tests.simulation.vendor import Vendor

FIRST_CLIENT = 100
"""The number of the client of the first run, by which the vendor tells runs from other clients."""

MOST_RUNS = 4
"""Runs that are not killed. One may meet a maintenance page before any good answer, and so leave out a date."""


@attrs.define(eq=False)
class BackfillRuns:
    """The runs of one backfill.

    Attributes:
        plan: what it is to do.
        file: its store.
        processes: one for each run.
        stored: at each kill, when it was, and the dates that the store had then.
        report: of the last run.
        error: what the last run ended with instead.
        problems: what must not be.
    """

    plan: BackfillPlan
    file: pathlib.Path
    vendor: Vendor
    processes: list[Process] = attrs.field(factory=list)
    stored: list[tuple[float, set[int]]] = attrs.field(factory=list)
    report: BackfillReport | None = None
    error: BaseException | None = None
    problems: list[str] = attrs.field(factory=list)

    async def run(self, make_client: Callable[[int, aiohttp.ClientSession], ClicksClient]) -> None:
        """Run it until it is done, through all its kills."""
        for kill in (*self.plan.kills, *[None] * MOST_RUNS):
            await self._run_once(make_client, kill)
            if self.processes[-1].dead:
                await asyncio.sleep(self.plan.restarts_after)
            elif self.error is None and self.report is not None and not self.report.failed:
                break
        dates = self._look(final=True)
        if missing := set(self.plan.dates) - dates:
            self.problems.append(f"at the end the store lacks {sorted(missing)}; {self.report}, {self.error!r}")

    async def _run_once(
        self, make_client: Callable[[int, aiohttp.ClientSession], ClicksClient], kill: Kill | None
    ) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulationLoop)
        number = FIRST_CLIENT + len(self.processes)
        process = Process(loop)
        self.processes.append(process)
        ended = asyncio.Event()

        def die() -> None:
            if not task.done():
                self.vendor.note(f"run {number} is killed")
                process.kill()
                self.stored.append((loop.time(), self._look(final=False)))
                ended.set()

        timer = _arm(process, kill, die) if kill is not None else None
        task = process.start(self._backfill(number, make_client))
        task.add_done_callback(lambda _: ended.set())
        await ended.wait()
        if timer is not None:
            timer.cancel()
        if task.done() and not process.dead:
            await asyncio.gather(task, return_exceptions=True)
            self.error = task.exception()
            if self.error is not None and not isinstance(self.error, ClicksGroupError):
                self.problems.append(f"a run ended with {self.error!r}")

    async def _backfill(self, number: int, make_client: Callable[[int, aiohttp.ClientSession], ClicksClient]) -> None:
        loop = asyncio.get_running_loop()
        clock = Clock(now=lambda: START + datetime.timedelta(seconds=loop.time()), monotonic=loop.time)
        dates = [datetime.date.fromordinal(ordinal) for ordinal in self.plan.dates]
        async with (
            aiohttp.ClientSession(connector=MemoryConnector(self.vendor, number)) as session,
            make_client(number, session) as client,
            ClickStore(self.file, clock=clock) as store,
        ):
            works = [store.backfill(client, dates, groups=self.plan.groups) for _ in range(1 + self.plan.doubled)]
            reports = await asyncio.gather(*works)
            self.report = reports[-1]
            sent = sum(request.client == number for request in self.vendor.requests)
            if (said := sum(report.requests for report in reports)) != sent:
                self.problems.append(f"the reports say {said} requests, but {sent} were sent")
            if len(reports) > 1 and not any(report.failed for report in reports) and all(r.requests for r in reports):
                self.problems.append(f"two backfills at the same time both sent requests: {reports}")

    def _look(self, *, final: bool) -> set[int]:
        """The dates that the store has; each must be whole and exact, whenever the process died."""
        if not self.file.exists():
            return set()
        with contextlib.closing(sqlite3.connect(self.file)) as connection:
            try:
                return self._dates(connection)
            except sqlite3.OperationalError as error:
                # It may have died before the tables were there.
                if final or "no such table" not in str(error):
                    self.problems.append(f"the store cannot be read: {error}")
                return set()

    def _dates(self, connection: sqlite3.Connection) -> set[int]:
        rows: dict[int, list[Row]] = {}
        for date, *row in connection.execute(
            "SELECT date, group_id, group_name, clicks, unique_users FROM group_clicks ORDER BY date, group_id"
        ):
            rows.setdefault(_ordinal(date), []).append(tuple(row))
        totals = dict(connection.execute("SELECT date, total_count FROM click_dates"))
        whole = {_ordinal(date): total for date, total in totals.items()}
        if self.plan.groups is not None:
            asked: dict[int, set[int]] = {}
            for date, group in connection.execute("SELECT date, group_id FROM click_date_groups"):
                asked.setdefault(_ordinal(date), set()).add(group)
            whole = {date: len(rows.get(date, ())) for date, ids in asked.items() if ids == set(self.plan.groups)}
        for date in sorted(rows.keys() | whole.keys()):
            self._check(date, rows.get(date, []), whole.get(date))
        return set(whole)

    def _check(self, ordinal: int, rows: list[Row], total: int | None) -> None:
        if total != len(rows):
            self.problems.append(f"the store has {len(rows)} records of {ordinal}, of {total}")
        if rows not in map(sorted, self.vendor.answers(ordinal, self.plan.groups)):
            self.problems.append(f"the store has {len(rows)} records of {ordinal} that are not as listed")


def _arm(process: Process, kill: Kill, die: Callable[[], None]) -> asyncio.TimerHandle | None:
    """Let a process die after some seconds, or some statements."""
    neutral = contextvars.Context()
    if kill.seconds is not None:
        return process.loop.call_later(kill.seconds, die, context=neutral)
    left = [kill.statements]

    def count() -> None:
        left[0] -= 1
        if left[0] == 0:
            process.loop.call_soon(die, context=neutral)

    process.on_statement = count
    return None


def _ordinal(date: Any) -> int:
    return datetime.date.fromisoformat(date).toordinal()
