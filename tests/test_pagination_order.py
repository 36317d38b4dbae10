"""The pages of one date, arriving in any order: the same outcome as one after the other, at a bounded cost."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import attrs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clicksgroup import ClicksGroupError, Day, GroupClicks
from clicksgroup.protocol import Decoder, PageRequest, PageResponse, Paginator, Query
from tests.pages import row

DATE = datetime.date(2025, 1, 3)
SIZE = 3
"""Records a page: of the vendor 30; fewer here, so that dates have many pages."""

Server: TypeAlias = Callable[[int, int], dict[str, Any]]
"""Gives a page for its number, and for how often the date was read before."""


@attrs.frozen
class Walk:
    """How a date was read: what was given, how it ended, and what it cost."""

    given: list[GroupClicks]
    end: Day | ClicksGroupError
    requests: list[int]

    @property
    def outcome(self) -> tuple[object, ...]:
        """What must not depend on the order: all but the cost and the moment."""
        if isinstance(self.end, Day):
            return self.given, self.end.records, self.end.total_count
        return self.given, type(self.end), str(self.end), self.end.retryable


def page(number: int, ids: Sequence[int], total: int, more: bool, **extra: object) -> dict[str, Any]:
    fields: dict[str, object] = {
        "pages": number,
        "nextPages": number + more,
        "nextYn": "Y" if more else "N",
        "count": len(ids),
        "totalCount": total,
        **extra,
    }
    return {"code": 0, "message": "", "result": {"extra": fields, "list": [row(number) for number in ids]}}


def honest_page(number: int, total: int) -> dict[str, Any]:
    ids = range((number - 1) * SIZE + 1, min(number * SIZE, total) + 1)
    return page(number, ids, total, number * SIZE < total)


def pages_of(total: int) -> int:
    return max(1, -(-total // SIZE))


def walk(server: Server, rereads: int | None, in_flight: int, arrives: Callable[[int], int]) -> Walk:
    """Read a date with so many requests in flight; `arrives` says which of them arrives next."""
    paginator = Paginator([Query(DATE, DATE)], None, "strict", rereads=rereads)
    paginator.fetched_at = datetime.datetime.now(datetime.UTC)
    flying: list[tuple[PageRequest, dict[str, Any]]] = []
    requests: list[int] = []
    given_away: list[GroupClicks] = []
    for _ in range(10_000):
        while len(flying) < in_flight and (request := paginator.next_request(in_flight)) is not None:
            requests.append(request.number)
            flying.append((request, server(request.number, requests.count(1) - 1)))
        request, answer = flying.pop(arrives(len(flying)))
        paginator.receive(request, decoded(answer, request))
        try:
            for response in paginator.accepted():
                given_away += response.records
        except ClicksGroupError as error:
            return Walk(given_away, error, requests)
        if paginator.finished:
            end = paginator.day() if rereads is not None else Day(DATE, 0, (), paginator.fetched_at, None, ())
            return Walk(given_away, end, requests)
    raise AssertionError("a loop")


def decoded(answer: dict[str, Any], request: PageRequest) -> PageResponse | ClicksGroupError:
    try:
        return Decoder().read(json.dumps(answer).encode(), request)
    except ClicksGroupError as error:
        return error


def in_turn(_: int) -> int:
    return 0


def drawn(data: st.DataObject) -> Callable[[int], int]:
    return lambda flying: data.draw(st.integers(0, flying - 1))


@given(st.data(), st.integers(0, 40), st.integers(1, 4), st.sampled_from([None, 0, 2]))
def test_honest(data: st.DataObject, total: int, in_flight: int, rereads: int | None) -> None:
    """An honest server: all records in order, each page asked for once."""
    got = walk(lambda number, _: honest_page(number, total), rereads, in_flight, drawn(data))
    assert [record.group_id for record in got.given] == list(range(1, total + 1))
    assert sorted(got.requests) == list(range(1, pages_of(total) + 1))
    assert isinstance(got.end, Day)
    assert rereads is None or list(got.end) == got.given


@given(st.data(), st.integers(4, 40), st.integers(1, 4), st.integers(0, 2), st.integers(1, 6))
def test_moved(data: st.DataObject, total: int, in_flight: int, moves: int, by: int) -> None:
    """A date that grows while it is read is read again: in the end the records of one reading, in order."""
    last = pages_of(total)

    def server(number: int, reading: int) -> dict[str, Any]:
        now = total + reading * by
        # It grows before the last page is read, and after the first.
        return honest_page(number, now + by if reading < moves and number >= max(last, 2) else now)

    got = walk(server, 2, in_flight, drawn(data))
    assert isinstance(got.end, Day)
    assert [record.group_id for record in got.end] == list(range(1, total + moves * by + 1))
    assert got.requests.count(1) == 1 + moves
    needed = sum(pages_of(total + reading * by) for reading in range(moves + 1))
    assert len(got.requests) <= needed + moves * (in_flight - 1)
    one_by_one = walk(server, 2, 1, in_turn)
    assert isinstance(one_by_one.end, Day)
    assert one_by_one.end.records == got.end.records


@st.composite
def lying(draw: st.DrawFn) -> Server:
    """Pages of a date with some lies among them, which may differ from reading to reading."""
    total = draw(st.integers(0, 30))
    field = st.sampled_from(["pages", "nextPages", "nextYn", "count", "totalCount"])
    value = st.one_of(st.integers(0, 40), st.sampled_from(["Y", "N"]), st.none())
    lies = draw(
        st.dictionaries(
            st.tuples(st.integers(0, 2), st.integers(1, pages_of(total))), st.dictionaries(field, value), max_size=3
        )
    )
    swaps = draw(st.sets(st.integers(1, pages_of(total)), max_size=1))

    def server(number: int, reading: int) -> dict[str, Any]:
        answer = honest_page(number, total)
        answer["result"]["extra"].update(lies.get((reading, number), {}))
        rows = answer["result"]["list"]
        if number in swaps and rows:
            rows[-1] = row(1)
        return answer

    return server


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), lying(), st.integers(1, 4), st.sampled_from([None, 0, 2]))
def test_lying(data: st.DataObject, server: Server, in_flight: int, rereads: int | None) -> None:
    """A lying server: the same records, the same error, and for each reading at most the others in flight in vain."""
    one_by_one = walk(server, rereads, 1, in_turn)
    got = walk(server, rereads, in_flight, drawn(data))
    assert got.outcome == one_by_one.outcome
    readings = got.requests.count(1)
    assert readings == one_by_one.requests.count(1)
    assert len(got.requests) <= len(one_by_one.requests) + readings * (in_flight - 1)
