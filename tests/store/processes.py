"""Backfills in processes of their own."""

from __future__ import annotations

import asyncio
import datetime
import os
import sys

from clicksgroup.dates import date_range
from clicksgroup.sandbox import Sandbox
from tests.store.databases import TempDatabase

FULL = os.environ.get("CLICKSGROUP_TEST_FULL") == "1"
START = datetime.date(2025, 1, 1)
DATES = date_range(START, START + datetime.timedelta(days=149 if FULL else 23))

PAGES_PER_DATE = 4
"""Of 95 groups."""

_WORKER = """
import asyncio, sys
from clicksgroup import ClicksClient, Quota, date_range
from clicksgroup.store import ClickStore

async def main(url, key, store, schema, start, end):
    async with (
        ClicksClient(key, base_url=url, plan="business", quota=Quota(in_flight=2)) as client,
        ClickStore(store, schema=schema or None) as store,
    ):
        report = await store.backfill(client, date_range(start, end))
    return 1 if report.failed else 0

sys.exit(asyncio.run(main(*sys.argv[1:])))
"""


async def start_worker(sandbox: Sandbox, database: TempDatabase) -> asyncio.subprocess.Process:
    """Start a backfill of `DATES` in a process of its own."""
    arguments = (sandbox.url, sandbox.api_key, database.url, database.schema or "", str(DATES[0]), str(DATES[-1]))
    return await asyncio.create_subprocess_exec(sys.executable, "-W", "error", "-c", _WORKER, *arguments)
