"""`clicksgroup clicks`: the records of some dates, straight from the API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

import click

from clicksgroup.cli import options, progress, words
from clicksgroup.cli.console import LiveLine, is_watched, say
from clicksgroup.cli.output import Output
from clicksgroup.cli.output import options as output_options
from clicksgroup.cli.run import run
from clicksgroup.cli.session import Session, open_client
from clicksgroup.dates import DateRange
from clicksgroup.models import GroupClicks


@click.command(
    short_help="Clicks of a date or many, straight from the API.",
    epilog="""\b
Examples:
  clicksgroup clicks yesterday
  clicksgroup clicks 2025-01 --groups 151,207
  clicksgroup clicks 2025-01-01 2025-03-31 --plan business > clicks.csv
  clicksgroup clicks 2025-01 -o january.parquet
  clicksgroup clicks today --tz Asia/Seoul --format ndjson | jq .clicks""",
)
@options.dates()
@options.groups
@output_options
@options.access
@options.check
@options.verbose
def clicks(
    dates: DateRange,
    groups: tuple[int, ...] | None,
    format: str | None,  # noqa: A002
    output: str | None,
    access: options.Access,
) -> None:
    """Print the clicks of each group from START to END, both included.

    START and END are 2025-01-31, 2025-01 (the whole month), today or yesterday. Without END it is START alone.

    Nothing is kept: a job of many dates that may be interrupted is better done by `backfill`, which goes on where it
    stopped. Unique users are people: never add them over dates or groups.
    """
    run(_clicks(dates, groups, Output.chosen(format, output), access))


async def _clicks(
    dates: DateRange, groups: tuple[int, ...] | None, destination: Output, access: options.Access
) -> None:
    tally, line = progress.Tally(len(dates)), LiveLine()
    async with open_client(access) as session:
        try:
            async with progress.ticking(lambda: progress.show(line, tally.line(session))):
                await destination.write(_batches(session, dates, groups, tally), line)
        finally:
            line.hide()
    if is_watched():
        say(_summary(tally, session, sandbox=access.sandbox), "dim")


async def _batches(
    session: Session, dates: DateRange, groups: tuple[int, ...] | None, tally: progress.Tally
) -> AsyncIterator[Sequence[GroupClicks]]:
    async with aclosing(session.client.pages(dates, groups=groups)) as pages:
        async for page in pages:
            tally.add(page)
            yield page.records


def _summary(tally: progress.Tally, session: Session, *, sandbox: bool) -> str:
    stats = session.client.stats
    parts = [
        f"{words.count(tally.records, 'record')} of {words.count(tally.dates, 'date')}",
        words.count(stats.requests, "request"),
        words.duration(tally.seconds),
        "made up by the sandbox" if sandbox else "",
    ]
    return " · ".join(part for part in parts if part)
