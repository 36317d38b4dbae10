"""`clicksgroup estimate`: what a job would cost, before any request is spent."""

from __future__ import annotations

import click

from clicksgroup.cli import options, words
from clicksgroup.cli.run import guarded
from clicksgroup.cli.session import sandbox_quota
from clicksgroup.client import ClicksClient
from clicksgroup.dates import DateRange
from clicksgroup.plans import Plan


@click.command(
    short_help="What a job would cost, before any request is spent.",
    epilog="""\b
Examples:
  clicksgroup estimate 2025-01 2025-12 --group-count 100 --plan business
  clicksgroup estimate 2025-01 --groups 151,207,209 --quota 24/60 --quota 1250/1h""",
)
@options.dates()
@options.groups
@click.option("--group-count", type=click.IntRange(0), metavar="N", help="How many groups a date lists, about.")
@options.access_without_key
def estimate(dates: DateRange, groups: tuple[int, ...] | None, group_count: int | None, access: options.Access) -> None:
    """Say how many requests the dates from START to END take, and how long the quota makes that last.

    A request brings at most 30 groups of one date. Nothing is sent, and no key is needed.
    """
    with guarded():
        quota = sandbox_quota(access) if access.sandbox else access.quota
        client = ClicksClient("unused", plan=access.plan or (Plan.BUSINESS if access.sandbox else None), quota=quota)
        found = client.estimate(dates, groups=groups, group_count=group_count)
    at_least = "at least " if groups is None and group_count is None else ""
    time = f"{at_least or 'about '}{words.duration(found.seconds)}" if found.seconds else "at once"
    click.echo(f"{at_least}{words.count(found.requests, 'request')}, {time}")
    click.echo(f"for {words.count(len(dates), 'date')} at {_pace(access)}", err=True)
    if at_least:
        click.echo("taking a date to be one page of 30 groups; say how many there are with --group-count", err=True)


def _pace(access: options.Access) -> str:
    quota = sandbox_quota(access) if access.sandbox else access.quota
    limits = [f"{words.count(number, 'request')} in {words.duration(window)}" for number, window in quota.limits]
    return f"{' and '.join(limits) or 'no limit'}, {quota.in_flight} in flight"
