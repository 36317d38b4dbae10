"""`clicksgroup clicks`, `totals` and `groups`: records from the API, printed and not stored."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

import attrs
import click

from clicksgroup.cli import options
from clicksgroup.cli.console import State, format_count, format_duration, is_interactive, note, showing
from clicksgroup.cli.output import SMALL_FORMATS, Output, output_options
from clicksgroup.cli.resources import Access, GroupChoice, OpenedClient, find_ids, open_client
from clicksgroup.cli.run import run_async
from clicksgroup.dates import DateRange
from clicksgroup.errors import ConfigurationError
from clicksgroup.models import Group, GroupClicks, GroupTotals, Page
from clicksgroup.plans import Plan
from clicksgroup.protocol.requests import PAGE_SIZE
from clicksgroup.streams import Stream


@click.command(
    short_help="Fetch clicks from the API and print them.",
    epilog="""\b
Examples:
  clicksgroup clicks yesterday
  clicksgroup clicks 2025-01 --groups 151,207
  clicksgroup clicks 2025-01-01 2025-03-31 --plan business > clicks.csv
  clicksgroup clicks 2025-01 -o january.parquet
  clicksgroup clicks today --tz Asia/Seoul --format ndjson | jq .clicks""",
)
@options.dates(begun=True)
@options.groups
@output_options()
@options.access
@options.verbose
@run_async
async def clicks(dates: DateRange, groups: GroupChoice, output: Output, access: Access) -> None:
    """Print the clicks of each group from START to END, both included.

    START and END are 2025-01-31, 2025-01 (the whole month), today or yesterday. Without END, only the dates of START
    are fetched.

    Nothing is stored. For many dates use `backfill`, which continues where it stopped. Unique users are people: never
    add them over dates or groups; `totals` counts each once over a range.
    """
    began = time.monotonic()
    async with open_client(access) as opened:
        ids = await find_ids(access, groups, opened)
        progress = _PagesProgress(opened, len(dates))
        async with showing(progress.state), aclosing(opened.client.pages(dates, groups=ids)) as pages:
            await output.write(progress.records_of(pages))
    if is_interactive():
        records = f"{format_count(progress.records, 'record')} of {format_count(progress.dates, 'date')}"
        source = "made up by the sandbox" if access.sandbox else None
        note(records, opened.requests_sent, format_duration(time.monotonic() - began), source, style="dim")


@attrs.define
class _PagesProgress:
    """How much of a stream of pages has arrived. `total` is the number of dates."""

    opened: OpenedClient
    total: int
    dates: int = 0
    pages: int = 0
    records: int = 0
    last: Page | None = None

    async def records_of(self, pages: Stream[Page]) -> AsyncIterator[Sequence[GroupClicks]]:
        async for page in pages:
            if self.last is None or self.last.date != page.date:
                self.dates += 1
            self.last = page
            self.pages += 1
            self.records += len(page)
            yield page.records

    def state(self) -> State:
        done, pages = 0, None
        if self.last is not None:
            done = self.dates if self.last.next_number is None else self.dates - 1
            left_of_date = max(math.ceil(self.last.total_count / PAGE_SIZE) - self.last.number, 0)
            pages = (self.pages + left_of_date) * self.total / self.dates
        parts = (
            f"{done:,} of {format_count(self.total, 'date')}",
            format_count(self.pages, "page"),
            format_count(self.records, "record"),
        )
        return self.opened.state(parts, pages)


@click.command(
    short_help="List the account's link groups and their ids.",
    epilog="""\b
Examples:
  clicksgroup groups
  clicksgroup groups --name kitchen --format ndjson | jq .id""",
)
@click.option("--name", metavar="TEXT", help="Only the groups whose name contains TEXT.")
@output_options(SMALL_FORMATS)
@options.access
@options.verbose
@run_async
async def groups(name: str | None, output: Output, access: Access) -> None:
    """List the link groups of the account: id, name, memo and number of links. 30 groups take one request."""
    if name is not None and not name:
        raise ConfigurationError("--name: it is empty; leave it out for all groups")
    async with open_client(access) as opened:
        await _write_all(opened, opened.client.groups(name=name), output, Group)


@click.command(
    short_help="Fetch clicks and unique users of a whole range.",
    epilog="""\b
Examples:
  clicksgroup totals 2025-01-01 2025-01-07
  clicksgroup totals 2025-01 --plan business --groups 151,207 -o january.csv""",
)
@options.dates(begun=True, longest=Plan.PERSONAL.totals_days)
@options.groups
@output_options(SMALL_FORMATS)
@options.access
@options.verbose
@run_async
async def totals(dates: DateRange, groups: GroupChoice, output: Output, access: Access) -> None:
    """Print for each group the clicks and the unique users of all dates from START to END.

    Each person counts once over the whole range, which no sum over dates can give. A range has at most 7 days on
    Personal, 14 on Premium, and else a month. It is always asked from version 2 of the vendor's API.
    """
    async with open_client(access) as opened:
        ids = await find_ids(access, groups, opened)
        await _write_all(opened, opened.client.totals(dates[0], dates[-1], groups=ids), output, GroupTotals)


async def _write_all(opened: OpenedClient, stream: Stream[Any], output: Output, record: type) -> None:
    async with showing(lambda: opened.state([opened.requests_sent])), aclosing(stream):
        await output.write(([one] async for one in stream), record)
