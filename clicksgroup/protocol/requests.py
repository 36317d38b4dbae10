"""The request for a page, as data; and which requests a call needs under the rules of the plan."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator
from typing import Literal, TypeAlias
from urllib.parse import quote

import attrs

from clicksgroup.arguments import parse_groups, whole_number
from clicksgroup.dates import DateLike, date_range
from clicksgroup.errors import ConfigurationError, PageLocation
from clicksgroup.plans import Plan

ApiVersion: TypeAlias = Literal["v1", "v2"]
QueryKind: TypeAlias = Literal["clicks", "totals", "groups"]
"""The clicks of a date, their totals over a range, or the list of link groups."""

PAGE_SIZE = 30
"""Records a page: https://en.vivoldi.com/url/api/statistics/clicks-by-group, a copy of which was read on 2026-11-29."""

MAX_URL_LENGTH = 4_000
"""Characters. A list of ids that would make a longer URL is split: servers and proxies refuse some at 4 KiB."""

MONTH_DAYS = 31
"""The longest range of totals where the plan sets none: "at most 1 month" in the vendor's words, taken as 31 days."""

_PATHS = {"v1": "/api/link/v1/clicks-by-group", "v2": "/api/link/v2/clicks-by-group"}
_GROUPS_PATH = "/api/link-group/v2/list"


@attrs.frozen
class Query:
    """What is asked about one date, one range of them, or the groups: everything but the number of the page.

    Args:
        start: the date, or the first of the range; of the list of groups today's.
        end: the last date of a range, or the date itself.
        groups: the ids asked for, or None for all.
        version: which of the vendor's APIs is asked for clicks.
        kind: what is asked for.
        name: the part of a name that groups in the list must have, or None for all.
    """

    start: datetime.date
    end: datetime.date
    groups: tuple[int, ...] | None = None
    version: ApiVersion = "v1"
    kind: QueryKind = "clicks"
    name: str | None = None
    # The path and query of its pages, up to the number.
    target_prefix: str = attrs.field(init=False, eq=False, repr=False)

    def __str__(self) -> str:
        if self.kind == "groups":
            return "list of groups"
        return str(self.start) if self.start == self.end else f"{self.start} to {self.end}"

    @target_prefix.default
    def _make_target_prefix(self) -> str:
        if self.kind == "groups":
            name = "" if self.name is None else f"nm={quote(self.name, safe='')}&"
            return f"{_GROUPS_PATH}?{name}pages="
        dates = f"ymd={self.start}" if self.version == "v1" else f"startYmd={self.start}&endYmd={self.end}"
        groups = "" if self.groups is None else f"&grpIdxList={','.join(map(str, self.groups))}"
        return f"{_PATHS[self.version]}?{dates}{groups}&pages="

    def page(self, number: int) -> PageRequest:
        """The request for one page of the answer."""
        return PageRequest(self, number, f"{self.target_prefix}{number}")


@attrs.frozen
class PageRequest:
    """One page to be asked for. `target` is the path and query of its URL."""

    query: Query
    number: int
    target: str

    @property
    def where(self) -> PageLocation:
        """The page, as errors name it."""
        return {"date": self.query.start, "page": self.number}

    def __str__(self) -> str:
        return f"{self.query} page {self.number}"


@attrs.frozen
class QueryPlanner:
    """Makes the queries of one client: a list of groups is split where the plan, or the length of a URL, demands it."""

    plan: Plan
    version: ApiVersion
    base_url: str

    def group_ids(self, groups: Iterable[int] | None) -> tuple[int, ...] | None:
        """The ids, as the plan allows them.

        Raises:
            ConfigurationError: they cannot be right, or the plan wants some and there are none.
        """
        ids = parse_groups(groups)
        if ids is None and self.plan.groups_required:
            raise ConfigurationError(f"the {self.plan.label} plan must name its groups: pass groups=[...]")
        return ids

    def clicks(self, date: datetime.date, ids: tuple[int, ...] | None) -> tuple[Query, ...]:
        """The queries for the clicks of a date: several where the list of groups must be split."""
        return tuple(Query(date, date, part, self.version) for part in self.split(ids))

    def totals(self, start: DateLike, end: DateLike, groups: Iterable[int] | None) -> tuple[Query, ...]:
        """The queries for the totals of a range.

        Raises:
            ConfigurationError: the plan does not allow the range or the groups.
        """
        dates = date_range(start, end)
        first, last = dates[0], dates[-1]
        days, most = len(dates), self.plan.totals_days or MONTH_DAYS
        if days > most:
            raise ConfigurationError(
                f"end: {first} to {last} are {days} days, but {self.plan.label} allows {most}; ask for a shorter "
                "range: people cannot be added up over ranges, so it is not split"
            )
        return tuple(Query(first, last, part, "v2", "totals") for part in self.split(self.group_ids(groups)))

    def list_groups(self, name: str | None) -> tuple[Query, ...]:
        """The query for the account's link groups, or for those whose name contains `name`."""
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name: expected a str, got {type(name).__name__}")
        today = datetime.datetime.now(datetime.UTC).date()
        return (Query(today, today, kind="groups", name=name),)

    def requests_per_date(self, groups: Iterable[int] | None, group_count: int | None) -> int:
        """How many requests a date takes, of these groups or of so many; one, where neither is known."""
        if group_count is not None:
            whole_number("group_count", group_count, least=0)
        if groups is not None:
            sizes = [len(part or ()) for part in self.split(self.group_ids(groups))]
        else:
            count = max(group_count or 0, 1)
            most = self.plan.groups_per_request or count
            sizes = [min(most, count - i) for i in range(0, count, most)]
        return sum(-(-size // PAGE_SIZE) for size in sizes)

    def split(self, ids: tuple[int, ...] | None) -> list[tuple[int, ...] | None]:
        """The parts in which the ids have to be asked for: one where they can be asked for whole."""
        if ids is None:
            return [None]
        if (most := self.plan.groups_per_request) is not None:
            return [ids[i : i + most] for i in range(0, len(ids), most)]
        return list(_split_by_length(ids, MAX_URL_LENGTH - len(self.base_url)))


def _split_by_length(groups: tuple[int, ...], room: int) -> Iterator[tuple[int, ...]]:
    """Parts whose URLs fit, each but the last of a multiple of the page size, so that no page is left half full."""
    # Dates are all of one length; a page number takes four digits at the most here.
    today = datetime.date.max
    room -= len(Query(today, today, (), "v2").target_prefix) + 4
    begin = 0
    while begin < len(groups):
        end, length = begin, -1
        while end < len(groups) and length + len(str(groups[end])) + 1 <= room:
            length += len(str(groups[end])) + 1
            end += 1
        if end < len(groups):
            end = begin + max((end - begin) // PAGE_SIZE * PAGE_SIZE, 1)
        yield groups[begin:end]
        begin = end
