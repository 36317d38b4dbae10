"""`clicksgroup groups`, and the ids that `--groups` stands for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import TypeVar

import click

from clicksgroup.cli import options
from clicksgroup.cli.console import LiveLine, format_count, is_interactive, note
from clicksgroup.cli.options import Access
from clicksgroup.cli.output import SMALL_FORMATS, Output
from clicksgroup.cli.output import options as output_options
from clicksgroup.cli.parsing import ALL, GroupChoice
from clicksgroup.cli.progress import State, showing
from clicksgroup.cli.resources import OpenedClient, open_client
from clicksgroup.cli.run import run_async
from clicksgroup.cli.tables import Column, Layout
from clicksgroup.dates import DateRange
from clicksgroup.errors import ConfigurationError
from clicksgroup.models import Group, GroupTotals
from clicksgroup.plans import Plan
from clicksgroup.streams import Stream

T = TypeVar("T", Group, GroupTotals)

_GROUPS = Layout(
    Group,
    (Column("id", "id", 6, 5), Column("group", "name"), Column("memo", "memo"), Column("links", "link_count", 6, 5)),
)
_TOTALS = Layout(
    GroupTotals,
    (
        Column("id", "group_id", 6, 5),
        Column("group", "group_name"),
        Column("clicks", "clicks", 11, 9),
        Column("unique users", "unique_users", 12, 12),
    ),
)


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
@options.check
@options.verbose
@run_async
async def groups(name: str | None, output: Output, access: Access) -> None:
    """List the link groups of the account: id, name, memo and number of links. 30 groups take one request."""
    if name is not None and not name:
        raise ConfigurationError("--name: it is empty; leave it out for all groups")
    async with open_client(access) as opened:
        await _write_all(opened, opened.client.groups(name=name), output, _GROUPS, "group")


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
@options.check
@options.verbose
@run_async
async def totals(dates: DateRange, groups: GroupChoice, output: Output, access: Access) -> None:
    """Print for each group the clicks and the unique users of all dates from START to END.

    Each person counts once over the whole range, which no sum over dates can give. A range has at most 7 days on
    Personal, 14 on Premium, and else a month. It is always asked from version 2 of the vendor's API.
    """
    async with open_client(access) as opened:
        ids = await find_ids(opened, access, groups)
        stream = opened.client.totals(dates[0], dates[-1], groups=ids)
        await _write_all(opened, stream, output, _TOTALS, "group")


async def _write_all(opened: OpenedClient, stream: Stream[T], output: Output, layout: Layout, noun: str) -> None:
    count = 0

    async def batches() -> AsyncIterator[Sequence[T]]:
        nonlocal count
        async with aclosing(stream) as records:
            async for record in records:
                count += 1
                yield [record]

    line = LiveLine()
    async with showing(lambda: State([format_count(count, noun)], opened.quota.next_request), line):
        await output.write(batches(), line, layout)
    if is_interactive():
        note(f"{format_count(count, noun)} · {format_count(opened.client.stats.requests, 'request')}", "dim")


async def list_ids(access: Access, groups: GroupChoice) -> tuple[int, ...] | None:
    """The ids to ask for. A client is opened only where the account's groups must be listed."""
    if groups != ALL or not access.plan_in_force.groups_required:
        return _named(access, groups)
    async with open_client(access) as opened:
        return await find_ids(opened, access, groups)


async def find_ids(opened: OpenedClient, access: Access, groups: GroupChoice) -> tuple[int, ...] | None:
    """The ids to ask for; None for all groups. `all` lists the account's groups where the plan wants names.

    Raises:
        ConfigurationError: the plan wants names, and there are none.
    """
    if groups != ALL or not access.plan_in_force.groups_required:
        return _named(access, groups)
    ids = [group.id async for group in opened.client.groups()]
    if not ids:
        raise ConfigurationError("--groups all: the account has no groups")
    return tuple(ids)


def _named(access: Access, groups: GroupChoice) -> tuple[int, ...] | None:
    if groups is None and access.plan_in_force.groups_required:
        raise ConfigurationError(
            f"--groups: the {access.plan_in_force.label} plan must name its groups: add --groups 151,207, or "
            "--groups all"
        )
    return None if groups == ALL else groups
