"""The vendor's protocol without any I/O, and a recorded answer through a session that a mock library answers."""

from __future__ import annotations

import datetime
import json
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import Mock

import aiohttp
import pytest
from aioresponses import aioresponses
from hypothesis import given
from hypothesis import strategies as st

from clicksgroup import (
    APIError,
    ClicksClient,
    DecodeError,
    GroupClicks,
    GroupTotals,
    Plan,
    Quota,
    RetryPolicy,
    ServerError,
)
from clicksgroup.protocol import Decoder, Query, QueryPlanner
from clicksgroup.protocol.requests import MAX_URL_LENGTH, PAGE_SIZE

DATE = datetime.date(2025, 1, 31)
URL = "https://vivoldi.com/api/link/v1/clicks-by-group"
# As the vendor documents it (Clicks by Group v1).
RECORDED = b"""{"code": 0, "message": "", "result": {
  "extra": {"pages": 1, "nextPages": 1, "nextYn": "N", "count": 3, "totalCount": 3},
  "list": [{"grpIdx": 151, "grpNm": "Electronics", "acesCnt": 181, "pernCnt": 164},
           {"grpIdx": 207, "grpNm": "Kitchenware", "acesCnt": 19847, "pernCnt": 18095},
           {"grpIdx": 209, "grpNm": "Brian Smith Advertiser Only", "acesCnt": 5730, "pernCnt": 5409}]}}"""
RECORDS = (
    GroupClicks(DATE, 151, "Electronics", 181, 164),
    GroupClicks(DATE, 207, "Kitchenware", 19847, 18095),
    GroupClicks(DATE, 209, "Brian Smith Advertiser Only", 5730, 5409),
)


def test_request() -> None:
    """A request is what the vendor documents."""
    assert Query(DATE, DATE).page(1).target == "/api/link/v1/clicks-by-group?ymd=2025-01-31&pages=1"
    asked = Query(DATE, DATE, (151, 207, 209)).page(2)
    assert asked.target == "/api/link/v1/clicks-by-group?ymd=2025-01-31&grpIdxList=151,207,209&pages=2"
    v2 = Query(DATE, DATE, (151,), "v2").page(3)
    assert v2.target == "/api/link/v2/clicks-by-group?startYmd=2025-01-31&endYmd=2025-01-31&grpIdxList=151&pages=3"
    assert str(Query(DATE, DATE + datetime.timedelta(1))) == "2025-01-31 to 2025-02-01"


def test_recorded_answer() -> None:
    """The recorded answer is read exactly."""
    response = Decoder().read(RECORDED, Query(DATE, DATE).page(1))
    assert tuple(response.records) == RECORDS
    assert (response.extra.pages, response.extra.nextPages, response.extra.nextYn) == (1, 1, "N")
    assert (response.extra.count, response.extra.totalCount, response.problems) == (3, 3, ())


def test_totals() -> None:
    """Totals carry their range."""
    end = DATE + datetime.timedelta(6)
    response = Decoder().read(RECORDED, Query(DATE, end, None, "v2", "totals").page(1))
    assert response.records[0] == GroupTotals(DATE, end, 151, "Electronics", 181, 164)


def test_decoder_is_stateless() -> None:
    """A decoder remembers nothing of the answer before."""
    decoder = Decoder("warn")
    odd = RECORDED.replace(b"181,", b'"181",')
    later = DATE + datetime.timedelta(1)
    assert decoder.read(odd, Query(DATE, DATE).page(1)).problems
    response = decoder.read(RECORDED, Query(later, later).page(1))
    assert (response.problems, response.records[0].date) == ((), later)
    with pytest.raises(DecodeError):
        decoder.read(b"{", Query(DATE, DATE).page(1))
    assert tuple(decoder.read(RECORDED, Query(DATE, DATE).page(1)).records) == RECORDS


