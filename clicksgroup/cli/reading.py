"""`clicksgroup status`, `export` and `chart`: what is in the store. No request is sent."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import click

from clicksgroup.cli import options, words
from clicksgroup.cli import output as outputs
from clicksgroup.cli.console import LiveLine, is_watched, printable, say, stdout
from clicksgroup.cli.run import run
from clicksgroup.dates import DateRange
from clicksgroup.errors import ConfigurationError
from clicksgroup.models import GroupClicks

TERMINAL_TOP, FILE_TOP = 40, 24
"""Groups that `chart` shows, unless --top says otherwise."""

_BATCH = 2000  # records that are written at a time

sandbox = click.option(
    "--sandbox",
    is_flag=True,
    help="Without --store: show made-up clicks, the last 90 days unless START says otherwise.",
)


@click.command(
    short_help="Which dates a store has: a calendar.",
    epilog="""\b
Examples:
  clicksgroup status --store clicks.db
  clicksgroup status 2025-01 yesterday --settle 3d""",
)
@options.dates(optional=True)
@options.store
@options.settle
@options.groups
@sandbox
def status(
    dates: DateRange | None,
    choice: options.StoreChoice,
    settle: datetime.timedelta,
    groups: tuple[int, ...] | None,
    sandbox: bool,
) -> None:
    """Show for each date from START to END whether the store has it: final, provisional, missing, or failed.

    Without START it is from the first date in the store to the last. Provisional dates were fetched before they were
    final; the next `backfill` asks for them again, and for those that are missing or failed.
    """
    run(_status(dates, choice, settle, groups, sandbox=sandbox))


async def _status(
    dates: DateRange | None,
    choice: options.StoreChoice,
    settle: datetime.timedelta,
    groups: tuple[int, ...] | None,
    *,
    sandbox: bool,
) -> None:
    from clicksgroup.charts import calendar
    from clicksgroup.cli.stores import open_to_read

    async with open_to_read(choice, dates, sandbox=sandbox, settle=settle) as (store, span):
        coverage = await store.coverage(span[0], span[-1], groups=groups)
        failures = await store.failures(span[0], span[-1])
    stdout().print(calendar(coverage, failures, title=f"account {choice.account}, {span[0]} to {span[-1]}"))
    failed = [date for date in failures if date not in set(coverage.final)]
    for date in failed[:_MOST_FAILURES]:
        say(f"failed {date}: {failures[date]}", "red")
    if len(failed) > _MOST_FAILURES:
        say(f"… and {len(failed) - _MOST_FAILURES:,} more that failed", "red")


_MOST_FAILURES = 5


@click.command(
    short_help="Stored clicks as CSV, NDJSON, Parquet or a table.",
    epilog="""\b
Examples:
  clicksgroup export --store clicks.db -o clicks.parquet
  clicksgroup export 2025-01 2025-03 --groups 151,207 > quarter.csv""",
)
@options.dates(optional=True)
@options.store
@options.groups
@outputs.options
@sandbox
def export(
    dates: DateRange | None,
    choice: options.StoreChoice,
    groups: tuple[int, ...] | None,
    format: str | None,  # noqa: A002
    output: str | None,
    sandbox: bool,
) -> None:
    """Write the stored clicks of each group from START to END, by date and group id; without START all there are.

    Unique users are people: never add them over dates or groups.
    """
    run(_export(dates, choice, groups, outputs.Output.chosen(format, output), sandbox=sandbox))


async def _export(
    dates: DateRange | None,
    choice: options.StoreChoice,
    groups: tuple[int, ...] | None,
    destination: outputs.Output,
    *,
    sandbox: bool,
) -> None:
    from clicksgroup.cli.stores import open_to_read

    async with open_to_read(choice, dates, sandbox=sandbox) as (store, span):
        missing = (await store.coverage(span[0], span[-1], groups=groups)).missing
        if missing:
            say(f"warning: {_that_are_missing(missing, len(span))}", "yellow")
        await destination.write(_batches(store.clicks(span[0], span[-1], groups=groups)), LiveLine())


def _that_are_missing(missing: Sequence[datetime.date], total: int) -> str:
    return (
        f"{len(missing):,} of {words.count(total, 'date')} are not in the store, {missing[0]} first; "
        "clicksgroup status shows which, backfill fetches them"
    )


async def _batches(records: AsyncIterator[GroupClicks]) -> AsyncIterator[Sequence[GroupClicks]]:
    batch: list[GroupClicks] = []
    async for record in records:
        batch.append(record)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


@click.command(
    short_help="Which group did what: sparklines, or a chart in a file.",
    epilog="""\b
Examples:
  clicksgroup chart --store clicks.db
  clicksgroup chart 2025-01 2025-03 --top 10
  clicksgroup chart 2025-01 2025-12 -o year.html
  clicksgroup chart -o clicks.png --theme dark --groups 151,207""",
)
@options.dates(optional=True)
@options.store
@options.groups
@click.option(
    "--top", type=click.IntRange(1), metavar="N",
    help="Show the N groups with the most clicks, and the rest summed.  [default: 40, in a file 24]",
)  # fmt: skip
@click.option("-o", "--output", metavar="FILE", help="Draw small multiples into FILE.html, .svg or .png.")
@click.option("--theme", type=click.Choice(["light", "dark"]), default="light", show_default=True, help="Of the file.")
@sandbox
def chart(
    dates: DateRange | None,
    choice: options.StoreChoice,
    groups: tuple[int, ...] | None,
    top: int | None,
    output: str | None,
    theme: str,
    sandbox: bool,
) -> None:
    """Show the stored clicks from START to END, the groups with the most clicks first.

    In the terminal it is a line a group: a sparkline on its own scale, all clicks, the share of all clicks shown (with
    --groups, of those groups' alone), the best date, and the last 7 days against the 7 before. With -o it is one chart
    a group, each on its own scale.

    Clicks only: unique users are people, who do not add up over dates or groups.
    """
    if output is not None and _suffix(output) not in ("html", "svg", "png"):
        raise ConfigurationError(f"-o: {output}: its name has to end in .html, .svg or .png")
    run(_chart(dates, choice, groups, top, output, theme, sandbox=sandbox))


async def _chart(
    dates: DateRange | None,
    choice: options.StoreChoice,
    groups: tuple[int, ...] | None,
    top: int | None,
    output: str | None,
    theme: str,
    *,
    sandbox: bool,
) -> None:
    from clicksgroup import charts
    from clicksgroup.cli.stores import open_to_read

    async with open_to_read(choice, dates, sandbox=sandbox) as (store, span):
        coverage = await store.coverage(span[0], span[-1], groups=groups)
        known = {*coverage.final, *coverage.provisional}
        summary = await charts.summarise(store.clicks(span[0], span[-1], groups=groups), span, known=known)
    if coverage.missing:
        say(f"warning: {_that_are_missing(coverage.missing, len(span))}", "yellow")
    if output is None:
        stdout().print(charts.table(summary, top=top or TERMINAL_TOP))
        return
    drawn = charts.render(summary, _suffix(output), theme=theme, top=top or FILE_TOP)
    with outputs.atomic(output) as file:
        file.write(drawn)
    if is_watched():
        say(
            f"{printable(output)}: {words.count(len(summary.series), 'group')}, {words.count(summary.total, 'click')}",
            "dim",
        )


def _suffix(file: str) -> str:
    return Path(file).suffix.lower().removeprefix(".")
