"""The chain of pages over any server: an honest one gives exactly the truth, a lying one an error; none a loop."""

from __future__ import annotations

import asyncio
import copy
import datetime
import json
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal

import attrs
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from clicksgroup import (
    ClicksClient,
    ClicksGroupError,
    Day,
    DecodeError,
    GroupClicks,
    PaginationError,
    PaginationWarning,
)
from clicksgroup.plans import Quota
from clicksgroup.protocol import Decoder, PageRequest, Paginator, Query
from tests.raw_server import RawServer, Request, http

DATE = datetime.date(2025, 1, 3)
Pages = list[dict[str, Any]]


@attrs.frozen
class Honest:
    """A list of groups, and one of the ways in which an honest server may page it."""

    records: list[GroupClicks]
    pages: Pages


@st.composite
def honest(draw: st.DrawFn, most: int = 40) -> Honest:
    ids = draw(st.lists(st.integers(0, 2**63 - 1), max_size=most, unique=True))
    records = [
        GroupClicks(DATE, i, draw(st.sampled_from(["", "Küche", "그룹", '"', "A" * 50])), (i * 7) % 1000, i % 500)
        for i in ids
    ]
    pages: Pages = []
    rest = list(records)
    while rest or not pages:
        size = draw(st.integers(1, 30))
        pages.append(_page(len(pages) + 1, rest[:size], len(records), more=len(rest) > size))
        rest = rest[size:]
    last = pages[-1]["result"]["extra"]
    last["nextPages"] = draw(st.sampled_from([None, 0, len(pages), len(pages) + 1]))
    if draw(st.booleans()):
        del pages[0]["message"]
    return Honest(records, pages)


def _page(number: int, records: Sequence[GroupClicks], total: int, *, more: bool) -> dict[str, Any]:
    extra = {
        "pages": number,
        "nextPages": number + more,
        "nextYn": "Y" if more else "N",
        "count": len(records),
        "totalCount": total,
    }
    rows = [
        {"grpIdx": r.group_id, "grpNm": r.group_name, "acesCnt": r.clicks, "pernCnt": r.unique_users} for r in records
    ]
    return {"code": 0, "message": "", "result": {"extra": extra, "list": rows}}


def _set(name: str, value: object) -> Callable[[dict[str, Any]], None]:
    def lie(page: dict[str, Any]) -> None:
        page["result"]["extra"][name] = value

    return lie


def _drop(page: dict[str, Any]) -> None:
    page["result"]["list"].pop()
    page["result"]["extra"]["count"] -= 1


def _double(page: dict[str, Any]) -> None:
    page["result"]["list"].append(page["result"]["list"][0])
    page["result"]["extra"]["count"] += 1


def _swap(page: dict[str, Any]) -> None:
    page["result"]["list"][-1] = page["result"]["list"][0]


def _hide(page: dict[str, Any]) -> None:
    page["result"]["list"].clear()


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 60), st.integers(), st.text(max_size=3), st.floats(allow_nan=False)
)
LIES = st.one_of(
    st.builds(_set, st.sampled_from(["pages", "nextPages", "nextYn", "count", "totalCount"]), ANYTHING),
    st.sampled_from([_drop, _double, _swap, _hide]),
)


@st.composite
def lying(draw: st.DrawFn) -> tuple[Honest, Pages]:
    """An honest server, and the pages it gives with one lie among them that can be found out."""
    server = draw(honest())
    pages = copy.deepcopy(server.pages)
    number = draw(st.integers(1, len(pages)))
    lie = draw(LIES)
    page = pages[number - 1]
    assume(page["result"]["list"] or lie not in (_drop, _double, _swap, _hide))
    lie(page)
    assume(json.dumps(page) != json.dumps(server.pages[number - 1]))
    harmless = page["result"]["extra"]["nextPages"] in (None, 0, number, number + 1)
    assume(number < len(pages) or not harmless or _differs(page, server.pages[-1]))
    return server, pages


