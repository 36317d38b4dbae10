"""Whether pages add up to a date: the rules of `nextYn`, `nextPages`, `count` and `totalCount`."""

from __future__ import annotations

import datetime
import itertools
import operator
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from clicksgroup.errors import PaginationError, PaginationWarning
from clicksgroup.models import Day
from clicksgroup.protocol.decoding import Check, PageResponse
from clicksgroup.protocol.requests import PageRequest, Query

REREADS = 2
"""How often a date that moved while it was read is read again, where none of it has been given yet."""

MAX_PAGES = 10_000
"""Pages of one date, or of one part of it. A server that always promises another page would never end."""


@attrs.define(eq=False, repr=False, slots=False)
class Paginator:
    """Follows `nextYn` and `nextPages` over the pages of one date, and checks that they add up.

    The first page says how many records there are. With `check="strict"` the other pages may then be asked for at the
    same time; they are checked, and given, in the order of their numbers. Otherwise one page is asked for at a time.

    Args:
        parts: what to ask: several queries where a list of groups had to be split. Page numbers begin again with each.
        groups: the ids asked for in all, or None.
        check: `"strict"` raises where counts, totals or groups disagree; `"warn"` notes it, and reads no date again.
        start: the page to begin with. From a later page on than 1, the total cannot be checked.
        single: only one page is wanted.
        rereads: for a date that is given whole, how often it is read again when it has moved. None where its pages
            are given as they come: then it cannot be read again, and nothing is kept for `day`.
        warned: the kinds of problems that a client has warned of already. Each is warned of once.
    """

    _parts: Sequence[Query]
    _groups: tuple[int, ...] | None
    _check: Check
    _start: int = attrs.field(default=1, kw_only=True)
    _single: bool = attrs.field(default=False, kw_only=True)
    _rereads: int | None = attrs.field(default=None, kw_only=True)
    _warned: set[str] = attrs.field(factory=set, kw_only=True)

    def __attrs_post_init__(self) -> None:
        self.date = self._parts[0].start
        self.finished = False
        # Set before the first page is asked for.
        self.fetched_at: datetime.datetime | None = None
        self._strict = self._check == "strict"
        self.parallel = self._strict and self._start == 1 and not self._single
        self._id_of = operator.attrgetter("id" if self._parts[0].kind == "groups" else "group_id")
        self._keep_pages = self._rereads is not None
        self._rereads_left = (self._rereads or 0) if self._strict else 0
        # Of all parts, where the date is given whole; and how many of both there were before this part.
        self._pages: list[list[Any]] = []
        self._problems: list[str] = []
        self._before_part = 0, 0
        # totalCount of the parts before.
        self._total_before = 0
        self._part = 0
        self._begin_part()

    @property
    def pages_ahead(self) -> int:
        """Pages that were asked for and are not accepted yet, and those that are kept for `day`."""
        return len(self._asked) + len(self._pages)

    def next_request(self, most: int = MAX_PAGES) -> PageRequest | None:
        """The next page to ask for now. None at the end, and while it is not known whether there is another.

        Args:
            most: pages that may be asked for and not accepted yet, this one included. It bounds the requests that are
                in vain where an earlier page turns out to be wrong.
        """
        if self._next_number > self._last_number or len(self._asked) >= most:
            return None
        request = self._query.page(self._next_number)
        self._asked[self._next_number] = request
        self._next_number += 1
        return request

    def receive(self, request: PageRequest, outcome: PageResponse | BaseException) -> None:
        """Take what came for a request, in whichever order. A page that is not wanted any more is dropped."""
        if self.wants(request):
            self._arrived[request.number] = outcome
            # A failure or an end that comes out of turn: no page after it is worth a request.
            if not isinstance(outcome, PageResponse) or outcome.extra.nextYn != "Y":
                self._last_number = self._next_number - 1

    def wants(self, request: PageRequest) -> bool:
        """Whether the page of a request is still needed: the date was not begun again, and has not ended."""
        return self._asked.get(request.number) is request

    def accepted(self) -> Iterator[PageResponse]:
        """The pages whose turn has come, checked. A date that moved is begun again, and gives nothing then.

        Raises:
            PaginationError: a page does not fit the request or the pages before.
            BaseException: a page could not be fetched.
        """
        while (outcome := self._arrived.pop(self._turn, None)) is not None:
            if isinstance(outcome, BaseException):
                raise outcome
            try:
                self._accept(outcome)
            except PaginationError as error:
                if not error.retryable or not self._rereads_left:
                    raise
                self._rereads_left -= 1
                self._begin_part()
                return
            yield outcome

    def day(self) -> Day:
        """All pages together, once `finished`."""
        assert self.finished
        assert self.fetched_at is not None
        return Day(
            self.date,
            self._total_before + (self._total or 0),
            tuple(itertools.chain.from_iterable(self._pages)),
            self.fetched_at,
            self._groups,
            tuple(self._problems),
        )

    def _begin_part(self) -> None:
        """Begin this part, or begin it again. Those before it were checked on their own and stay."""
        pages, problems = self._before_part
        del self._pages[pages:], self._problems[problems:]
        self._query = self._parts[self._part]
        self._asked: dict[int, PageRequest] = {}
        self._arrived: dict[int, PageResponse | BaseException] = {}
        # The page to ask for next, the last one that may be asked for, and the one to accept next.
        first = self._start if self._part == 0 else 1
        self._next_number = self._last_number = self._turn = first
        self._listed: set[int] = set()
        # The server ignores the list of groups, which check="warn" lets pass.
        self._ignored = False
        self._received = 0
        self._total: int | None = None

    def _accept(self, response: PageResponse) -> None:
        extra, number = response.extra, response.request.number
        for problem in response.problems:
            self._note(response, problem, kind=problem.partition(":")[0])
        more = self._more(response)
        count = len(response.records)
        if extra.count != count:
            self._disagree(response, "count", f"count is {extra.count}, but list holds {count}", moved=False)
        if self._total is not None and self._total != extra.totalCount:
            changed = f"totalCount was {self._total} on the page before, now it is {extra.totalCount}"
            self._disagree(response, "totalCount", changed)
        self._check_groups(response, more)
        self._total = extra.totalCount
        self._received += count
        if self._keep_pages:
            self._pages.append(response.records)
        if self._ignored and self._listed.issuperset(self._query.groups or ()):
            # All that were asked for have come. What follows are others, and totalCount is of all groups.
            self._total = sum(map(len, self._pages[self._before_part[0] :])) if self._keep_pages else self._received
            self._end_part()
            return
        if self._start == 1:
            self._check_total(response, more)
        self._advance(number, more, count)

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
            if not response.records:
                raise self._error(response, "nextYn is Y, but list is empty: the chain would never end")
            return True
        if extra.nextYn != "N":
            raise self._error(response, f"nextYn must be Y or N, but it is {extra.nextYn!r}")
        if extra.nextPages not in (None, 0, number, number + 1):
            self._disagree(response, "nextPages", f"nextYn is N, but nextPages is {extra.nextPages}", moved=False)
        return False

    def _check_groups(self, response: PageResponse, more: bool) -> None:
        group_ids = list(map(self._id_of, response.records))
        ids = set(group_ids)
        if len(ids) < len(group_ids) or not self._listed.isdisjoint(ids):
            if ids <= self._listed and more:
                what = "list repeats only groups that were listed before, and nextYn is Y"
                raise self._error(response, what, moved=True)
            counts = Counter([*group_ids, *self._listed.intersection(ids)])
            twice = next(number for number in group_ids if counts[number] > 1)
            self._disagree(response, "grpIdx", f"grpIdx {twice} is listed twice")
        self._listed |= ids
        if self._query.groups is not None and not ids.issubset(self._query.groups):
            self._refuse_unasked(response, sorted(ids.difference(self._query.groups)))

    def _refuse_unasked(self, response: PageResponse, unasked: list[int]) -> None:
        """Groups that nobody asked for: the server reads another parameter than `grpIdxList`, or none."""
        shown = ", ".join(map(str, unasked[:5])) + (", …" if len(unasked) > 5 else "")
        what = f"list holds {len(unasked)} groups that were not asked for ({shown}): the server ignores grpIdxList"
        if self._strict:
            raise self._error(
                response, what, advice='check="warn" keeps only those that were asked for', stops_all=True
            )
        self._ignored = True
        self._note(response, f"{what}; they are left out", kind="grpIdxList")
        wanted = frozenset(self._query.groups or ())
        response.records = [record for record in response.records if self._id_of(record) in wanted]

    def _check_total(self, response: PageResponse, more: bool) -> None:
        total, received = response.extra.totalCount, self._received
        if more and received >= total:
            what = f"nextYn is Y, but {received} records have come and totalCount is {total}"
            self._disagree(response, "totalCount", what)
        if not more and received != total:
            self._disagree(response, "totalCount", f"nextYn is N after {received} records, but totalCount is {total}")

    def _advance(self, number: int, more: bool, size: int) -> None:
        del self._asked[number]
        self._turn = number + 1
        if self._single or not more:
            self._end_part()
            return
        self._last_number = max(self._last_number, number + 1)
        if self.parallel and number == 1:
            self._last_number = min(-(-(self._total or 0) // size), MAX_PAGES)

    def _end_part(self) -> None:
        self._asked.clear()
        self._arrived.clear()
        self._last_number = 0
        if self._single or self._part + 1 == len(self._parts):
            self.finished = True
            return
        self._part += 1
        self._total_before += self._total or 0
        self._before_part = len(self._pages), len(self._problems)
        self._begin_part()

    def _disagree(self, response: PageResponse, kind: str, what: str, *, moved: bool = True) -> None:
        if self._strict:
            raise self._error(response, what, moved=moved)
        self._note(response, what, kind=kind)

    def _note(self, response: PageResponse, what: str, *, kind: str) -> None:
        problem = f"page {response.request.number}: {what}"
        self._problems.append(problem)
        if kind not in self._warned:
            self._warned.add(kind)
            # A registry of its own, which is dropped: Python's would keep each text for ever.
            text = f"{response.request.query} {problem}"
            warnings.warn_explicit(text, PaginationWarning, __file__, 1, module=__name__, registry={})

    def _error(
        self, response: PageResponse, what: str, *, moved: bool = False, advice: str = "", stops_all: bool = False
    ) -> PaginationError:
        advice = advice or (
            "the date may have changed while it was read: try again" if moved else "the pages cannot be trusted"
        )
        return PaginationError(
            f"{response.request}: {what}; {advice}",
            attempts=response.attempts,
            retryable=moved,
            stops_all=stops_all,
            **response.request.where,
        )
