"""Whether pages add up to a date: the rules of `nextYn`, `nextPages`, `count` and `totalCount`."""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Sequence

from clicksgroup.errors import PaginationError, PaginationWarning
from clicksgroup.models import Day
from clicksgroup.protocol.decoding import Check, PageResponse, RecordRows, make_records
from clicksgroup.protocol.requests import PageRequest, Query

REREADS = 2
"""How often a date that moved while it was read is read again, where none of it has been given yet."""

MAX_PAGES = 10_000
"""Pages of one date, or of one part of it. A server that always promises another page would never end."""


class Paginator:
    """Follows `nextYn` and `nextPages` over the pages of one date, and checks that they add up.

    Args:
        parts: what to ask: several queries where a list of groups had to be split. Page numbers begin again with each.
        groups: the ids asked for in all, or None.
        check: `"strict"` raises where counts, totals or groups disagree; `"warn"` notes it.
        start: the page to begin with. From a later page on than 1, the total cannot be checked.
        single: only one page is wanted.
        rereads: for a date that is given whole, how often it is read again when it has moved. None where its pages
            are given as they come: then it cannot be read again, and nothing is kept for `day`.
    """

    def __init__(
        self,
        parts: Sequence[Query],
        groups: tuple[int, ...] | None,
        check: Check,
        *,
        start: int = 1,
        single: bool = False,
        rereads: int | None = None,
    ) -> None:
        self._parts = parts
        self._groups = groups
        self._strict = check == "strict"
        self._start = start
        self._single = single
        self._rereads = rereads
        self.date = parts[0].start
        self._begin()

    def _begin(self) -> None:
        # Set by the worker before it asks for the first page.
        self.fetched_at: datetime.datetime | None = None
        self._part = 0
        self._seen: set[int] = set()
        # Records that came and totalCount, of this part, and totalCount of the parts before.
        self._received = 0
        self._total: int | None = None
        self._total_before = 0
        # Of all parts, where the date is given whole; and how many of both there were before this part.
        self._pages: list[RecordRows] = []
        self._problems: list[str] = []
        self._before_part = 0, 0
        self.request: PageRequest | None = self._parts[0].page(self._start)

    def accept(self, response: PageResponse) -> bool:
        """Take the next page; `request` becomes the one after it. False if the part is to be read again.

        Raises:
            PaginationError: the response does not fit the request or the pages before.
        """
        try:
            self._accept(response)
        except PaginationError as error:
            if not error.retryable or not self._rereads:
                raise
        else:
            return True
        self._rereads -= 1
        self._read_part_again()
        return False

    def _read_part_again(self) -> None:
        """Begin this part again. Those before it were checked on their own and stay, and so does `fetched_at`."""
        pages, problems = self._before_part
        del self._pages[pages:], self._problems[problems:]
        self._seen = {group_id for rows in self._pages for group_id in rows.group_ids}
        self._received, self._total = 0, None
        self.request = self._parts[self._part].page(self._start)

    def day(self) -> Day:
        """All pages together, once `request` is None."""
        assert self.request is None
        assert self.fetched_at is not None
        assert self._rereads is not None
        return Day(
            self.date,
            self._total_before + (self._total or 0),
            tuple(record for rows in self._pages for record in make_records(self._parts[0], rows)),
            self.fetched_at,
            self._groups,
            tuple(self._problems),
        )

    def _accept(self, response: PageResponse) -> None:
        extra, rows = response.extra, response.rows
        for problem in response.problems:
            self._note(response, problem)
        more = self._more(response)
        if extra.count != len(rows):
            self._disagree(response, f"count is {extra.count}, but list holds {len(rows)}", moved=False)
        if self._total is not None and self._total != extra.totalCount:
            self._disagree(response, f"totalCount was {self._total} on the page before, now it is {extra.totalCount}")
        self._check_groups(response, more)
        self._total = extra.totalCount
        self._received += len(rows)
        if self._rereads is not None:
            self._pages.append(rows)
        if self._start == 1:
            self._check_total(response, more)
        self._advance(response.request.number, more)

    def _more(self, response: PageResponse) -> bool:
        """Whether there is another page. A chain that does not advance by one is an error, whatever `check` is."""
        number, extra = response.request.number, response.extra
        if extra.pages != number:
            raise self._error(response, f"asked for page {number}, but pages is {extra.pages}")
        if extra.nextYn == "Y":
            if number >= MAX_PAGES:
                raise self._error(response, f"nextYn is Y on page {number:,}: the chain does not end")
            if extra.nextPages != number + 1:
                came = "absent or null" if extra.nextPages is None else extra.nextPages
                raise self._error(response, f"nextYn is Y, so nextPages must be {number + 1}, but it is {came}")
            if not response.rows:
                raise self._error(response, "nextYn is Y, but list is empty: the chain would never end")
            return True
        if extra.nextYn != "N":
            raise self._error(response, f"nextYn must be Y or N, but it is {extra.nextYn!r}")
        if extra.nextPages not in (None, 0, number, number + 1):
            self._disagree(response, f"nextYn is N, but nextPages is {extra.nextPages}", moved=False)
        return False

    def _check_groups(self, response: PageResponse, more: bool) -> None:
        ids = set(response.rows.group_ids)
        if len(ids) == len(response.rows) and self._seen.isdisjoint(ids):
            self._seen |= ids
            return
        if ids <= self._seen and more:
            raise self._error(response, "list repeats only groups that were listed before, and nextYn is Y", moved=True)
        again = set(self._seen)
        for group_id in response.rows.group_ids:
            if group_id in again:
                self._disagree(response, f"grpIdx {group_id} is listed twice")
                break
            again.add(group_id)
        self._seen |= ids

    def _check_total(self, response: PageResponse, more: bool) -> None:
        total, received = response.extra.totalCount, self._received
        if more and received >= total:
            self._disagree(response, f"nextYn is Y, but {received} records have come and totalCount is {total}")
        if not more and received != total:
            self._disagree(response, f"nextYn is N after {received} records, but totalCount is {total}")

    def _advance(self, number: int, more: bool) -> None:
        if self._single:
            self.request = None
        elif more:
            self.request = self._parts[self._part].page(number + 1)
        elif self._part + 1 < len(self._parts):
            self._part += 1
            self._total_before += self._total or 0
            self._received, self._total = 0, None
            self._before_part = len(self._pages), len(self._problems)
            self.request = self._parts[self._part].page(1)
        else:
            self.request = None

    def _disagree(self, response: PageResponse, what: str, *, moved: bool = True) -> None:
        if self._strict:
            raise self._error(response, what, moved=moved)
        self._note(response, what)

    def _note(self, response: PageResponse, what: str) -> None:
        problem = f"page {response.request.number}: {what}"
        self._problems.append(problem)
        warnings.warn(f"{response.request.query} {problem}", PaginationWarning, stacklevel=2)

    def _error(self, response: PageResponse, what: str, *, moved: bool = False) -> PaginationError:
        advice = "the date may have changed while it was read: try again" if moved else "the pages cannot be trusted"
        return PaginationError(
            f"{response.request}: {what}; {advice}",
            date=response.request.query.start,
            page=response.request.number,
            attempts=response.attempts,
            retryable=moved,
        )
