"""Pages that contradict each other: the chain of pages, the counts and the groups."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import pytest

from clicksgroup import DecodeError, PaginationError, PaginationWarning, RequestError
from clicksgroup.protocol.pagination import REREADS
from tests.faults.cases import (
    DATE,
    Read,
    all_clicks,
    assert_holds_no_key,
    assert_pickles,
    client_of,
    failure_of,
    named,
    one_page,
    whole_day,
)
from tests.pages import dumps, envelope, row
from tests.raw_server import RawServer, Request, Response, http

# Three pages.
TOTAL = 70


@attrs.frozen
class Contradiction:
    """One thing that is wrong in the pages of an otherwise correct date of 70 groups.

    Args:
        name: names it in the list of tests.
        change: changes a page; it takes the number of the page, its `result.extra` and its `result.list`.
        says: texts that the error's message must contain, the names of the fields above all.
        page: the page that shows it.
        moved: whether the date may have changed while it was read, so that a whole date is read again.
        problem: what `check="warn"` reports, or None where it raises as well.
        records: how many records `check="warn"` gives.
        error: the type of the error.
    """

    name: str
    change: Callable[[int, dict[str, Any], list[Any]], object]
    says: Sequence[str]
    page: int = 1
    moved: bool = False
    problem: str | None = None
    records: int = TOTAL
    error: type[RequestError] = PaginationError

    def respond(self, request: Request) -> Response:
        page = envelope(request.page, TOTAL)
        self.change(request.page, page["result"]["extra"], page["result"]["list"])
        return http(dumps(page))


def on(number: int, **fields: object) -> Callable[[int, dict[str, Any], list[Any]], object]:
    """Replace fields of `result.extra` on one page."""
    return lambda page, extra, rows: extra.update(fields) if page == number else None


def emptied(page: int, extra: dict[str, Any], rows: list[Any]) -> None:
    if page == 2:
        rows.clear()
        extra["count"] = 0


def repeated(page: int, extra: dict[str, Any], rows: list[Any]) -> None:
    if page == 2:
        rows[4] = row(7)


def doubled(page: int, extra: dict[str, Any], rows: list[Any]) -> None:
    if page == 1:
        rows[4] = row(4)


def stuck(page: int, extra: dict[str, Any], rows: list[Any]) -> None:
    if page >= 2:
        rows[:] = envelope(1, TOTAL)["result"]["list"]
        extra.update(count=30, nextYn="Y", nextPages=page + 1)


def shortened(page: int, extra: dict[str, Any], rows: list[Any]) -> None:
    if page == 3:
        rows.pop()
        extra["count"] = 9


def lengthened(page: int, extra: dict[str, Any], rows: list[Any]) -> None:
    if page == 3:
        extra.update(nextYn="Y", nextPages=4)
    if page == 4:
        rows[:] = [row(71)]
        extra.update(count=1)


def unknown(value: object) -> Callable[[int, dict[str, Any], list[Any]], object]:
    return on(2, nextYn=value)


CONTRADICTIONS = [
    *(
        Contradiction(f"nextYn {value!r}", unknown(value), ["nextYn", "Y or N", repr(value)], page=2)
        for value in ("y", "n", "", "YES", "1", " Y", "Yes" * 5)
    ),
    *(
        Contradiction(f"nextYn {value!r}", unknown(value), ["nextYn", "a string"], page=2, error=DecodeError)
        for value in (None, True, 1, ["Y"])
    ),
    Contradiction("nextPages stays", on(2, nextPages=2), ["nextPages must be 3", "is 2", "nextYn is Y"], page=2),
    Contradiction("nextPages goes back", on(2, nextPages=1), ["nextPages must be 3", "is 1"], page=2),
    Contradiction("nextPages skips", on(2, nextPages=4), ["nextPages must be 3", "is 4"], page=2),
    Contradiction("nextPages is huge", on(1, nextPages=2**62), ["nextPages must be 2", f"is {2**62}"]),
    Contradiction("nextPages is 0", on(1, nextPages=0), ["nextPages must be 2", "is 0"]),
    Contradiction("nextPages is null", on(1, nextPages=None), ["nextPages must be 2", "absent or null"]),
    Contradiction("nextPages is a word", on(1, nextPages="next"), ["nextPages", '"next"'], error=DecodeError),
    Contradiction(
        "nextPages is odd on the last page",
        on(3, nextPages=9),
        ["nextYn is N", "nextPages is 9"],
        page=3,
        problem="page 3: nextYn is N, but nextPages is 9",
    ),
    Contradiction("pages is not the page", on(2, pages=1), ["asked for page 2", "pages is 1"], page=2),
    Contradiction("pages is another from the start", on(1, pages=2), ["asked for page 1", "pages is 2"]),
    Contradiction("an empty page that says Y", emptied, ["nextYn is Y", "list is empty"], page=2),
    Contradiction(
        "N before totalCount",
        on(2, nextYn="N", nextPages=2),
        ["nextYn is N", "60 records", "totalCount is 70"],
        page=2,
        moved=True,
        problem="page 2: nextYn is N after 60 records, but totalCount is 70",
        records=60,
    ),
    Contradiction(
        "a record less than totalCount",
        shortened,
        ["nextYn is N", "69 records", "totalCount is 70"],
        page=3,
        moved=True,
        problem="page 3: nextYn is N after 69 records, but totalCount is 70",
        records=69,
    ),
    Contradiction(
        "Y after totalCount",
        lengthened,
        ["nextYn is Y", "70 records", "totalCount is 70"],
        page=3,
        moved=True,
        problem="page 3: nextYn is Y, but 70 records have come and totalCount is 70",
        records=71,
    ),
    Contradiction(
        "count is not the length of list",
        on(2, count=29),
        ["count is 29", "list holds 30"],
        page=2,
        problem="page 2: count is 29, but list holds 30",
    ),
    Contradiction(
        "totalCount moves",
        on(2, totalCount=71),
        ["totalCount was 70", "now it is 71"],
        page=2,
        moved=True,
        problem="page 2: totalCount was 70 on the page before, now it is 71",
    ),
    Contradiction(
        "a group on two pages",
        repeated,
        ["grpIdx 7", "twice"],
        page=2,
        moved=True,
        problem="page 2: grpIdx 7 is listed twice",
    ),
    Contradiction(
        "a group twice on a page",
        doubled,
        ["grpIdx 4", "twice"],
        page=1,
        moved=True,
        problem="page 1: grpIdx 4 is listed twice",
    ),
    Contradiction("the first page for ever", stuck, ["repeats only groups", "nextYn is Y"], page=2, moved=True),
]
READS: list[Read] = [all_clicks, whole_day]


def check(case: Contradiction, error: RequestError) -> None:
    assert type(error) is case.error, repr(error)
    assert (str(error.date), error.page, error.attempts) == (DATE, case.page, 1)
    assert all(part in str(error) for part in case.says), error
    assert_holds_no_key(error)
    assert_pickles(error)


def check_requests(case: Contradiction, server: RawServer, times: int = 1) -> None:
    """The pages up to the one that shows it are asked for, and in each reading `in_flight - 1` more at the most."""
    asked = Counter(request.page for request in server.requests)
    assert all(asked.pop(page) == times for page in range(1, case.page + 1))
    assert asked.total() <= times


@pytest.mark.parametrize("case", **named(CONTRADICTIONS))
async def test_clicks(case: Contradiction) -> None:
    """A stream of clicks ends at the page that shows the contradiction."""
    async with RawServer(case.respond) as server:
        check(case, await failure_of(server, all_clicks))
        check_requests(case, server)


@pytest.mark.parametrize("case", **named(CONTRADICTIONS))
async def test_day(case: Contradiction) -> None:
    """A whole date is read again where it may have changed meanwhile; otherwise it fails at once."""
    async with RawServer(case.respond) as server:
        check(case, await failure_of(server, whole_day))
        check_requests(case, server, times=1 + REREADS if case.moved else 1)


@pytest.mark.parametrize("case", **named([case for case in CONTRADICTIONS if case.problem is None]))
@pytest.mark.parametrize("read", READS)
async def test_never_allowed(case: Contradiction, read: Read) -> None:
    """`check="warn"` lets no chain of pages pass that does not advance."""
    async with RawServer(case.respond) as server:
        check(case, await failure_of(server, read, check="warn"))


@pytest.mark.parametrize("case", **named([case for case in CONTRADICTIONS if case.problem is not None]))
async def test_allowed_with_a_warning(case: Contradiction) -> None:
    """`check="warn"` gives the data, and reports the contradiction."""
    async with RawServer(case.respond) as server, client_of(server, check="warn") as client:
        with pytest.warns(PaginationWarning) as warned:
            day = await client.day(DATE)
        assert case.problem in day.problems
        # Once for each kind of problem.
        assert {str(warning.message) for warning in warned} <= {f"{DATE} {problem}" for problem in day.problems}
        assert len(warned) == len({problem.split()[2] for problem in day.problems})
        assert len(day) == case.records
        assert len(server.requests) == client.stats.requests


async def test_date_changed_once() -> None:
    """A date that changed once is read again, and each request takes a slot of the quota."""
    totals = itertools.chain([31, 32], itertools.repeat(32))
    async with (
        RawServer(lambda request: http(dumps(envelope(request.page, next(totals))))) as server,
        client_of(server) as client,
    ):
        day = await client.day(DATE)
        assert [record.group_id for record in day] == list(range(1, 33))
        assert (day.total_count, day.problems) == (32, ())
        assert [request.page for request in server.requests] == [1, 2, 1, 2]
        assert client.stats.requests == 4


async def test_single_page() -> None:
    """A single page is checked against its own figures."""
    async with RawServer(lambda request: http(dumps(envelope(request.page, 3, totalCount=9)))) as server:
        error = await failure_of(server, one_page)
        assert isinstance(error, PaginationError)
        assert "totalCount is 9" in str(error)


async def test_start_in_the_middle() -> None:
    """Pages from `start` on are not checked against the total."""
    async with (
        RawServer(lambda request: http(dumps(envelope(request.page, TOTAL)))) as server,
        client_of(server) as client,
    ):
        pages = [page async for page in client.pages(DATE, start=2)]
        assert [(page.number, page.next_number, page.total_count) for page in pages] == [(2, 3, 70), (3, None, 70)]