def _differs(page: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether pages differ in more than `nextPages`."""
    said, meant = ({**p["result"]["extra"], "nextPages": None} for p in (page, other))
    return json.dumps([said, page["result"]["list"]]) != json.dumps([meant, other["result"]["list"]])


ROW = {"grpIdx": 1, "grpNm": "g", "acesCnt": 2, "pernCnt": 1}


def walk_through(
    pages: Callable[[PageRequest], bytes],
    paginator: Paginator,
    check: Literal["strict", "warn"] = "strict",
    most: int = 200,
    in_flight: int = 1,
) -> tuple[list[GroupClicks], Day | ClicksGroupError]:
    """What a paginator gives on its way, and how it ends."""
    decoder = Decoder(check)
    given_away: list[GroupClicks] = []
    paginator.fetched_at = datetime.datetime.now(datetime.UTC)
    for _ in range(most):
        if paginator.finished:
            return given_away, paginator.day()
        requests: list[PageRequest] = []
        while len(requests) < in_flight and (request := paginator.next_request()) is not None:
            requests.append(request)
        try:
            # The last to be asked for is the first to come.
            for request in reversed(requests):
                paginator.receive(request, decoder.read(pages(request), request))
            came = [record for response in paginator.accepted() for record in response.records]
        except ClicksGroupError as error:
            return given_away, error
        if came or paginator.finished:
            given_away.extend(came)
        else:
            given_away.clear()
    raise AssertionError("a loop")


def served(pages: Pages) -> Callable[[PageRequest], bytes]:
    """A server that gives its last page for every number beyond it."""
    return lambda request: json.dumps(pages[min(request.number, len(pages)) - 1]).encode()


def walk_of(*, check: Literal["strict", "warn"] = "strict", rereads: int = 0) -> Paginator:
    return Paginator([Query(DATE, DATE)], None, check, rereads=rereads)


@given(honest())
def test_honest_server(server: Honest) -> None:
    """The pages of an honest server give its records exactly."""
    records, day = walk_through(served(server.pages), walk_of(), most=len(server.pages) + 1)
    assert isinstance(day, Day)
    assert records == list(day) == server.records
    assert (day.total_count, day.problems) == (len(server.records), ())


@given(honest())
def test_honest_server_lenient(server: Honest) -> None:
    """check="warn" changes nothing of the answers of an honest server."""
    records, day = walk_through(served(server.pages), walk_of(check="warn"), "warn")
    assert isinstance(day, Day)
    assert (records, day.problems) == (server.records, ())


@given(st.lists(honest(most=12), min_size=2, max_size=4))
def test_split_list(servers: list[Honest]) -> None:
    """The parts of a list of groups that was split are merged."""
    every = [record.group_id for server in servers for record in server.records]
    assume(len(set(every)) == len(every))
    # Ids that no server lists make sure that every part has one.
    asked = [(2**40 + i, *(record.group_id for record in server.records)) for i, server in enumerate(servers)]
    parts = [Query(DATE, DATE, groups) for groups in asked]

    def answer(request: PageRequest) -> bytes:
        return served(servers[parts.index(request.query)].pages)(request)

    _, day = walk_through(answer, Paginator(parts, (1, 2), "strict", rereads=0))
    assert isinstance(day, Day)
    assert list(day) == [record for server in servers for record in server.records]
    assert day.total_count == len(day)


def test_pages_are_not_kept() -> None:
    """A stream over a date of a million groups must not hold them all."""
    paginator = Paginator([Query(DATE, DATE)], None, "strict")
    body = {"code": 0, "result": {"extra": {"pages": 1, "nextYn": "N", "count": 1, "totalCount": 1}, "list": [ROW]}}
    request = paginator.next_request()
    assert request is not None
    paginator.receive(request, Decoder().read(json.dumps(body).encode(), request))
    assert len(list(paginator.accepted())) == 1
    assert paginator.finished
    assert paginator.pages_ahead == 0


def all_true_and_in_order(records: list[GroupClicks], truth: list[GroupClicks]) -> bool:
    """Whether nothing was given that is not so; that something is left out may show on the last page only."""
    rest = iter(truth)
    return all(record in rest for record in records)


@given(lying(), st.sampled_from([0, 2]))
def test_lying_server(lie: tuple[Honest, Pages], rereads: int) -> None:
    """A lying server gives an error and never a wrong record."""
    server, pages = lie
    records, error = walk_through(served(pages), walk_of(rereads=rereads))
    assert isinstance(error, (PaginationError, DecodeError))
    assert all_true_and_in_order(records, server.records)


@st.composite
def arbitrary(draw: st.DrawFn) -> Callable[[PageRequest], bytes]:
    """A server that says whatever comes to its mind about a handful of groups."""
    data = draw(st.data())
    number = st.integers(0, 12)

    def answer(request: PageRequest) -> bytes:
        ids = data.draw(st.lists(st.integers(1, 12), max_size=6))
        extra = {
            "pages": data.draw(st.one_of(st.just(request.number), number)),
            "nextPages": data.draw(st.one_of(st.just(request.number + 1), number, st.none())),
            "nextYn": data.draw(st.sampled_from("YN")),
            "count": data.draw(st.one_of(st.just(len(ids)), number)),
            "totalCount": data.draw(st.one_of(st.just(6), number)),
        }
        rows = [{"grpIdx": i, "grpNm": "g", "acesCnt": i, "pernCnt": i} for i in ids]
        return json.dumps({"code": 0, "result": {"extra": extra, "list": rows}}).encode()

    return answer


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(arbitrary(), st.sampled_from([0, 2]))
def test_any_server(answer: Callable[[PageRequest], bytes], rereads: int) -> None:
    """The pages of any server add up, or there is an error."""
    records, end = walk_through(answer, walk_of(rereads=rereads), most=3 * 13)
    if isinstance(end, Day):
        assert list(end) == records
        assert len({record.group_id for record in end}) == len(end) == end.total_count
    else:
        assert isinstance(end, PaginationError)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(arbitrary())
def test_any_server_lenient(answer: Callable[[PageRequest], bytes]) -> None:
    """With check="warn" the pages of any server come to an end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PaginationWarning)
        records, end = walk_through(answer, walk_of(check="warn"), "warn", most=13)
    if isinstance(end, Day):
        honest_day = len({record.group_id for record in end}) == len(end) == end.total_count
        assert honest_day or end.problems
        assert list(end) == records


