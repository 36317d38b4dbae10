"""`clicksgroup backfill`: fetch the dates that a store lacks, and store them."""

from __future__ import annotations

import datetime
import math
from typing import TYPE_CHECKING

import attrs
import click

from clicksgroup.cli import options
from clicksgroup.cli.console import LiveLine, format_count, format_duration, joined, note, print_json, say
from clicksgroup.cli.groups import find_ids, list_ids
from clicksgroup.cli.parsing import GroupChoice
from clicksgroup.cli.planning import find_outstanding
from clicksgroup.cli.progress import Pace, State, showing
from clicksgroup.cli.resources import OpenedClient, open_client, open_store_to_write
from clicksgroup.cli.run import FAILED, INCOMPLETE, Resumption, run_resumable
from clicksgroup.dates import DateRange

if TYPE_CHECKING:
    from clicksgroup.store import BackfillProgress, BackfillReport

MAX_FAILURES = 10
"""Failed dates that are named."""

_RUN_AGAIN = "run the same command again to go on where it stopped"
_RUN_AGAIN_FOR_FAILED = "run the same command again to fetch the dates that failed"
# With it, the dates that are stored by now would be fetched once more.
_RUN_WITHOUT_REFRESH = "run it again without --refresh to fetch what is missing"


@click.command(
    short_help="Fetch the dates that a store lacks, and store them.",
    epilog="""\b
Examples:
  clicksgroup backfill 2025-01 yesterday --store clicks.db
  clicksgroup backfill 2024-01 2024-12 --store clicks.db --plan business
  clicksgroup backfill 2025-01 --sandbox --store try.db
  clicksgroup backfill 2025-01 yesterday --store clicks.db --dry-run

\b
Every day at seven, with store, key and plan in the environment:
  0 7 * * * clicksgroup backfill 2025-01 yesterday --settle 3d --quiet

\b
--json prints one object when the job has ended: dates, fetched, skipped (final already), failed (the
error of each date), requests, seconds. With --dry-run: dates, stored (dates that are final already),
missing (the dates to ask for), requests, seconds, at_least.""",
)
@options.dates(begun=True)
@options.store
@options.settle
@options.groups
@click.option("--refresh", is_flag=True, help="Fetch final dates again too.")
@click.option("--dry-run", is_flag=True, help="Only print which dates would be asked for, and what that costs.")
@options.as_json
@options.access
@options.check
@options.verbose
@run_resumable
async def backfill(
    resumption: Resumption,
    dates: DateRange,
    choice: options.StoreChoice,
    settle: datetime.timedelta,
    groups: GroupChoice,
    refresh: bool,
    dry_run: bool,
    as_json: bool,
    access: options.Access,
) -> int | None:
    """Fetch the dates from START to END that the store lacks, or that were fetched before they were final.

    Each date is stored as soon as it is complete. If the job ends early (Ctrl-C, an outage, a reboot), the same command
    continues where it stopped. Once all dates are final, it sends no request.

    A date is final if it was fetched after it had ended everywhere on Earth (12:00 UTC of the next day), plus
    --settle.
    """
    if dry_run:
        await _print_outstanding(dates, choice, settle, groups, access, refresh=refresh, as_json=as_json)
        return None
    resumption.advice = _RUN_WITHOUT_REFRESH if refresh else _RUN_AGAIN
    async with open_store_to_write(choice, settle, sandbox=access.sandbox) as store, open_client(access) as opened:
        ids = await find_ids(opened, access, groups)
        progress = _Progress(opened, len(dates))
        try:
            async with showing(progress.state, LiveLine()):
                report = await store.backfill(
                    opened.client, dates, groups=ids, progress=progress.update, refresh=refresh
                )
        finally:
            resumption.begun = opened.client.stats.requests > 0
    _print_report(report, as_json=as_json)
    if not report.failed:
        return None
    if report.fetched + report.skipped == 0:
        return FAILED
    say(_RUN_WITHOUT_REFRESH if refresh else _RUN_AGAIN_FOR_FAILED)
    return INCOMPLETE


@attrs.define
class _Progress:
    """How many of the `total` dates are done, and how many requests each takes."""

    opened: OpenedClient
    total: int
    pace: Pace = attrs.field(init=False)
    done: int = 0
    # Final already when the job began.
    skipped: int = 0
    pages_per_date: float | None = None

    def __attrs_post_init__(self) -> None:
        self.pace = Pace(self.opened)

    def update(self, latest: BackfillProgress) -> None:
        if not self.done:
            self.skipped = latest.done - 1
        self.done = latest.done
        # The other requests in flight may be ahead with the next date, or not.
        ahead = (self.opened.quota.quota.in_flight - 1) / 2
        self.pages_per_date = max((self.opened.client.stats.pages - ahead) / (self.done - self.skipped), 1.0)

    def state(self) -> State:
        stats = self.opened.client.stats
        parts = (f"{self.done:,} of {format_count(self.total, 'date')}", format_count(stats.requests, "request"))
        left = None
        if self.pages_per_date is not None:
            pages = self.pages_per_date * (self.total - self.skipped)
            left = self.pace.seconds_left(math.ceil(pages - stats.pages))
        return State(parts, self.opened.quota.next_request, left, self.done / self.total)


async def _print_outstanding(
    dates: DateRange,
    choice: options.StoreChoice,
    settle: datetime.timedelta,
    groups: GroupChoice,
    access: options.Access,
    *,
    refresh: bool,
    as_json: bool,
) -> None:
    ids = await list_ids(access, groups)
    outstanding = await find_outstanding(choice, dates, settle, ids, refresh=refresh)
    cost = outstanding.cost(access, ids)
    stored = len(dates) - len(outstanding.dates)
    if as_json:
        missing = list(outstanding.dates)
        print_json({"dates": len(dates), "stored": stored, "missing": missing, **attrs.asdict(cost)})
        return
    click.echo(f"{len(outstanding.dates):,} of {format_count(len(dates), 'date')}: {cost.text()}")
    for span in outstanding.spans():
        click.echo(span)


def _print_report(report: BackfillReport, *, as_json: bool) -> None:
    failed = len(report.failed)
    for date in sorted(report.failed)[:MAX_FAILURES]:
        say(f"failed: {report.failed[date]}", "red")
    if failed > MAX_FAILURES:
        say(f"… and {format_count(failed - MAX_FAILURES, 'date')} more: clicksgroup status shows which", "red")
    if as_json:
        errors = {str(date): str(error) for date, error in sorted(report.failed.items())}
        print_json(attrs.asdict(report, recurse=False) | {"failed": errors})
        return
    note(
        joined(
            f"{format_count(report.fetched, 'date')} fetched",
            f"{report.skipped:,} final already" if report.skipped else None,
            f"{failed:,} failed" if failed else None,
            format_count(report.requests, "request"),
            format_duration(report.seconds),
        )
    )
