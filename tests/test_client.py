"""The client against a real server: what it gives is the truth, what it costs is what it must, what cannot be right
is refused before anything is sent.
"""

from __future__ import annotations

import asyncio
import datetime
import gc
import math
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import attrs
import pytest

from clicksgroup import (
    AuthenticationError,
    ClicksClient,
    ClicksGroupError,
    ClientClosedError,
    ConfigurationError,
    Day,
    Estimate,
    Plan,
    Quota,
    RetryPolicy,
    ServerError,
    Stats,
    date_range,
)
from clicksgroup.sandbox import Fault, Sandbox, SeenRequest
from clicksgroup.settings import origin_of

SIZES = (0, 1, 29, 30, 31, 59, 60, 61, 95, 300)
DATES = date_range("2025-01-01", "2025-03-31")
FAST = Quota(in_flight=2)
HARD_NAMES = [
    "",
    " ",
    "봄 세일 🌸",
    "quoted \"x\", 'y'",
    "a,b;c\td",
    "two\nlines\r\n",
    "\u0000\u2028\ufeff\\",
    "👩‍👩‍👧 é e\u0301",
]


def size(date: datetime.date) -> int:
    return SIZES[date.toordinal() % len(SIZES)]


def pages(groups: int) -> int:
    return max(1, math.ceil(groups / 30))


def costs(sandbox: Sandbox) -> Counter[datetime.date | None]:
    return Counter(request.date for request in sandbox.requests)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(size, quota=FAST) as sandbox:
        yield sandbox


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[ClicksClient]:
    async with sandbox.client() as client:
        yield client


# Truth


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("ordered", [True, False])
async def test_90_dates_of_all_sizes_are_the_truth_at_the_cost_of_their_pages(version: Any, ordered: bool) -> None:
    """Nothing twice, nothing missing, each date in one piece, and never more in flight than allowed, nor fewer."""
    async with Sandbox(size, quota=FAST, latency=0.001) as sandbox, sandbox.client(api_version=version) as client:
        truth = [record for date in DATES for record in sandbox.truth(date)]
        got = [record async for record in client.clicks(DATES, ordered=ordered)]
        stats = client.stats
    if ordered:
        assert got == truth
    else:
        assert sorted(got, key=lambda record: record.date) == truth
        seen = list(dict.fromkeys(record.date for record in got))
        assert [record.date for record in got] == [date for date in seen for _ in range(size(date))]
    assert costs(sandbox) == {date: pages(size(date)) for date in DATES}
    assert {request.path.split("/")[3] for request in sandbox.requests} == {version}
    assert {request.status for request in sandbox.requests} == {200}
    assert sandbox.in_flight_peak == 2
    asked = len(sandbox.requests)
    assert attrs.evolve(stats, bytes=0, waited=0) == Stats(requests=asked, pages=asked, records=len(truth))
    assert stats.bytes > 50 * len(truth)


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("groups", SIZES)
async def test_one_date_is_the_truth_whichever_way_it_is_asked_for(groups: int, version: Any) -> None:
    async with Sandbox(groups, quota=FAST) as sandbox, sandbox.client(api_version=version) as client:
        truth, date = sandbox.truth("2025-01-03"), datetime.date(2025, 1, 3)
        before = datetime.datetime.now(datetime.UTC)
        day = await client.day(date)
        assert (day.date, day.total_count, list(day), day.groups, day.problems) == (date, groups, truth, None, ())
        assert before <= day.fetched_at <= datetime.datetime.now(datetime.UTC)
        assert day.fetched_at.tzinfo is datetime.UTC
        assert len(day) == groups
        all_pages = [page async for page in client.pages(date)]
        assert [record for page in all_pages for record in page.records] == truth
        assert [page.number for page in all_pages] == list(range(1, pages(groups) + 1))
        assert [page.next_number for page in all_pages] == [*range(2, pages(groups) + 1), None]
        assert {page.total_count for page in all_pages} == {groups}
        assert [page.count for page in all_pages] == [len(page.records) for page in all_pages]
        assert [record async for record in client.clicks("2025-01-03")] == truth
        assert [item.records async for item in client.days([date])] == [tuple(truth)]
        assert await client.page(date, pages(groups)) == all_pages[-1]
        assert len(sandbox.requests) == 4 * pages(groups) + 1