async def _fetched(answer: Callable[[Request], bytes]) -> tuple[list[GroupClicks], BaseException | None]:
    async with (
        RawServer(answer) as server,
        ClicksClient("any-key", base_url=server.url, quota=Quota(in_flight=3)) as client,
    ):
        stream = client.clicks([DATE] * 3)
        records: list[GroupClicks] = []
        error = None
        try:
            async for record in stream:
                records.append(record)  # noqa: PERF401
        except ClicksGroupError as raised:
            error = raised
        # Another page of the date may be on its way.
        await server.wait_for(client.stats.requests)
        assert client.stats.requests == len(server.requests)
        return records, error


def _over_http(pages: Pages) -> Callable[[Request], bytes]:
    return lambda request: http(json.dumps(pages[min(request.page, len(pages)) - 1]).encode())


@settings(max_examples=25, deadline=None)
@given(honest())
def test_honest_server_by_client(server: Honest) -> None:
    """A client gives the records of an honest server exactly."""
    records, error = asyncio.run(_fetched(_over_http(server.pages)))
    assert error is None
    assert records == server.records * 3


@settings(max_examples=25, deadline=None)
@given(lying())
def test_lying_server_by_client(lie: tuple[Honest, Pages]) -> None:
    """A client gives an error where the server lies."""
    server, pages = lie
    records, error = asyncio.run(_fetched(_over_http(pages)))
    assert isinstance(error, (PaginationError, DecodeError))
    assert all_true_and_in_order(records, server.records)


def test_endless_chain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A chain that invents new groups for ever is an error, with check="warn" too."""

    def answer(request: PageRequest) -> bytes:
        new = GroupClicks(DATE, request.number, "new", 1, 1)
        return json.dumps(_page(request.number, [new], 3, more=True)).encode()

    monkeypatch.setattr("clicksgroup.protocol.pagination.MAX_PAGES", 50)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PaginationWarning)
        _, end = walk_through(answer, walk_of(check="warn"), "warn", most=60)
    assert isinstance(end, PaginationError)
    assert end.page == 50
    assert "does not end" in str(end)
