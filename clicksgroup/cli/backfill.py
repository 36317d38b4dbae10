"""`clicksgroup backfill` and `estimate`: fetch the dates that a store lacks, and what that costs."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs
import click

from clicksgroup.cli import options
from clicksgroup.cli.console import State, format_count, format_duration, note, print_json, say, say_failures, showing
from clicksgroup.cli.resources import (
    ALL,
    Access,
    GroupChoice,
    OpenedClient,
    StoreChoice,
    find_ids,
    make_store,
    open_client,
)
from clicksgroup.cli.run import ADVICE, FAILED, INCOMPLETE, run_async
from clicksgroup.client import ClicksClient
from clicksgroup.dates import DateRange, consecutive_dates
from clicksgroup.errors import ConfigurationError

if TYPE_CHECKING:
    from clicksgroup.store import BackfillProgress, BackfillReport

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
@options.groups
@click.option("--refresh", is_flag=True, help="Fetch final dates again too.")
@click.option("--dry-run", is_flag=True, help="Only print which dates would be asked for, and what that costs.")
@options.as_json
@options.access
@options.verbose
@run_async
async def backfill(
    dates: DateRange,
    choice: StoreChoice,
    groups: GroupChoice,
    refresh: bool,
    dry_run: bool,
    as_json: bool,
    access: Access,
) -> int | None:
    """Fetch the dates from START to END that the store lacks, or that were fetched before they were final.

    Each date is stored as soon as it is complete. If the job ends early (Ctrl-C, an outage, a reboot), the same command
    continues where it stopped. Once all dates are final, it sends no request.

    A date is final if it was fetched after it had ended everywhere on Earth (12:00 UTC of the next day), plus
    --settle.
    """
    if dry_run:
        ids = await find_ids(access, groups)
        await _print_cost(dates, choice, access, ids, refresh=refresh, as_json=as_json, with_dates=True)
        return None
    in_memory = access.sandbox and choice.location is None
    if in_memory:
        note("no --store was named: the made-up clicks are not kept")
    async with open_client(access) as opened, make_store(choice, in_memory=in_memory) as store:
        # Where these cannot be opened, settings are wrong, and running the command again does not help.
        if not in_memory:
            click.get_current_context().meta[ADVICE] = _RUN_WITHOUT_REFRESH if refresh else _RUN_AGAIN
        ids = await find_ids(access, groups, opened)
        progress = _DatesProgress(opened, len(dates))
        async with showing(progress.state):
            report = await store.backfill(opened.client, dates, groups=ids, progress=progress.update, refresh=refresh)
    _print_report(report, as_json=as_json)
    if not report.failed:
        return None
    if in_memory or report.fetched + report.skipped == 0:
        return FAILED
    say(_RUN_WITHOUT_REFRESH if refresh else _RUN_AGAIN_FOR_FAILED)
    return INCOMPLETE


@attrs.define
class _DatesProgress:
    """How many of the `total` dates are done, and how many pages those take that were not final already."""

    opened: OpenedClient
    total: int
    done: int = 0
    # Final already when the job began.
    skipped: int = 0
    pages: float | None = None

    def update(self, latest: BackfillProgress) -> None:
        if not self.done:
            self.skipped = latest.done - 1
        self.done = latest.done
        # The other requests in flight may be ahead with the next date, or not.
        ahead = (self.opened.quota.quota.in_flight - 1) / 2
        pages_per_date = max((self.opened.client.stats.pages - ahead) / (self.done - self.skipped), 1.0)
        self.pages = pages_per_date * (self.total - self.skipped)

    def state(self) -> State:
        parts = (f"{self.done:,} of {format_count(self.total, 'date')}", self.opened.requests_sent)
        return self.opened.state(parts, self.pages, self.done / self.total)


def _print_report(report: BackfillReport, *, as_json: bool) -> None:
    errors = {date: str(error) for date, error in sorted(report.failed.items())}
    say_failures([f"failed: {error}" for error in errors.values()])
    if as_json:
        print_json(attrs.asdict(report, recurse=False) | {"failed": errors})
        return
    note(
        f"{format_count(report.fetched, 'date')} fetched",
        f"{report.skipped:,} final already" if report.skipped else None,
        f"{len(errors):,} failed" if errors else None,
        format_count(report.requests, "request"),
        format_duration(report.seconds),
    )


@click.command(
    short_help="Show how many requests a job takes, and how long.",
    epilog="""\b