@pytest.mark.parametrize("ordered", [True, False])
async def test_days_are_whole_dates(client: ClicksClient, sandbox: Sandbox, ordered: bool) -> None:
    days = [day async for day in client.days(DATES, ordered=ordered)]
    if ordered:
        assert [day.date for day in days] == list(DATES)
    assert {day.date: list(day) for day in days} == {date: sandbox.truth(date) for date in DATES}


async def test_names_come_as_they_are() -> None:
    def rename(envelope: dict[str, Any]) -> dict[str, Any]:
        for record, name in zip(envelope["result"]["list"], HARD_NAMES, strict=True):
            record["grpNm"] = name
        return envelope

    async with Sandbox(len(HARD_NAMES), faults=[Fault(change=rename)]) as sandbox, sandbox.client() as client:
        assert [record.group_name async for record in client.clicks("2025-01-03")] == HARD_NAMES


async def test_a_single_date_can_be_resumed_in_the_middle(client: ClicksClient, sandbox: Sandbox) -> None:
    date = next(date for date in DATES if size(date) == 95)
    got = [page async for page in client.pages([date], start=3)]
    assert [page.number for page in got] == [3, 4]
    assert [record for page in got for record in page.records] == sandbox.truth(date)[60:]


async def test_totals_are_asked_for_from_v2_page_by_page(sandbox: Sandbox, client: ClicksClient) -> None:
    truth = sandbox.truth_totals("2025-01-01", "2025-01-31")
    assert [record async for record in client.totals("2025-01-01", "2025-01-31")] == truth
    assert {request.path.split("/")[3] for request in sandbox.requests} == {"v2"}
    assert len(sandbox.requests) == pages(len(truth))


async def test_dates_may_be_written_in_all_their_ways(sandbox: Sandbox, client: ClicksClient) -> None:
    date = datetime.date(2025, 1, 4)
    for written in (date, "2025-01-04", datetime.datetime(2025, 1, 4), [date], iter(["2025-01-04"]), {date: 1}):
        assert [record async for record in client.clicks(written)] == sandbox.truth(date)


# Groups and plans


async def test_premium_lists_are_split_by_five_and_merged() -> None:
    async with Sandbox(95, plan="premium", quota=FAST) as sandbox, sandbox.client() as client:
        truth = sandbox.truth("2025-01-03")
        ids = [record.group_id for record in truth[::7]]
        day = await client.day("2025-01-03", groups=[*ids, *ids])
        assert list(day) == truth[::7]
        assert (day.groups, day.total_count) == (tuple(ids), len(ids))
        assert [request.groups for request in sandbox.requests] == [tuple(ids[i : i + 5]) for i in range(0, 14, 5)]
        assert [page.groups async for page in client.pages("2025-01-03", groups=ids)] == [
            tuple(ids[i : i + 5]) for i in range(0, 14, 5)
        ]
        assert [record async for record in client.clicks("2025-01-03", groups=ids)] == truth[::7]


