"""The request for a page, as data."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Literal, TypeAlias

import attrs

ApiVersion: TypeAlias = Literal["v1", "v2"]

PAGE_SIZE = 30
"""Records a page (vendor, Clicks by Group v1)."""

MAX_URL_LENGTH = 4_000
"""Characters. A list of ids that would make a longer URL is split: servers and proxies refuse some at 4 KiB."""

_PATHS = {"v1": "/api/link/v1/clicks-by-group", "v2": "/api/link/v2/clicks-by-group"}


@attrs.frozen
class Query:
    """What is asked about one date (or one range of them): everything but the number of the page.

    Args:
        start: the date, or the first of the range.
        end: the last date of a range, or the date itself.
        groups: the ids asked for, or None for all.
        version: which of the vendor's APIs is asked.
        totals: whether the sums over the range are asked for, rather than the clicks of one date.
    """

    start: datetime.date
    end: datetime.date
    groups: tuple[int, ...] | None = None
    version: ApiVersion = "v1"
    totals: bool = False
    _target: str = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_target", self.target())  # the same for all its pages

    def __str__(self) -> str:
        return str(self.start) if self.start == self.end else f"{self.start} to {self.end}"

    def target(self) -> str:
        """The request's path and query, up to the number of the page."""
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