@given(st.lists(st.integers(1, 2**63 - 1), min_size=1, max_size=600, unique=True), st.text("a", max_size=300))
def test_split_by_length(ids: list[int], host: str) -> None:
    """A list that would make too long a URL is split, and nothing is lost."""
    base_url = f"https://{host}x.example"
    parts = [query.groups or () for query in QueryPlanner(Plan.BUSINESS, "v1", base_url).clicks(DATE, tuple(ids))]
    assert [number for part in parts for number in part] == ids
    for part in parts:
        assert len(base_url + Query(DATE, DATE, part).page(1).target) <= MAX_URL_LENGTH
        assert len(base_url + Query(DATE, DATE, part, "v2").page(999).target) <= MAX_URL_LENGTH
    assert all(len(part) % PAGE_SIZE == 0 for part in parts[:-1])


@given(st.lists(st.integers(1, 999), min_size=1, max_size=40, unique=True))
def test_split_by_plan(ids: list[int]) -> None:
    """A list is split where the plan allows only so many groups: five on Premium."""
    planner = QueryPlanner(Plan.PREMIUM, "v1", "https://vivoldi.com")
    parts = [query.groups or () for query in planner.clicks(DATE, tuple(ids))]
    assert [number for part in parts for number in part] == ids
    assert all(len(part) == 5 for part in parts[:-1])
    assert 1 <= len(parts[-1]) <= 5


class MockedResponse(aiohttp.ClientResponse):
    """Supplies what aioresponses 0.7.9 does not know of."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("stream_writer", Mock(output_size=0))
        super().__init__(*args, **kwargs)


@pytest.fixture
async def client() -> AsyncIterator[ClicksClient]:
    retry = RetryPolicy(attempts=3, backoff=0.001)
    async with ClicksClient("my-key", plan="business", quota=Quota(in_flight=2), retry=retry) as client:
        yield client


def mocked(page: int = 1, date: object = DATE) -> str:
    return f"{URL}?ymd={date}&pages={page}"


async def test_mocked_answer(client: ClicksClient) -> None:
    """The recorded answer comes through a mocked session."""
    with aioresponses() as mock:
        mock.get(mocked(), body=RECORDED, content_type="application/json", response_class=MockedResponse)
        assert tuple([record async for record in client.clicks("2025-01-31")]) == RECORDS
        assert len(mock.requests) == 1
    assert (client.stats.requests, client.stats.pages, client.stats.records) == (1, 1, 3)
    assert client.stats.bytes == len(RECORDED)


async def test_mocked_pages(client: ClicksClient) -> None:
    """Pages follow each other through a mocked session."""
    with aioresponses() as mock:
        for number in (1, 2):
            extra = {"pages": number, "nextPages": 2, "nextYn": "YN"[number - 1], "count": 1, "totalCount": 2}
            rows = [{"grpIdx": number, "grpNm": "", "acesCnt": 0, "pernCnt": 0}]
            payload = {"code": 0, "result": {"extra": extra, "list": rows}}
            mock.get(mocked(number), payload=payload, response_class=MockedResponse)
        assert [record.group_id for record in await client.day(DATE)] == [1, 2]
    assert client.stats.requests == 2


async def test_mocked_failures(client: ClicksClient) -> None:
    """Failures are tried again through a mocked session."""
    with aioresponses() as mock:
        mock.get(mocked(), status=503, response_class=MockedResponse)
        mock.get(mocked(), exception=aiohttp.ServerDisconnectedError())
        mock.get(mocked(), body=RECORDED, response_class=MockedResponse)
        assert (await client.page(DATE)).records == RECORDS
    assert client.stats.retries == 2


async def test_mocked_errors(client: ClicksClient) -> None:
    """Errors come through a mocked session."""
    with aioresponses() as mock:
        mock.get(mocked(), status=500, repeat=True, response_class=MockedResponse)
        with pytest.raises(ServerError) as server_error:
            await client.page(DATE)
        assert (server_error.value.attempts, client.stats.requests) == (3, 3)
        mock.get(
            mocked(date="2025-02-01"),
            body=json.dumps({"code": 9, "message": "no"}),
            response_class=MockedResponse,
        )
        with pytest.raises(APIError, match="no") as api_error:
            await client.page("2025-02-01")
        assert (api_error.value.code, api_error.value.message, api_error.value.attempts) == (9, "no", 1)
