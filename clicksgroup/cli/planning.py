"""`clicksgroup estimate` and `backfill --dry-run`: what a job would ask for, and what that costs."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Sequence

import attrs
import click

from clicksgroup.cli import options
from clicksgroup.cli.console import format_count, format_duration, print_json
from clicksgroup.cli.parsing import ALL, GroupChoice
from clicksgroup.cli.resources import is_missing_file
from clicksgroup.cli.run import run_async
from clicksgroup.client import ClicksClient
from clicksgroup.dates import DateRange
from clicksgroup.errors import ConfigurationError


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
@options.settle
@options.as_json
@options.access_without_key
@run_async
async def estimate(
    dates: DateRange,
    groups: GroupChoice,
    group_count: int | None,
    choice: options.StoreChoice,
    settle: datetime.timedelta,
    as_json: bool,
    access: options.Access,
) -> None:
    """Show how many requests the dates from START to END take, and how long they last within the quota.

    A request brings at most 30 groups of one date. With --store, dates that are final there cost nothing, and its
    latest date says how many groups there are. Nothing is sent, and no key is needed.
    """
    if groups == ALL and group_count is None and access.plan_in_force.groups_required:
        raise ConfigurationError("--groups all: nothing is sent, so say how many there are with --group-count")
    ids = None if groups == ALL or groups is None else groups
    outstanding = await find_outstanding(choice, dates, settle, ids)
    cost = outstanding.cost(access, ids, group_count)
    if as_json:
        print_json({"dates": len(dates), "stored": len(dates) - len(outstanding.dates), **attrs.asdict(cost)})
        return
    of_all = f"{len(outstanding.dates):,} of {format_count(len(dates), 'date')}: " if choice.location else ""
    click.echo(f"{of_all}{cost.text()}")


@attrs.frozen
class Cost:
    """What a job costs; `at_least` if the number of groups is not known."""

    requests: int
    seconds: float
    at_least: bool

    def text(self) -> str:
        """`124 requests, about 5 min`."""
        at_least = "at least " if self.at_least else ""
        duration = f"{at_least or 'about '}{format_duration(self.seconds)}" if self.seconds else "at once"
        return f"{at_least}{format_count(self.requests, 'request')}, {duration}"


@attrs.frozen
class Outstanding:
    """What a store lacks.

    Args:
        dates: the dates that a backfill would ask for.
        group_count: how many groups the latest date of the store has; None if it has none.
    """

    dates: Sequence[datetime.date]
    group_count: int | None = None

    def cost(self, access: options.Access, ids: tuple[int, ...] | None, group_count: int | None = None) -> Cost:
        """What it costs to ask for the dates, of these groups or of as many as each date has."""
        if group_count is None and ids is None:
            group_count = self.group_count
        client = ClicksClient("unused", plan=access.plan_in_force, quota=access.quota)
        found = client.estimate(self.dates, groups=ids, group_count=group_count)
        at_least = ids is None and group_count is None and bool(self.dates)
        return Cost(found.requests, found.seconds, at_least)

    def spans(self) -> list[str]:
        """The dates as lines: `2025-01-03 to 2025-01-05`."""
        by_run = itertools.groupby(enumerate(self.dates), lambda item: item[1].toordinal() - item[0])
        runs = [[date for _, date in run] for _, run in by_run]
        return [f"{run[0]} to {run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs]


async def find_outstanding(
    choice: options.StoreChoice,
    dates: DateRange,
    settle: datetime.timedelta,
    ids: tuple[int, ...] | None,
    *,
    refresh: bool = False,
) -> Outstanding:
    """What a store lacks of the dates; all of them where there is no store yet. Nothing is created."""
    location = choice.location
    if not location or location == ":memory:" or is_missing_file(location):
        return Outstanding(dates)
    from clicksgroup.store import ClickStore
    from clicksgroup.store.database_errors import NoStoreError

    try:
        async with ClickStore(location, account=choice.account, settle=settle, read_only=True) as store:
            coverage = await store.coverage(dates[0], dates[-1], groups=ids)
            span = await store.span()
            latest = [day async for day in store.days(span[-1], span[-1])] if span else []
    except NoStoreError:
        # A backfill would create the tables.
        return Outstanding(dates)
    asked = dates if refresh else sorted([*coverage.provisional, *coverage.missing])
    return Outstanding(asked, len(latest[0]) if latest else None)
