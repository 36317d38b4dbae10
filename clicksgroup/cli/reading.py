"""`clicksgroup status`, `export` and `chart`: what is in the store. No request is sent."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click

from clicksgroup.cli import options
from clicksgroup.cli.console import (
    format_count,
    is_interactive,
    is_quiet,
    note,
    print_json,
    printable,
    say_failures,
    stdout,
)
from clicksgroup.cli.output import STDOUT, Output, open_to_write, output_options, send
from clicksgroup.cli.resources import StoreChoice, open_store_to_read
from clicksgroup.cli.run import INCOMPLETE, run_async
from clicksgroup.dates import DateRange
from clicksgroup.errors import ConfigurationError
from clicksgroup.exports import column_chunks
from clicksgroup.models import GroupClicks

if TYPE_CHECKING:
    from clicksgroup.store import Coverage

TERMINAL_TOP, FILE_TOP = 40, 24
"""Groups that `chart` shows without --top."""


@click.command(
    short_help="Show which dates a store has, as a calendar.",
    epilog="""\b
Examples:
  clicksgroup status --store clicks.db
  clicksgroup status 2025-01 yesterday --settle 3d
  clicksgroup status 2025-01 yesterday --check --quiet || echo "dates are missing"

\b
--json prints one object: account, start, end, and the dates that are final, provisional, missing and
failed (at the last attempt, with the error).""",
)
@options.dates(optional=True)
@options.store_and_settle_to_read
@options.group_ids
@click.option("--check", is_flag=True, help="Exit with status 3 if dates are missing.")
@options.as_json
@options.quiet
@run_async
async def status(
    dates: DateRange | None,
    choice: StoreChoice,
    groups: tuple[int, ...] | None,
    check: bool,
    as_json: bool,
) -> int | None:
    """Show for each date from START to END whether the store has it: final, provisional, missing or failed.

    Without START, it shows all dates from the first in the store to the last. Provisional dates were fetched before
    they were final. The next `backfill` fetches them again, and those that are missing or failed.
    """
    from clicksgroup.charts import calendar

    async with open_store_to_read(choice, dates) as (store, span):
        coverage = await store.coverage(span[0], span[-1], groups=groups)
        failures = await store.failures(span[0], span[-1])
    status = INCOMPLETE if check and coverage.missing else None
    if as_json:
        ends = {"account": choice.account, "start": span[0], "end": span[-1]}
        print_json(ends | attrs.asdict(coverage) | {"failed": failures})
        return status
    if is_quiet():
        return status
    stdout().print(calendar(coverage, failures, title=f"account {choice.account}, {span[0]} to {span[-1]}"))
    final = set(coverage.final)
    say_failures([f"failed {date}: {error}" for date, error in failures.items() if date not in final])
    return status


@click.command(
    short_help="Write stored clicks as CSV, NDJSON, Parquet or a table.",
    epilog="""\b
Examples:
  clicksgroup export --store clicks.db -o clicks.parquet
  clicksgroup export 2025-01 2025-03 --groups 151,207 > quarter.csv""",
)
@options.dates(optional=True)
@options.store_to_read
@options.group_ids
@output_options()
@options.quiet
@run_async
async def export(
    dates: DateRange | None,
    choice: StoreChoice,
    groups: tuple[int, ...] | None,
    output: Output,
) -> None:
    """Write the stored clicks of each group from START to END, sorted by date and group id.

    Without START, it writes all dates of the store. Unique users are people: never add them over dates or groups.
    """
    async with open_store_to_read(choice, dates) as (store, span):
        _warn_of_gaps(await store.coverage(span[0], span[-1], groups=groups))
        chunks = column_chunks(store.clicks(span[0], span[-1], groups=groups))
        await output.write(list(map(GroupClicks, *columns)) async for columns in chunks)


def _warn_of_gaps(coverage: Coverage) -> int:
    """Say which dates are missing or provisional, in so many lines."""
    from clicksgroup.charts import coverage_notes

    notes = coverage_notes(coverage)
    for sentence in notes:
        note(f"warning: {sentence} clicksgroup backfill fetches them", style="yellow")
    return len(notes)


def _rows_that_fit(warnings: int) -> int:
    """How many groups the terminal shows without scrolling the largest away: below them come others, and the prompt."""
    if not sys.stdout.isatty():
        return TERMINAL_TOP
    used = 2 + 1 + 1 + 2 * warnings
    return max(min(TERMINAL_TOP, stdout().height - used), 1)


@click.command(
    short_help="Show stored clicks as sparklines, or draw them into a file.",
    epilog="""\b
Examples:
  clicksgroup chart --store clicks.db
  clicksgroup chart 2025-01 2025-03 --top 10
  clicksgroup chart 2025-01 2025-12 -o year.html
  clicksgroup chart -o clicks.png --theme dark --groups 151,207""",
)
@options.dates(optional=True)
@options.store_to_read
@options.group_ids
@click.option(
    "--top", type=click.IntRange(1), metavar="N",
    show_default=f"what fits the terminal, {TERMINAL_TOP} at most; in a file {FILE_TOP}",
    help="Show the N groups with the most clicks, and the sum of the others.",
)  # fmt: skip
@click.option(
    "-o", "--output", "file", metavar="FILE", type=click.Path(),
    help="Draw one small chart a group into FILE.html, .svg or .png.",
)  # fmt: skip
@click.option(
    "--theme", type=click.Choice(["light", "dark"]), default="light", show_default=True, help="Colours of the file."
)
@options.quiet
@run_async
async def chart(
    dates: DateRange | None,
    choice: StoreChoice,
    groups: tuple[int, ...] | None,
    top: int | None,
    file: str | None,
    theme: str,
) -> None:
    """Show the stored clicks from START to END, the groups with the most clicks first.

    The terminal shows one line a group: a sparkline on its own scale, the sum of clicks, the share of all clicks shown
    (with --groups, of those groups alone), the best date, and the last 7 days against the 7 before. A file shows one
    chart a group, each on its own scale.

    It shows clicks only: unique users are people, and do not add up over dates or groups.
    """
    from clicksgroup import charts

    file = None if file in STDOUT else file
    form = Path(file or "").suffix.lower().removeprefix(".")
    if file is not None and form not in charts.FORMATS:
        raise ConfigurationError(f"-o: {file}: the name has to end in .html, .svg or .png")
    async with open_store_to_read(choice, dates) as (store, span):
        coverage = await store.coverage(span[0], span[-1], groups=groups)
        known = {*coverage.final, *coverage.provisional}
        records = store.clicks(span[0], span[-1], groups=groups)
        provisional = set(coverage.provisional)
        summary = await charts.summarise(records, span, known=known, provisional=provisional)
    lines = _warn_of_gaps(coverage)
    if file is None:
        stdout().print(charts.table(summary, top=top or _rows_that_fit(lines)))
        return
    async with open_to_write(file) as stream:
        await send(io.BytesIO(charts.render(summary, form, theme=theme, top=top or FILE_TOP)), stream)
    if is_interactive():
        groups_drawn, clicks = format_count(len(summary.series), "group"), format_count(summary.total, "click")
        note(f"{printable(file)}: {groups_drawn}, {clicks}", style="dim")