async def test_3000_ids_cost_exactly_100_requests_and_no_url_over_4000_characters() -> None:
    longest = 0

    async def measure(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        nonlocal longest
        longest = max(longest, len(str(request.url)))
        return await handler(request)

    async with (
        Sandbox(3000, quota=FAST) as sandbox,
        aiohttp.ClientSession(middlewares=[measure]) as session,
        sandbox.client(session=session) as client,
    ):
        truth = sandbox.truth("2025-01-03")
        ids = [record.group_id for record in truth]
        assert client.estimate("2025-01-03", groups=ids).requests == 100
        assert [record async for record in client.clicks("2025-01-03", groups=ids)] == truth
        assert len(sandbox.requests) == 100
        assert 3000 < longest <= 4000


async def test_a_list_as_long_as_fits_is_asked_for_whole(sandbox: Sandbox, client: ClicksClient) -> None:
    await client.page("2025-01-03", groups=range(1, 101))
    assert sandbox.requests[0].groups == tuple(range(1, 101))


@pytest.mark.parametrize(
    ("plan", "days"), [("personal", 7), ("premium", 14), ("business", 31), ("business_plus", 31), ("enterprise", 31)]
)
async def test_a_totals_range_beyond_the_plans_span_is_refused_and_never_split(plan: str, days: int) -> None:
    async with Sandbox(3, plan=plan, quota=FAST) as sandbox, sandbox.client() as client:
        start = datetime.date(2025, 1, 1)
        groups = [record.group_id for record in sandbox.truth(start)]
        end = start + datetime.timedelta(days)
        with pytest.raises(ConfigurationError, match=rf"^end: .* are {days + 1} days, but .* allows {days}"):
            client.totals(start, end, groups=groups)
        assert not sandbox.requests
        end -= datetime.timedelta(1)
        assert [record async for record in client.totals(start, end, groups=groups)]


# What it costs, before and after


@pytest.mark.parametrize(
    ("plan", "how", "requests", "seconds"),
    [
        ("business", {"dates": date_range("2025-01-01", "2025-12-31"), "group_count": 100}, 1460, 3600),
        ("business", {"dates": date_range("2025-01-01", "2025-01-24")}, 24, 0),
        ("business", {"dates": ["2025-01-01"], "group_count": 0}, 1, 0),
        ("business", {"dates": "2025-01-01", "groups": range(1, 3001)}, 100, 240),
        ("personal", {"dates": date_range("2025-01-01", "2025-12-31"), "group_count": 100}, 1460, 9720),
        ("premium", {"dates": date_range("2025-01-01", "2025-01-10"), "groups": range(1, 13)}, 30, 60),
        ("premium", {"dates": date_range("2025-01-01", "2025-01-10"), "group_count": 12}, 30, 60),
        ("premium", {"dates": iter(["2025-01-01", "2025-01-02"])}, 2, 0),
    ],
)
def test_estimate_counts_without_asking(plan: str, how: dict[str, Any], requests: int, seconds: float) -> None:
    assert ClicksClient("key", plan=plan).estimate(**how) == Estimate(requests, seconds)


async def test_estimate_says_what_then_happens() -> None:
    async with Sandbox(95, quota=FAST) as sandbox, sandbox.client() as client:
        dates = date_range("2025-01-01", "2025-01-10")
        estimate = client.estimate(dates, group_count=95)
        await asyncio.gather(*(client.day(date) for date in dates))
        assert client.stats.requests == len(sandbox.requests) == estimate.requests == 40


async def test_stats_are_a_frozen_snapshot_that_counts_retries_and_429s() -> None:
    faults = [Fault(date="2025-01-03", status=503), Fault(date="2025-01-04", retry_after=0)]
    async with (
        Sandbox(3, quota=FAST, faults=faults) as sandbox,
        sandbox.client(retry=RetryPolicy(backoff=0)) as client,
    ):
        before = client.stats
        await client.day("2025-01-03")
        await client.day("2025-01-04")
        stats = client.stats
        assert before == Stats()
        assert attrs.evolve(stats, bytes=0, waited=0) == Stats(requests=4, retries=2, throttled=1, pages=2, records=6)
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            stats.requests = 0  # type: ignore[misc]


# One answer for all who ask the same


async def test_200_who_ask_for_5_dates_cost_5_dates_and_all_get_the_truth(
    sandbox: Sandbox, client: ClicksClient
) -> None:
    dates = DATES[:5]
    answers = await asyncio.gather(*(client.day(dates[i % 5]) for i in range(200)))
    assert all(list(day) == sandbox.truth(dates[i % 5]) for i, day in enumerate(answers))
    assert costs(sandbox) == {date: pages(size(date)) for date in dates}


async def test_100_of_200_who_are_cancelled_change_nothing_for_the_others(
    sandbox: Sandbox, client: ClicksClient
) -> None:
    dates = DATES[:5]
    asking = [asyncio.create_task(client.day(dates[i % 5])) for i in range(200)]
    await sandbox.wait_for_requests(2)
    for task in asking[::2]:
        task.cancel()
    answers = await asyncio.gather(*asking[1::2])
    assert {day.date: list(day) for day in answers} == {date: sandbox.truth(date) for date in dates}
    assert costs(sandbox) == {date: pages(size(date)) for date in dates}


async def test_the_last_who_leaves_ends_the_work() -> None:
    async with Sandbox(300, latency=0.005, quota=FAST) as sandbox, sandbox.client() as client:
        asking = [asyncio.create_task(client.day("2025-01-03")) for _ in range(9)]
        await sandbox.wait_for_requests(2)
        sent = client.stats.requests
        for task in asking:
            task.cancel()
        await asyncio.wait(asking)
        while any("clicksgroup" in task.get_name() for task in asyncio.all_tasks()):
            await asyncio.sleep(0)
        assert len(sandbox.requests) == sent


@pytest.mark.slow
async def test_who_asks_as_the_last_one_leaves_gets_an_answer_that_others_can_share() -> None:
    """However few turns of the loop lie between; the answer takes more of them than all the asking."""
    date = next(date for date in DATES if size(date) == 1)
    async with Sandbox(size, quota=FAST, latency=0.2) as sandbox, sandbox.client() as client:
        for wait in range(6):
            before = len(sandbox.requests)
            gone = asyncio.create_task(client.page(date))
            await sandbox.wait_for_requests(before + 1)
            gone.cancel()
            for _ in range(wait):
                await asyncio.sleep(0)
            asking = []
            for _ in range(9):
                asking.append(asyncio.create_task(client.page(date)))
                await asyncio.sleep(0)
            assert len({id(page) for page in await asyncio.gather(*asking)}) == 1
            assert len(sandbox.requests) - before <= 2


async def test_who_leaves_as_the_answer_fails_leaves_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    faults = [Fault(status=401)]
    async with Sandbox(3, quota=FAST, faults=faults) as sandbox, sandbox.client() as client:
        asking = asyncio.create_task(client.day("2025-01-03"))
        await sandbox.wait_for_requests(1)
        (answer,) = [task for task in asyncio.all_tasks() if task.get_name() == "clicksgroup answer"]
        answer.add_done_callback(lambda _, leaving=asking: leaving.cancel())  # type: ignore[misc]
        await asyncio.wait([asking])
        assert asking.cancelled()
        del answer, asking
        gc.collect()
    assert not caplog.records


async def test_other_questions_have_other_answers(sandbox: Sandbox, client: ClicksClient) -> None:
    date = next(date for date in DATES if size(date) == 95)
    ids = [record.group_id for record in sandbox.truth(date)]
    answers = await asyncio.gather(
        client.day(date),
        client.day(date, groups=ids[:3]),
        client.page(date),
        client.page(date, 2),
        client.page(date, groups=ids[:2]),
        client.day(DATES[0]),
    )
    assert [len(answer.records) for answer in answers] == [95, 3, 30, 30, 2, size(DATES[0])]
    assert answers[2] != answers[3]
    assert len(sandbox.requests) == 4 + 1 + 1 + 1 + 1 + pages(size(DATES[0]))


async def test_an_answer_is_shared_while_it_is_on_its_way_and_not_kept(sandbox: Sandbox, client: ClicksClient) -> None:
    date = next(date for date in DATES if size(date) == 1)
    assert await client.page(date) is not await client.page(date)
    assert len(sandbox.requests) == 2


async def test_a_failure_is_shared_and_the_next_who_asks_asks_again(recwarn: pytest.WarningsRecorder) -> None:
    faults = [Fault(status=500)]
    async with Sandbox(3, quota=FAST, faults=faults) as sandbox, sandbox.client(retry=RetryPolicy(1)) as client:
        failed = await asyncio.gather(*(client.day("2025-01-03") for _ in range(9)), return_exceptions=True)
        assert {type(error) for error in failed} == {ServerError}
        assert len(await client.day("2025-01-03")) == 3
        assert len(sandbox.requests) == 2
    assert not recwarn


async def test_leaving_the_client_is_told_to_all_who_wait() -> None:
    async with Sandbox(3, latency=3600, quota=FAST) as sandbox:
        async with sandbox.client() as client:
            asking = [asyncio.create_task(client.day("2025-01-03")) for _ in range(3)]
            await sandbox.wait_for_requests(1)
        for task in asking:
            with pytest.raises(ClientClosedError):
                await task


# The plan's quota


async def test_the_first_requests_up_to_the_quota_go_at_once() -> None:
    async with Sandbox(1, plan="business") as sandbox, sandbox.client() as client:
        dates = date_range("2025-01-01", "2025-01-24")
        assert len([day async for day in client.days(dates)]) == 24
        assert client.stats.waited < 1
        assert {request.status for request in sandbox.requests} == {200}


async def test_clients_of_one_key_share_a_quota_and_may_not_differ_in_it() -> None:
    async with Sandbox(3, quota=Quota((100, 60), in_flight=1)) as sandbox, sandbox.client() as first:
        async with sandbox.client() as second:
            dates = date_range("2025-01-01", "2025-01-10")
            await asyncio.gather(*(client.day(date) for date in dates for client in (first, second)))
            assert {request.status for request in sandbox.requests} == {200}
        with pytest.raises(ConfigurationError, match=r"^quota: "):
            await sandbox.client(quota=Quota((99, 60))).__aenter__()
        async with sandbox.client(api_key="another", quota=Quota((99, 60))):
            pass


# What is refused


MAKES: dict[str, tuple[Callable[[Callable[..., Any]], Any], str]] = {
    "no key": (lambda make: make(), r"api_key.*CLICKSGROUP_API_KEY"),
    "empty key": (lambda make: make(""), "api_key: it is empty"),
    "key with a newline": (lambda make: make("key\r\nX: y"), "api_key: .*ASCII"),
    "key with a space at its end": (lambda make: make("key "), "api_key: .*white space"),
    "key that is no ASCII": (lambda make: make("clé"), "api_key: .*ASCII"),
    "user agent with a newline": (lambda make: make("k", user_agent="a\nb"), "user_agent: .*ASCII"),
    "empty user agent": (lambda make: make("k", user_agent=""), "user_agent: it is empty"),
    "language with a newline": (lambda make: make("k", language="en\r\n"), "language: .*"),
    "unknown plan": (lambda make: make("k", plan="free"), "plan: 'free' is not a plan; write one of personal, premium"),
    "plain http": (lambda make: make("k", base_url="http://vivoldi.com"), "base_url: .*https.*allow_http"),
    "another scheme": (lambda make: make("k", base_url="ftp://vivoldi.com"), "base_url: .*https://vivoldi.com"),
    "no scheme": (lambda make: make("k", base_url="vivoldi.com"), "base_url: .*https://vivoldi.com"),
    "user in the URL": (lambda make: make("k", base_url="https://a:b@vivoldi.com"), "base_url: it holds a user"),
    "query in the URL": (lambda make: make("k", base_url="https://vivoldi.com?a=b"), "base_url: .*query"),
    "fragment in the URL": (lambda make: make("k", base_url="https://vivoldi.com#a"), "base_url: .*fragment"),
    "bad port": (lambda make: make("k", base_url="https://vivoldi.com:port"), "base_url: "),
    "space in the URL": (lambda make: make("k", base_url="https://vivoldi.com/a b"), "base_url: .*space"),
    "timeout of 0": (lambda make: make("k", timeout=0), "timeout: 0: .*positive"),
    "timeout that is no number": (lambda make: make("k", timeout=math.nan), "timeout: nan: .*positive"),
    "check": (lambda make: make("k", check="lax"), "check: 'lax' is not one of 'strict', 'warn'"),
    "api_version": (lambda make: make("k", api_version="v3"), "api_version: 'v3' is not one of 'v1', 'v2'"),
    "timeout that is text": (lambda make: make("k", timeout="30"), "timeout: .*number"),
    "quota of 0": (lambda make: make("k", quota=0), "quota: expected Quota or SharedQuota, got int; write Quota"),
    "quota that is a pair": (lambda make: make("k", quota=(24, 60)), "quota: expected Quota"),
    "session": (lambda make: make("k", session="s"), "session: expected ClientSession"),
    "retry": (lambda make: make("k", retry=3), "retry: expected RetryPolicy"),
    "key that is bytes": (lambda make: make(b"k"), "api_key: expected a str"),
    "URL that is bytes": (lambda make: make("k", base_url=b"u"), "base_url: expected a str"),
}


@pytest.mark.parametrize(("make", "words"), MAKES.values(), ids=MAKES)
def test_what_cannot_be_right_is_refused_when_the_client_is_made(
    make: Callable[[Callable[..., Any]], Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLICKSGROUP_API_KEY", raising=False)
    with pytest.raises((ConfigurationError, TypeError), match=words) as raised:
        make(ClicksClient)
    assert "X: y" not in str(raised.value)


ASKS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "date in another form": (lambda c: c.clicks("01.02.2025"), r"dates: '01.02.2025'.*YYYY-MM-DD"),
    "date that does not exist": (
        lambda c: c.days(["2025-02-28", "2025-02-29"]),
        r"dates\[1\]: 2025-02-29 is not a date",
    ),
    "moment": (lambda c: c.pages(datetime.datetime(2025, 1, 1, 12)), "dates: .*midnight"),
    "date that is a number": (lambda c: c.clicks(20250101), "dates: expected a date"),
    "one date that is a number": (lambda c: c.day(20250101), "date: expected a datetime.date"),
    "no groups": (lambda c: c.clicks("2025-01-01", groups=[]), "groups: the list is empty"),
    "no groups for a day": (lambda c: c.day("2025-01-01", groups=iter(())), "groups: the list is empty"),
    "group 0": (lambda c: c.clicks("2025-01-01", groups=[1, 0]), "groups: 0: .*from 1"),
    "group below 0": (lambda c: c.page("2025-01-01", groups=[-1]), "groups: -1: .*from 1"),
    "group that is huge": (lambda c: c.clicks("2025-01-01", groups=[2**64]), "groups: .*from 1 to"),
    "group that is text": (
        lambda c: c.clicks("2025-01-01", groups=["151"]),
        "groups: expected ints .*, got str",
    ),
    "group that is true": (
        lambda c: c.clicks("2025-01-01", groups=[True]),
        "groups: expected ints .*, got bool",
    ),
    "group that is a float": (
        lambda c: c.clicks("2025-01-01", groups=[1.0]),
        "groups: expected ints .*, got float",
    ),
    "groups as text": (lambda c: c.totals("2025-01-01", "2025-01-02", groups="151"), "groups: expected an iterable"),
    "one group": (lambda c: c.clicks("2025-01-01", groups=151), "groups: expected an iterable"),
    "page 0": (lambda c: c.page("2025-01-01", 0), "number: 0: .*at least 1"),
    "page that is text": (lambda c: c.page("2025-01-01", "1"), "number: expected an int"),
    "start 0": (lambda c: c.pages("2025-01-01", start=0), "start: 0: .*at least 1"),
    "start with several dates": (lambda c: c.pages(["2025-01-01"] * 2, start=2), "start: 2: only a single date"),
    "start with dates nobody counted": (lambda c: c.pages(iter(["2025-01-01"]), start=2), "start: 2: only a single"),
    "start with a list that is split": (
        lambda c: c.pages("2025-01-01", start=2, groups=range(1, 3001)),
        "start: 2: .*split",
    ),
    "page of a list that is split": (lambda c: c.page("2025-01-01", groups=range(1, 3001)), "groups: 3000 ids"),
    "totals backwards": (lambda c: c.totals("2025-01-02", "2025-01-01"), "end: 2025-01-01 is before start"),
    "totals over two months": (lambda c: c.totals("2025-01-01", "2025-03-01"), "end: .* 60 days.*not split"),
    "estimate of less than nothing": (lambda c: c.estimate("2025-01-01", group_count=-1), "group_count: -1"),
}


@pytest.mark.parametrize(("ask", "words"), ASKS.values(), ids=ASKS)
async def test_what_cannot_be_right_is_refused_before_any_connection(
    sandbox: Sandbox, ask: Callable[[ClicksClient], Any], words: str
) -> None:
    connections = aiohttp.TraceConfig()
    connections.on_connection_create_start.append(lambda *_: pytest.fail("it connects"))
    async with aiohttp.ClientSession(trace_configs=[connections]) as session, sandbox.client(session=session) as client:
        with pytest.raises((ConfigurationError, TypeError), match=words):
            await ask(client)
    assert not sandbox.requests


async def test_premium_needs_groups(sandbox: Sandbox) -> None:
    async with sandbox.client(plan="premium") as client:
        for ask in (client.clicks, client.pages, client.days):
            with pytest.raises(ConfigurationError, match="the Premium plan must name its groups"):
                ask("2025-01-01")
        for ask_now in (client.day, client.page):
            with pytest.raises(ConfigurationError, match="the Premium plan must name its groups"):
                await ask_now("2025-01-01")
    assert not sandbox.requests


# Settings, opening, closing


async def test_the_environment_counts_where_no_argument_is_given(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLICKSGROUP_API_KEY", sandbox.api_key)
    monkeypatch.setenv("CLICKSGROUP_PLAN", "Business")
    monkeypatch.setenv("CLICKSGROUP_BASE_URL", sandbox.url)
    monkeypatch.setenv("CLICKSGROUP_USER_AGENT", "Acme Shop")
    async with ClicksClient() as client:
        assert await client.page("2025-01-01")
        assert "Business" in repr(client)
    async with ClicksClient(user_agent="Other Shop", plan=Plan.BUSINESS) as client:
        assert await client.page("2025-01-01")
    assert [request.user_agent for request in sandbox.requests] == ["Acme Shop", "Other Shop"]


def test_without_either_the_defaults_are_safe(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable is none."""
    for name in ("PLAN", "BASE_URL", "USER_AGENT"):
        monkeypatch.setenv(f"CLICKSGROUP_{name}", "")
    client = ClicksClient("key")
    assert repr(client) == "<ClicksClient https://vivoldi.com, Personal: not opened>"
    assert client.estimate(date_range("2025-01-01", "2025-01-10")).seconds == 60


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "api.localhost", "127.9.9.9:8080"])
def test_plain_http_is_for_this_machine(host: str) -> None:
    assert ClicksClient("key", base_url=f"http://{host}/")
    assert ClicksClient("key", base_url="http://example.com", allow_http=True)


def test_a_base_url_may_have_a_path() -> None:
    assert "https://proxy.example/vivoldi," in repr(ClicksClient("key", base_url="https://proxy.example/vivoldi/"))


def test_an_origin_is_scheme_host_and_port() -> None:
    assert origin_of("https://Vivoldi.com/a") == origin_of("https://vivoldi.com:443") == "https://vivoldi.com:443"
    assert origin_of("http://127.0.0.1:80") == origin_of("http://127.0.0.1")
    assert origin_of("http://127.0.0.1:81") != origin_of("http://127.0.0.1")


async def test_a_client_is_opened_once_and_used_in_between(sandbox: Sandbox) -> None:
    client = sandbox.client()
    with pytest.raises(ClientClosedError, match="not open"):
        await client.day("2025-01-01")
    async with client:
        await client.day("2025-01-01")
        with pytest.raises(ClientClosedError, match="opened once"):
            await client.__aenter__()
    assert "closed" in repr(client)
    for ask in (client.day, client.page):
        with pytest.raises(ClientClosedError, match="closed"):
            await ask("2025-01-01")
    with pytest.raises(ClientClosedError, match="opened once"):
        await client.__aenter__()


async def test_a_borrowed_session_is_left_open_and_our_headers_win(sandbox: Sandbox) -> None:
    headers = {"User-Agent": "Mozilla/5.0", "Authorization": "APIKey wrong"}
    async with aiohttp.ClientSession(headers=headers, raise_for_status=True) as session:
        async with sandbox.client(session=session, user_agent="Acme Shop") as client:
            await client.page("2025-01-01")
        assert not session.closed
    assert [request.user_agent for request in sandbox.requests] == ["Acme Shop"]
    with pytest.raises(ConfigurationError, match="session: it is closed"):
        await sandbox.client(session=session).__aenter__()


async def test_a_date_that_fails_ends_the_stream_after_all_that_came_before() -> None:
    faults = [Fault(date="2025-01-03", page=2, attempts=None, status=500)]
    async with (
        Sandbox(95, quota=FAST, faults=faults) as sandbox,
        sandbox.client(retry=RetryPolicy(attempts=2, backoff=0)) as client,
    ):
        stream = client.clicks(date_range("2025-01-01", "2025-01-31"))
        got = [await anext(stream) for _ in range(95 + 95 + 30)]
        for _ in range(2):
            with pytest.raises(ServerError) as raised:
                await anext(stream)
            assert (raised.value.date, raised.value.page, raised.value.attempts) == (datetime.date(2025, 1, 3), 2, 2)
            assert isinstance(raised.value, ClicksGroupError)
        truth = [record for day in ("2025-01-01", "2025-01-02", "2025-01-03") for record in sandbox.truth(day)]
        assert got == truth[: len(got)]


def test_the_import_loads_no_extra() -> None:
    """Nor anything heavy that only some need."""
    program = (
        "import sys, clicksgroup; clicksgroup.ClicksClient; print(*{name.partition('.')[0] for name in sys.modules})"
    )
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    assert {"aiohttp", "attr", "cattrs", "orjson"} <= set(loaded)
    extras = {
        "click", "rich", "sqlalchemy", "aiosqlite", "sqlite3", "asyncpg", "redis", "arro3", "pyarrow", "pandas",
        "vl_convert", "hypothesis", "pytest", "numpy",
    }  # fmt: skip
    assert not extras & set(loaded)


@pytest.mark.parametrize("stops", [True, False])
async def test_a_failure_is_judged_before_another_request_is_out(stops: bool) -> None:
    """What a backfill builds on: dates as they complete, failures among them, until one of them stops it."""
    faults = [Fault(date=date, attempts=None, status=401) for date in ("2025-01-02", "2025-01-05")]
    async with (
        Sandbox(3, quota=Quota(in_flight=1), faults=faults) as sandbox,
        sandbox.client() as client,
    ):
        asked: list[datetime.date] = []

        def fatal(date: datetime.date, error: ClicksGroupError) -> bool:
            assert isinstance(error, AuthenticationError)
            asked.append(date)
            return stops

        stream = client.day_outcomes(date_range("2025-01-01", "2025-01-09"), fatal=fatal)
        if stops:
            assert (await anext(stream))[0] == datetime.date(2025, 1, 1)
            with pytest.raises(AuthenticationError):
                await anext(stream)
        else:
            got = [(date, type(outcome)) async for date, outcome in stream]
            assert got == [
                (date, AuthenticationError if date.day in (2, 5) else Day)
                for date in date_range("2025-01-01", "2025-01-09")
            ]
        assert len(sandbox.requests) == (2 if stops else 9)
        assert [date.day for date in asked] == ([2] if stops else [2, 5])


async def test_a_date_that_moves_in_one_part_of_a_split_list_costs_that_part_again() -> None:
    def moved(envelope: dict[str, Any]) -> dict[str, Any]:
        envelope["result"]["extra"]["totalCount"] += 1
        return envelope

    def fault(seen: SeenRequest) -> Fault | None:
        return Fault(change=moved) if seen.groups == tuple(ids[-5:]) and seen.attempt == 1 else None

    async with Sandbox(100, "premium", quota=FAST, faults=fault) as sandbox, sandbox.client() as client:
        ids = [record.group_id for record in sandbox.truth("2025-01-02")]
        day = await client.day("2025-01-02", groups=ids)
        assert sorted(day, key=lambda record: record.group_id) == sorted(
            sandbox.truth("2025-01-02"), key=lambda record: record.group_id
        )
        assert (day.total_count, client.stats.requests) == (100, 21)
