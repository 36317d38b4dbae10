"""`clicksgroup clicks`: the records of some dates from the API."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

import attrs
import click

from clicksgroup.cli import options
from clicksgroup.cli.console import LiveLine, format_count, format_duration, is_interactive, joined, note
from clicksgroup.cli.groups import find_ids
from clicksgroup.cli.output import Output
from clicksgroup.cli.output import options as output_options
from clicksgroup.cli.parsing import GroupChoice
from clicksgroup.cli.progress import Pace, State, showing
from clicksgroup.cli.resources import OpenedClient, open_client
from clicksgroup.cli.run import run_async
from clicksgroup.client import ClicksClient
from clicksgroup.dates import DateRange
from clicksgroup.models import GroupClicks, Page
from clicksgroup.protocol.requests import PAGE_SIZE


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
@options.check
@options.verbose
@run_async
async def clicks(dates: DateRange, groups: GroupChoice, output: Output, access: options.Access) -> None:
    """Print the clicks of each group from START to END, both included.

    START and END are 2025-01-31, 2025-01 (the whole month), today or yesterday. Without END, only the dates of START
    are fetched.

    Nothing is stored. For many dates use `backfill`, which continues where it stopped. Unique users are people: never
    add them over dates or groups; `totals` counts each once over a range.
    """
    line = LiveLine()
    async with open_client(access) as opened:
        ids = await find_ids(opened, access, groups)
        progress = _Progress(opened, len(dates))
        async with showing(progress.state, line):
            await output.write(_batches(opened.client, dates, ids, progress), line)
    if is_interactive():
        note(progress.summary(sandbox=access.sandbox), "dim")


async def _batches(
    client: ClicksClient, dates: DateRange, groups: tuple[int, ...] | None, progress: _Progress
) -> AsyncIterator[Sequence[GroupClicks]]:
    async with aclosing(client.pages(dates, groups=groups)) as pages:
        async for page in pages:
            progress.add(page)
            yield page.records


@attrs.define
class _Progress:
    """How much of a stream of pages has arrived. `total` is the number of dates."""

    opened: OpenedClient
    total: int
    dates: int = 0
    pages: int = 0
    records: int = 0
    pages_of_date: int = 0
    last: Page | None = None
    pace: Pace = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.pace = Pace(self.opened)

    def add(self, page: Page) -> None:
        if self.last is None or self.last.date != page.date:
            self.dates += 1
            self.pages_of_date = 0
        self.last = page
        self.pages += 1
        self.pages_of_date += 1
        self.records += len(page.records)

    def state(self) -> State:
        done = self.dates - 1 if self.last is not None and self.last.next_number is not None else self.dates
        parts = (
            f"{done:,} of {format_count(self.total, 'date')}",
            format_count(self.pages, "page"),
            format_count(self.records, "record"),
        )
        return State(parts, self.opened.quota.next_request, self._seconds_left())

    def summary(self, *, sandbox: bool) -> str:
        return joined(
            f"{format_count(self.records, 'record')} of {format_count(self.dates, 'date')}",
            format_count(self.opened.client.stats.requests, "request"),
            format_duration(self.pace.seconds),
            "made up by the sandbox" if sandbox else None,
        )

    def _seconds_left(self) -> float | None:
        if self.last is None:
            return None
        dates_before = self.dates - 1
        pages_before = self.pages - self.pages_of_date
        in_this_date = max(math.ceil(self.last.total_count / PAGE_SIZE), self.pages_of_date)
        in_each_date = pages_before / dates_before if dates_before else in_this_date
        # The stream fetches ahead of its reader, so these are more than were read.
        fetched = self.opened.client.stats.pages
        pages = pages_before + in_this_date + in_each_date * (self.total - self.dates)
        return self.pace.seconds_left(math.ceil(pages - fetched))