Examples:
  clicksgroup estimate 2025-01 2025-12 --group-count 100 --plan business
  clicksgroup estimate 2025-01 --groups 151,207,209 --quota 24/60 --quota 1250/1h
  clicksgroup estimate 2025-01 yesterday --store clicks.db

\b
--json prints one object: dates, stored (dates that are final in the store), requests, seconds,
at_least (whether it may be more, since the number of groups is not known).""",
)
@options.dates()
@options.groups
@click.option("--group-count", type=click.IntRange(0), metavar="N", help="How many groups each date has, roughly.")
@options.store
@options.as_json
@options.access_without_key
@run_async
async def estimate(
    dates: DateRange,
    groups: GroupChoice,
    group_count: int | None,
    choice: StoreChoice,
    as_json: bool,
    access: Access,
) -> None:
    """Show how many requests the dates from START to END take, and how long they last within the quota.

    A request brings at most 30 groups of one date. With --store, dates that are final there cost nothing, and its
    latest date says how many groups there are. Nothing is sent, and no key is needed.
    """
    if groups == ALL and group_count is None and access.plan_in_force.groups_required:
        raise ConfigurationError("--groups all: nothing is sent, so say how many there are with --group-count")
    ids = None if groups == ALL else groups
    await _print_cost(dates, choice, access, ids, group_count, as_json=as_json)


async def _print_cost(
    dates: DateRange,
    choice: StoreChoice,
    access: Access,
    ids: tuple[int, ...] | None,
    group_count: int | None = None,
    *,
    refresh: bool = False,
    as_json: bool,
    with_dates: bool = False,
) -> None:
    missing, groups_of_latest = await _find_missing(dates, choice, ids)
    if refresh:
        missing = dates
    if group_count is None and ids is None:
        group_count = groups_of_latest
    client = ClicksClient("unused", plan=access.plan_in_force, quota=access.quota)
    cost = client.estimate(missing, groups=ids, group_count=group_count)
    # Each date takes one request, or more if it has more than 30 groups.
    is_least = ids is None and group_count is None and bool(missing)
    if as_json:
        counts = {"dates": len(dates), "stored": len(dates) - len(missing)}
        listed = {"missing": list(missing)} if with_dates else {}
        print_json(counts | listed | attrs.asdict(cost) | {"at_least": is_least})
        return
    of_all = f"{len(missing):,} of {format_count(len(dates), 'date')}: " if with_dates or choice.location else ""
    at_least = "at least " if is_least else ""
    duration = f"{at_least or 'about '}{format_duration(cost.seconds)}" if cost.seconds else "at once"
    click.echo(f"{of_all}{at_least}{format_count(cost.requests, 'request')}, {duration}")
    if with_dates:
        for first, *others in consecutive_dates(missing):
            click.echo(f"{first} to {others[-1]}" if others else f"{first}")


async def _find_missing(
    dates: DateRange, choice: StoreChoice, ids: tuple[int, ...] | None
) -> tuple[Sequence[datetime.date], int | None]:
    """The dates that are not final in the store, and how many groups its latest date has. Nothing is created."""
    if not choice.location:
        return dates, None
    from clicksgroup.store.database_errors import NoStoreError

    try:
        async with make_store(choice, read_only=True) as store:
            coverage = await store.coverage(dates[0], dates[-1], groups=ids)
            span = await store.span()
            latest = [len(day) async for day in store.days(span[-1], span[-1])] if span else []
    except NoStoreError:
        # A backfill would create the tables.
        return dates, None
    return sorted([*coverage.provisional, *coverage.missing]), latest[0] if latest else None
