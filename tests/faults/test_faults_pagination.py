"""Pages that do not add up: the chain, the counts and the groups."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import pytest

from clicksgroup import DecodeError, PaginationError, PaginationWarning, RequestError
from clicksgroup.protocol.pagination import REREADS
from tests.faults.cases import (
    DATE,
    Ask,
    all_clicks,
    assert_holds_no_key,
    assert_pickles,
    client_of,
    failure_of,
    named,
    one_page,
    whole_day,
)
from tests.faults.raw import Answer, Asked, RawServer, dumps, envelope, http, row

TOTAL = 70  # three pages


@attrs.frozen
class Lie:
    """A server that is honest about 70 groups but for one thing.

    Args:
        name: of the lie.
        tell: changes the envelope of a page; `result.extra` and `result.list` are what it is given.
        says: what the error's text has to hold, the fields above all.
        page: the page that shows it.
        moved: whether the date may have changed while it was read, so that a whole date is read again.
        passes: the problem that `check="warn"` lets pass, or None where it never passes.
        records: how many records it gives then.
        error: what it comes to.
    """

    name: str
    tell: Callable[[int, dict[str, Any], list[Any]], object]
    says: Sequence[str]
    page: int = 1
    moved: bool = False
    passes: str | None = None
    records: int = TOTAL
    error: type[RequestError] = PaginationError

    def answer(self, asked: Asked) -> Answer:
        page = envelope(asked.page, TOTAL)
        self.tell(asked.page, page["result"]["extra"], page["result"]["list"])
        return http(dumps(page))


def on(number: int, **said: object) -> Callable[[int, dict[str, Any], list[Any]], object]:
    """On that page, `result.extra` says something else."""
    return lambda page, extra, rows: extra.update(said) if page == number else None


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


LIES = [
    *(
        Lie(f"nextYn {value!r}", unknown(value), ["nextYn", "Y or N", repr(value)], page=2)
        for value in ("y", "n", "", "YES", "1", " Y", "Yes" * 5)
    ),
    *(
        Lie(f"nextYn {value!r}", unknown(value), ["nextYn", "a string"], page=2, error=DecodeError)
        for value in (None, True, 1, ["Y"])
    ),
    Lie("nextPages stays", on(2, nextPages=2), ["nextPages must be 3", "is 2", "nextYn is Y"], page=2),
    Lie("nextPages goes back", on(2, nextPages=1), ["nextPages must be 3", "is 1"], page=2),
    Lie("nextPages skips", on(2, nextPages=4), ["nextPages must be 3", "is 4"], page=2),
    Lie("nextPages is huge", on(1, nextPages=2**62), ["nextPages must be 2", f"is {2**62}"]),
    Lie("nextPages is 0", on(1, nextPages=0), ["nextPages must be 2", "is 0"]),
    Lie("nextPages is null", on(1, nextPages=None), ["nextPages must be 2", "absent or null"]),
    Lie("nextPages is a word", on(1, nextPages="next"), ["nextPages", '"next"'], error=DecodeError),
    Lie(
        "nextPages is odd on the last page",
        on(3, nextPages=9),
        ["nextYn is N", "nextPages is 9"],
        page=3,
        passes="page 3: nextYn is N, but nextPages is 9",
    ),
    Lie("pages is not the page", on(2, pages=1), ["asked for page 2", "pages is 1"], page=2),
    Lie("pages is another from the start", on(1, pages=2), ["asked for page 1", "pages is 2"]),
    Lie("an empty page that says Y", emptied, ["nextYn is Y", "list is empty"], page=2),
    Lie(
        "N before totalCount",
        on(2, nextYn="N", nextPages=2),
        ["nextYn is N", "60 records", "totalCount is 70"],
        page=2,
        moved=True,
        passes="page 2: nextYn is N after 60 records, but totalCount is 70",
        records=60,
    ),
    Lie(
        "a record less than totalCount",
        shortened,
        ["nextYn is N", "69 records", "totalCount is 70"],
        page=3,
        moved=True,
        passes="page 3: nextYn is N after 69 records, but totalCount is 70",
        records=69,
    ),
    Lie(
        "Y after totalCount",
        lengthened,
        ["nextYn is Y", "70 records", "totalCount is 70"],
        page=3,
        moved=True,
        passes="page 3: nextYn is Y, but 70 records have come and totalCount is 70",
        records=71,
    ),
    Lie(
        "count is not the length of list",
        on(2, count=29),
        ["count is 29", "list holds 30"],
        page=2,
        passes="page 2: count is 29, but list holds 30",
    ),
    Lie(
        "totalCount moves",
        on(2, totalCount=71),
        ["totalCount was 70", "now it is 71"],
        page=2,
        moved=True,
        passes="page 2: totalCount was 70 on the page before, now it is 71",
    ),
    Lie(
        "a group on two pages",
        repeated,
        ["grpIdx 7", "twice"],
        page=2,
        moved=True,
        passes="page 2: grpIdx 7 is listed twice",
    ),
    Lie(
        "a group twice on a page",
        doubled,
        ["grpIdx 4", "twice"],
        page=1,
        moved=True,
        passes="page 1: grpIdx 4 is listed twice",
    ),
    Lie("the first page for ever", stuck, ["repeats only groups", "nextYn is Y"], page=2, moved=True),
]
ASKS: list[Ask] = [all_clicks, whole_day]


def judge(lie: Lie, error: RequestError) -> None:
    assert type(error) is lie.error, repr(error)
    assert (str(error.date), error.page, error.attempts) == (DATE, lie.page, 1)
    assert all(part in str(error) for part in lie.says), error
    assert_holds_no_key(error)
    assert_pickles(error)


@pytest.mark.parametrize("lie", **named(LIES))
async def test_a_lie_ends_a_stream_of_clicks_at_the_page_that_shows_it(lie: Lie) -> None:
    async with RawServer(lie.answer) as server:
        judge(lie, await failure_of(server, all_clicks))
        assert [asked.page for asked in server.requests] == list(range(1, lie.page + 1))


@pytest.mark.parametrize("lie", **named(LIES))
async def test_a_lie_ends_a_whole_date_which_is_read_again_where_it_may_have_moved(lie: Lie) -> None:
    async with RawServer(lie.answer) as server:
        judge(lie, await failure_of(server, whole_day))
        read = list(range(1, lie.page + 1))
        assert [asked.page for asked in server.requests] == read * (1 + REREADS if lie.moved else 1)


@pytest.mark.parametrize("lie", **named([lie for lie in LIES if lie.passes is None]))
@pytest.mark.parametrize("ask", ASKS)
async def test_a_chain_that_does_not_advance_never_passes(lie: Lie, ask: Ask) -> None:
    async with RawServer(lie.answer) as server:
        judge(lie, await failure_of(server, ask, check="warn"))


@pytest.mark.parametrize("lie", **named([lie for lie in LIES if lie.passes is not None]))
async def test_a_disagreement_passes_where_it_is_allowed_and_is_told(lie: Lie) -> None:
    async with RawServer(lie.answer) as server, client_of(server, check="warn") as client:
        with pytest.warns(PaginationWarning) as warned:
            day = await client.day(DATE)
        assert lie.passes in day.problems
        assert {str(warning.message) for warning in warned} == {f"{DATE} {problem}" for problem in day.problems}
        assert len(day) == lie.records
        assert len(server.requests) == client.stats.requests


async def test_a_date_that_moved_once_is_read_again_with_a_slot_a_request() -> None:
    totals = itertools.chain([31, 32], itertools.repeat(32))
    async with (
        RawServer(lambda asked: http(dumps(envelope(asked.page, next(totals))))) as server,
        client_of(server) as client,
    ):
        day = await client.day(DATE)
        assert [record.group_id for record in day] == list(range(1, 33))
        assert (day.total_count, day.problems) == (32, ())
        assert [asked.page for asked in server.requests] == [1, 2, 1, 2]
        assert client.stats.requests == 4


async def test_a_single_page_is_held_to_what_it_says_itself() -> None:
    async with RawServer(lambda asked: http(dumps(envelope(asked.page, 3, totalCount=9)))) as server:
        error = await failure_of(server, one_page)
        assert isinstance(error, PaginationError)
        assert "totalCount is 9" in str(error)


async def test_a_walk_that_began_in_the_middle_is_not_held_to_the_total() -> None:
    async with RawServer(lambda asked: http(dumps(envelope(asked.page, TOTAL)))) as server, client_of(server) as client:
        pages = [page async for page in client.pages(DATE, start=2)]
        assert [(page.number, page.next_number, page.total_count) for page in pages] == [(2, 3, 70), (3, None, 70)]
