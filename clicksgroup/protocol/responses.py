"""What an answer holds, checked: the vendor's words about a page, and its rows."""

from __future__ import annotations

from typing import Any

import attrs

from clicksgroup.models import Page
from clicksgroup.protocol.requests import PageRequest

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


@attrs.define
class PageResponse:
    """The answer to one request.

    Args:
        request: what was asked for.
        extra: what the server says about the page.
        records: `GroupClicks`, `GroupTotals` or `Group`, as was asked for.
        problems: what `check="warn"` converted.
        attempts: how many requests it took.
    """

    request: PageRequest
    extra: Extra
    records: list[Any]
    problems: tuple[str, ...] = ()
    attempts: int = 1

    def page(self) -> Page:
        """The same for users."""
        query, number, extra = self.request.query, self.request.number, self.extra
        next_number = number + 1 if extra.nextYn == "Y" else None
        records = tuple(self.records)
        return Page(query.start, number, next_number, extra.count, extra.totalCount, records, query.groups)
