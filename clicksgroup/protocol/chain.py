"""Whether pages add up to a date: the rules of `nextYn`, `nextPages`, `count` and `totalCount`."""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Sequence
from typing import Any

from clicksgroup.errors import PaginationError, PaginationWarning
from clicksgroup.models import Day, Page
from clicksgroup.protocol.answers import Check, Reply
from clicksgroup.protocol.requests import PageRequest, Question

REREADS = 2
"""How often a date that moved while it was read is read again, where it has not been given away yet."""


MAX_PAGES = 10_000
"""Pages of one date, or one part of it: a server that always promises another would never end."""


class Walk:
    """The way through all pages of one date: which to ask for next, and whether what came fits.

    Args:
        parts: what to ask; several questions where a list of groups had to be split. Page numbers begin again with
            each.
        groups: the ids asked for in all, or None.
        check: what becomes of disagreements about counts, totals and repeated groups.
        start: the page to begin with; a walk that begins later than at 1 is not held to the total.
        single: whether one page is all that is wanted.
        rereads: how often to begin again when the date has moved.
    """

    def __init__(
        self,
        parts: Sequence[Question],
        groups: tuple[int, ...] | None,
        check: Check,
        *,
        start: int = 1,
        single: bool = False,
        rereads: int = 0,
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
        self.fetched_at: datetime.datetime | None = None  # set by whoever is about to ask for the first page
        self._part = 0
        self._seen: set[int] = set()
        self._received = 0  # of this part
        self._total: int | None = None  # of this part
        self._total_before = 0  # of the parts before
        self._records: list[Any] = []
        self._problems: list[str] = []
        self._before_part = 0, 0  # records and problems
        self.request: PageRequest | None = self._parts[0].page(self._start)

    def accept(self, reply: Reply) -> Page | None:
        """The page that a reply is, and `request` becomes the next; None if the date is to be read again.

        Raises:
            PaginationError: the reply does not fit what was asked or what came before.
        """
        try:
            return self._accept(reply)
        except PaginationError as error:
            if not error._moved or not self._rereads:
                raise
        self._rereads -= 1
        self._read_part_again()
        return None

    def _read_part_again(self) -> None:
        """The parts before it were checked on their own, and stay; so does `fetched_at`, the earlier moment."""
        records, problems = self._before_part
        del self._records[records:], self._problems[problems:]
        self._seen = {record.group_id for record in self._records}
        self._received, self._total = 0, None
        self.request = self._parts[self._part].page(self._start)

    def day(self) -> Day:
        """All pages together, once `request` is None."""
        assert self.request is None
        assert self.fetched_at is not None
        return Day(
            self.date,
            self._total_before + (self._total or 0),
            tuple(self._records),
            self.fetched_at,
            self._groups,
            tuple(self._problems),
        )

    def _accept(self, reply: Reply) -> Page:
        question, number = reply.request.question, reply.request.number
        extra, records = reply.extra, reply.records
        for problem in reply.problems:
            self._note(reply, problem)
        more = self._more(reply)
        if extra.count != len(records):
            self._disagree(reply, f"count is {extra.count}, but list holds {len(records)}", moved=False)
        if self._total is not None and self._total != extra.totalCount:
            self._disagree(reply, f"totalCount was {self._total} on the page before, now it is {extra.totalCount}")
        self._check_groups(reply, more)
        self._total = extra.totalCount
        self._received += len(records)
        self._records.extend(records)
        if self._start == 1:
            self._check_total(reply, more)
        self._advance(number, more)
        return Page(
            question.start,
            number,
            number + 1 if more else None,
            extra.count,
            extra.totalCount,
            records,
            question.groups,
        )

    def _more(self, reply: Reply) -> bool:
        """Whether there is another page. A chain that does not advance by one is an error whatever `check` says."""
        number, extra = reply.request.number, reply.extra
        if extra.pages != number:
            raise self._error(reply, f"asked for page {number}, but pages is {extra.pages}")
        if extra.nextYn == "Y":
            if number >= MAX_PAGES:
                raise self._error(reply, f"nextYn is Y on page {number:,}: the chain does not end")
            if extra.nextPages != number + 1:
                came = "absent or null" if extra.nextPages is None else extra.nextPages
                raise self._error(reply, f"nextYn is Y, so nextPages has to be {number + 1}, but it is {came}")
            if not reply.records:
                raise self._error(reply, "nextYn is Y, but list is empty: the chain would never end")
            return True
        if extra.nextYn != "N":
            raise self._error(reply, f"nextYn has to be Y or N, but it is {extra.nextYn!r}")
        if extra.nextPages not in (None, 0, number, number + 1):
            self._disagree(reply, f"nextYn is N, but nextPages is {extra.nextPages}", moved=False)
        return False

    def _check_groups(self, reply: Reply, more: bool) -> None:
        ids = {record.group_id for record in reply.records}
        if len(ids) == len(reply.records) and self._seen.isdisjoint(ids):
            self._seen |= ids
            return
        if ids <= self._seen and more:
            raise self._error(reply, "list repeats only groups that were listed before, and nextYn is Y", moved=True)
        again = set(self._seen)
        for record in reply.records:
            if record.group_id in again:
                self._disagree(reply, f"grpIdx {record.group_id} is listed twice")
                break
            again.add(record.group_id)
        self._seen |= ids

    def _check_total(self, reply: Reply, more: bool) -> None:
        total, received = reply.extra.totalCount, self._received
        if more and received >= total:
            self._disagree(reply, f"nextYn is Y, but {received} records have come and totalCount is {total}")
        if not more and received != total:
            self._disagree(reply, f"nextYn is N after {received} records, but totalCount is {total}")

    def _advance(self, number: int, more: bool) -> None:
        if self._single:
            self.request = None
        elif more:
            self.request = self._parts[self._part].page(number + 1)
        elif self._part + 1 < len(self._parts):
            self._part += 1
            self._total_before += self._total or 0
            self._received, self._total = 0, None
            self._before_part = len(self._records), len(self._problems)
            self.request = self._parts[self._part].page(1)
        else:
            self.request = None

    def _disagree(self, reply: Reply, what: str, *, moved: bool = True) -> None:
        if self._strict:
            raise self._error(reply, what, moved=moved)
        self._note(reply, what)

    def _note(self, reply: Reply, what: str) -> None:
        problem = f"page {reply.request.number}: {what}"
        self._problems.append(problem)
        warnings.warn(f"{reply.request.question} {problem}", PaginationWarning, stacklevel=2)

    def _error(self, reply: Reply, what: str, *, moved: bool = False) -> PaginationError:
        advice = "the date may have changed while it was read: try again" if moved else "the pages cannot be trusted"
        error = PaginationError(
            f"{reply.request}: {what}; {advice}",
            date=reply.request.question.start,
            page=reply.request.number,
            attempts=reply.attempts,
        )
        error._moved = moved
        return error
