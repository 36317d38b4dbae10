"""Stored dates survive killed processes, reset connections and concurrent writers; memory does not grow with the store.

`CLICKSGROUP_TEST_FULL=1` runs these tests at the size that the store is meant for.
"""

from __future__ import annotations

import asyncio
import datetime
import itertools
import random
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from sqlalchemy.engine import make_url

from clicksgroup.dates import date_range
from clicksgroup.models import Day
from clicksgroup.plans import Quota
from clicksgroup.sandbox import Sandbox
from clicksgroup.store import ClickStore
from tests.store.databases import TempDatabase
from tests.store.processes import DATES, FULL, PAGES_PER_DATE, START, start_worker

QUOTA = Quota(in_flight=2)


async def stored_days(database: TempDatabase) -> dict[datetime.date, Day]:
    async with database.store() as store:
        return {day.date: day async for day in store.days(DATES[0], DATES[-1])}


def assert_complete_and_correct(days: dict[datetime.date, Day], sandbox: Sandbox) -> None:
    for date, day in days.items():
        assert list(day) == sorted(sandbox.truth(date), key=lambda record: record.group_id)
        assert day.total_count == len(day) == 95


@pytest.mark.slow
async def test_kills(database: TempDatabase) -> None:
    """A backfill that is killed again and again loses only the dates in flight, and completes."""
    wasted: Counter[datetime.date] = Counter()
    async with Sandbox(groups=95, quota=Quota(in_flight=9), latency=0.02) as sandbox:
        kills = 0
        while True:
            before = len(sandbox.requests)
            process = await start_worker(sandbox, database)
            ended = asyncio.ensure_future(process.wait())
            reached = asyncio.ensure_future(sandbox.wait_for_requests(before + 37))
            await asyncio.wait([ended, reached], return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                reached.cancel()
                assert await ended == 0
                break
            process.kill()
            await ended
            kills += 1
            asked = Counter(request.date for request in sandbox.requests[before:])
            days = await stored_days(database)
            assert_complete_and_correct(days, sandbox)
            lost = {date: count for date, count in asked.items() if date is not None and date not in days}
            # One more may have been in its transaction.
            assert len(lost) <= QUOTA.in_flight + 1
            wasted.update(lost)
        days = await stored_days(database)
        assert list(days) == list(DATES)
        assert_complete_and_correct(days, sandbox)
        assert kills >= 2
        assert len(sandbox.requests) == len(DATES) * PAGES_PER_DATE + sum(wasted.values())
        again = await start_worker(sandbox, database)
        assert await again.wait() == 0
        assert len(sandbox.requests) == len(DATES) * PAGES_PER_DATE + sum(wasted.values())


@pytest.mark.slow
async def test_two_processes(database: TempDatabase) -> None:
    """Two processes fill one store at the same time without an error."""
    async with Sandbox(groups=95, quota=Quota(in_flight=9)) as sandbox:
        processes = [await start_worker(sandbox, database) for _ in range(2)]
        assert [await process.wait() for process in processes] == [0, 0]
        days = await stored_days(database)
        assert list(days) == list(DATES)
        assert_complete_and_correct(days, sandbox)


@attrs.define
class CuttingProxy:
    """Forwards bytes between a store and PostgreSQL, and resets each connection after a random number of reads."""

    host: str
    port: int
    cuts: int = 0
    random: random.Random = attrs.field(factory=lambda: random.Random(0))
    tasks: set[asyncio.Task[None]] = attrs.field(factory=set)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(self.host, self.port)
        reads_left = itertools.count(self.random.randrange(40, 200), -1)
        tasks = [
            asyncio.ensure_future(self.forward(reader, to_server, reads_left)),
            asyncio.ensure_future(self.forward(from_server, writer, reads_left)),
        ]
        self.tasks.update(tasks)
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for end in (writer, to_server):
            end.transport.abort()

    async def forward(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, reads_left: Iterator[int]
    ) -> None:
        while data := await source.read(65536):
            if next(reads_left) <= 0:
                self.cuts += 1
                return
            target.write(data)


@pytest.mark.slow
@pytest.mark.postgres
async def test_reset_connections(postgres: TempDatabase) -> None:
    """Connections that are reset, before, in or after a commit, cost no date and no request."""
    # Create the tables first, since opening a store is not tried again.
    async with postgres.store():
        pass
    url = make_url(postgres.url)
    proxy = CuttingProxy(url.host or "127.0.0.1", url.port or 5432)
    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with (
        server,
        Sandbox(groups=95, quota=QUOTA) as sandbox,
        sandbox.client() as client,
        ClickStore(url.set(host="127.0.0.1", port=port), schema=postgres.schema) as store,
    ):
        report = await store.backfill(client, DATES)
        assert (report.fetched, report.failed) == (len(DATES), {})
        assert len(sandbox.requests) == len(DATES) * PAGES_PER_DATE
        assert proxy.cuts >= 3
        days = await stored_days(postgres)
        assert list(days) == list(DATES)
        assert_complete_and_correct(days, sandbox)


MEASURE = """
import asyncio, resource, sys
from clicksgroup import exports
from clicksgroup.store import ClickStore

async def main(path, out):
    async with ClickStore(path) as store:
        with open(out, "wb") as file:
            rows = await exports.write_parquet(store.clicks("2025-01-01", "2029-12-31"), file)
        days = 0
        async for day in store.days("2025-01-01", "2029-12-31"):
            days += 1
    print(rows, days, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.slow
async def test_memory(tmp_path: Path) -> None:
    """Ten times the records take hardly more memory, from the store and into Parquet."""
    pytest.importorskip("arro3.io")
    dates = 1000 if FULL else 150
    used = {}
    for share in (10, 1):
        path = tmp_path / f"{share}.db"
        async with ClickStore(path):
            pass
        _fill(path, dates // share)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", MEASURE, str(path), str(tmp_path / "out.parquet"), stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        rows, days, used[share] = map(int, output.split())
        assert (rows, days) == (dates // share * 1000, dates // share)
    # In MiB.
    assert used[1] - used[10] < 25, used


def _fill(path: Path, dates: int) -> None:
    """Insert 1,000 groups a date, as fast as SQLite can."""
    days = [str(date) for date in date_range(START, START + datetime.timedelta(days=dates - 1))]
    with sqlite3.connect(path) as connection:
        connection.executemany(
            "INSERT INTO group_clicks VALUES ('default', ?, ?, ?, ?, ?)",
            ((day, group, f"group {group}", group * 7, group) for day in days for group in range(1, 1001)),
        )
        connection.executemany(
            "INSERT INTO click_dates VALUES ('default', ?, 1000, '2029-12-31T00:00:00.000000Z', NULL)",
            ((day,) for day in days),
        )
    connection.close()
