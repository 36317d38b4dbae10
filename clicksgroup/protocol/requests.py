"""The request for a page, as data."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Literal, TypeAlias
from urllib.parse import quote

import attrs

ApiVersion: TypeAlias = Literal["v1", "v2"]
QueryKind: TypeAlias = Literal["clicks", "totals", "groups"]
"""The clicks of a date, their totals over a range, or the list of link groups."""

PAGE_SIZE = 30
"""Records a page: https://en.vivoldi.com/url/api/statistics/clicks-by-group, a copy of which was read on 2026-11-29."""

MAX_URL_LENGTH = 4_000
"""Characters. A list of ids that would make a longer URL is split: servers and proxies refuse some at 4 KiB."""

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
    _target: str = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        # The same for all its pages.
        object.__setattr__(self, "_target", self.target())

    def __str__(self) -> str:
        if self.kind == "groups":
            return "list of groups"
        return str(self.start) if self.start == self.end else f"{self.start} to {self.end}"

    def target(self) -> str:
        """The request's path and query, up to the number of the page."""
        if self.kind == "groups":
            name = "" if self.name is None else f"nm={quote(self.name, safe='')}&"
            return f"{_GROUPS_PATH}?{name}pages="
        dates = f"ymd={self.start}" if self.version == "v1" else f"startYmd={self.start}&endYmd={self.end}"
        groups = "" if self.groups is None else f"&grpIdxList={','.join(map(str, self.groups))}"
        return f"{_PATHS[self.version]}?{dates}{groups}&pages="

    def page(self, number: int) -> PageRequest:
        """The request for one page of the answer."""
        return PageRequest(self, number, f"{self._target}{number}")


@attrs.frozen
class PageRequest:
    """One page to be asked for. `target` is the path and query of its URL."""

    query: Query
    number: int
    target: str

    def __str__(self) -> str:
        return f"{self.query} page {self.number}"


def split_groups(groups: tuple[int, ...], most: int | None, base_url: str) -> tuple[tuple[int, ...], ...]:
    """The parts in which a list of ids has to be asked for: one where it can be asked for whole.

    Args:
        groups: the ids.
        most: how many ids the plan allows in a request, or None for any number.
        base_url: what comes before the path, since the length of the URL is bounded.
    """
    if most is not None:
        return tuple(groups[i : i + most] for i in range(0, len(groups), most))
    return tuple(_split_by_length(groups, MAX_URL_LENGTH - len(base_url)))


def _split_by_length(groups: tuple[int, ...], room: int) -> Iterator[tuple[int, ...]]:
    """Parts whose URLs fit, each but the last of a multiple of the page size, so that no page is left half full."""
    today = datetime.date.max  # dates are all of one length; a page number takes four digits at the most here
    room -= len(Query(today, today, (), "v2").target()) + 4
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
