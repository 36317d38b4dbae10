"""What an answer holds, checked: the vendor's words about a page, and its rows."""

from __future__ import annotations

from typing import Any

import attrs

from clicksgroup.models import Group, GroupClicks, GroupTotals, Page
from clicksgroup.protocol.requests import PageRequest, Query

COUNT_FIELDS = ("pages", "nextPages", "count", "totalCount")
CLICK_FIELDS = ("grpIdx", "grpNm", "acesCnt", "pernCnt")
GROUP_FIELDS = ("idx", "nm", "linkCnt")
NAME_FIELDS = ("grpNm", "nm")


@attrs.define
class Extra:
    """The vendor's `extra`, under the vendor's names."""

    pages: int
    nextYn: str  # noqa: N815
    count: int
    totalCount: int  # noqa: N815
    nextPages: int | None = None  # noqa: N815


class RecordRows(list[tuple[Any, ...]]):
    """The vendor's `list`, checked: id, name, clicks and unique users of each group; or what its list of groups says.

    Thousands of records wait where many dates are under way in order. As objects they would keep the garbage collector
    busy, so they are made when they are read.
    """

    @property
    def group_ids(self) -> list[int]:
        return [row[0] for row in self]


@attrs.define
class PageResponse:
    """The answer to one request.

    Args:
        request: what was asked for.
        extra: what the server says about the page.
        rows: its records.
        problems: what `check="warn"` converted.
        attempts: how many requests it took.
    """

    request: PageRequest
    extra: Extra
    rows: RecordRows
    problems: tuple[str, ...] = ()
    attempts: int = 1

    def records(self) -> list[Any]:
        """`GroupClicks`, `GroupTotals` or `Group`, as was asked for."""
        return make_records(self.request.query, self.rows)

    def page(self) -> Page:
        """The same for users."""
        query, number, extra = self.request.query, self.request.number, self.extra
        next_number = number + 1 if extra.nextYn == "Y" else None
        records = tuple(self.records())
        return Page(query.start, number, next_number, extra.count, extra.totalCount, records, query.groups)


def make_records(query: Query, rows: RecordRows) -> list[Any]:
    """The records that these rows are, for the query that they answer."""
    start, end = query.start, query.end
    if query.kind == "groups":
        return [Group(*row) for row in rows]
    if query.kind == "totals":
        return [GroupTotals(start, end, *row) for row in rows]
    return [GroupClicks(start, group_id, name, clicks, users) for group_id, name, clicks, users in rows]
