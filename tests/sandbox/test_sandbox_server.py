"""The server: what the vendor documents, over real HTTP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from clicksgroup.errors import AuthenticationError, ConfigurationError
from clicksgroup.plans import Plan, Quota
from clicksgroup.sandbox import Fault, Sandbox, SeenRequest
from tests.checker import most_in_any_window

FAST = Quota(in_flight=100)
DATE = "2025-01-03"
Ask = Callable[..., Any]


def rows(records: Any) -> list[dict[str, object]]:
    return [
        {
            "grpIdx": record.group_id,
            "grpNm": record.group_name,
            "acesCnt": record.clicks,
            "pernCnt": record.unique_users,
        }
        for record in records
    ]


@pytest.mark.parametrize("groups", [0, 1, 29, 30, 31, 60, 61, 95])
@pytest.mark.parametrize("dates", [{"ymd": DATE}, {"startYmd": DATE, "endYmd": DATE}], ids=["v1", "v2"])
async def test_pages(ask: Ask, groups: int, dates: dict[str, str]) -> None:
    """Pages of 30 hold exactly what `truth` says."""
    async with Sandbox(groups, quota=FAST) as sandbox:
        listed, page, more = [], 0, "Y"
        while more == "Y":
            page += 1
            envelope = (await ask(sandbox, **dates, pages=page)).json
            extra, records = envelope["result"]["extra"], envelope["result"]["list"]
            assert (envelope["code"], extra["pages"]) == (0, page)
            assert (extra["count"], extra["totalCount"]) == (len(records), groups)
            listed += records
            more = extra["nextYn"]
            assert extra["nextPages"] == (page + 1 if more == "Y" else page)
        assert page == max(1, -(-groups // 30))
        assert listed == rows(sandbox.truth(DATE))


async def test_page_past_the_end(ask: Ask) -> None:
    """A page past the end is empty."""
    async with Sandbox(31, quota=FAST) as sandbox:
        result = (await ask(sandbox, ymd=DATE, pages=3)).json["result"]
    assert result == {
        "extra": {"pages": 3, "nextPages": 3, "nextYn": "N", "count": 0, "totalCount": 31},
        "list": [],
    }


async def test_default_page(ask: Ask) -> None:
    """Page 1 is the default."""
    async with Sandbox(31, quota=FAST) as sandbox:
        assert (await ask(sandbox, ymd=DATE)).body == (await ask(sandbox, ymd=DATE, pages=1)).body


async def test_range(ask: Ask) -> None:
    """A v2 range is summed as `truth_totals` says."""
    async with Sandbox(20, quota=FAST) as sandbox:
        answer = await ask(sandbox, startYmd="2025-01-01", endYmd="2025-01-31")
        assert answer.json["result"]["list"] == rows(sandbox.truth_totals("2025-01-01", "2025-01-31"))[:30]


async def test_group_ids(ask: Ask) -> None:
    """Only the groups that were asked for are listed."""
    async with Sandbox(95, quota=FAST) as sandbox:
        truth = sandbox.truth(DATE)
        wanted = [truth[i] for i in (90, 3, 40)]
        ids = ",".join(str(record.group_id) for record in wanted)
        result = (await ask(sandbox, ymd=DATE, grpIdxList=f"{ids},999999999")).json["result"]
    assert result["list"] == rows(record for record in truth if record in wanted)
    assert result["extra"]["totalCount"] == 3


@pytest.mark.parametrize(
    ("plan", "query", "code"),
    [
        ("business", {}, 1001),
        ("business", {"ymd": "2025-02-29"}, 1001),
        ("business", {"ymd": "20250103"}, 1001),
        ("business", {"startYmd": DATE, "endYmd": ""}, 1002),
        ("business", {"startYmd": DATE, "endYmd": "2025-01-02"}, 1002),
        ("business", {"startYmd": "2025-01-15", "endYmd": "2025-02-14"}, 0),
        ("business", {"startYmd": "2025-01-15", "endYmd": "2025-02-15"}, 1003),
        ("enterprise", {"startYmd": "2025-01-01", "endYmd": "2025-02-01"}, 1003),
        ("business", {"startYmd": "9999-12-15", "endYmd": "9999-12-31"}, 0),
        ("personal", {"startYmd": "2025-01-01", "endYmd": "2025-01-07"}, 0),
        ("personal", {"startYmd": "2025-01-01", "endYmd": "2025-01-08"}, 1003),
        ("premium", {"startYmd": "2025-01-01", "endYmd": "2025-01-14", "grpIdxList": "151"}, 0),
        ("premium", {"startYmd": "2025-01-01", "endYmd": "2025-01-15", "grpIdxList": "151"}, 1003),
        ("business", {"ymd": DATE, "pages": "0"}, 1004),
        ("business", {"ymd": DATE, "pages": "two"}, 1004),
        ("business", {"ymd": DATE, "grpIdxList": ""}, 1005),
        ("business", {"ymd": DATE, "grpIdxList": "151,,207"}, 1005),
        ("premium", {"ymd": DATE}, 1006),
        ("premium", {"ymd": DATE, "grpIdxList": "1,2,3,4,5"}, 0),
        ("premium", {"ymd": DATE, "grpIdxList": "1,2,3,4,5,6"}, 1007),
        ("business", {"ymd": DATE, "grpIdxList": "1,2,3,4,5,6"}, 0),
        ("personal", {"ymd": DATE}, 0),
    ],
)
async def test_plan_rules(ask: Ask, plan: str, query: dict[str, str], code: int) -> None:
    """A request that breaks a rule of the plan gets a code and a message."""
    async with Sandbox(5, plan, quota=FAST) as sandbox:
        answer = await ask(sandbox, **query)
    assert (answer.status, answer.json["code"]) == (200, code)
    assert bool(answer.json["message"]) == (code != 0)


async def test_language(ask: Ask) -> None:
    """Messages come in the requested language."""
    async with Sandbox(quota=FAST) as sandbox:
        korean, english = [
            (await ask(sandbox, ymd="x", headers={"Accept-Language": language})).json["message"]
            for language in ("ko", "en")
        ]
    assert english.isascii()
    assert "날짜" in korean


@pytest.mark.parametrize("key", [None, "", "APIKey", "APIKey other", "Bearer sandbox-key", "sandbox-key"])
async def test_wrong_key(ask: Ask, key: str | None) -> None:
    """A wrong key is 401."""
    async with Sandbox(quota=FAST) as sandbox:
        assert (await ask(sandbox, ymd=DATE, headers={"Authorization": key})).status == 401


@pytest.mark.parametrize(
    ("user_agent", "status"),
    [
        (None, 403),
        ("", 403),
        ("Python/3.11 aiohttp/3.14.5", 403),
        ("python-requests/2.32.0", 403),
        ("curl/8.5.0", 403),
        ("Acme Shop", 200),
        ("AcmeShop/1.0 python-requests/2.32.0", 200),
        ("clicksgroup/0.1.0", 200),
    ],
)
async def test_user_agent(ask: Ask, user_agent: str | None, status: int) -> None:
    """A User-Agent that names only tools is 403."""
    async with Sandbox(quota=FAST) as sandbox:
        assert (await ask(sandbox, ymd=DATE, headers={"User-Agent": user_agent})).status == status
        assert sandbox.requests[0].user_agent == (user_agent or "")


async def test_long_url(ask: Ask) -> None:
    """A URL of more than 4,000 characters is 414."""
    async with Sandbox(quota=FAST) as sandbox:
        room = 4000 - len(f"{sandbox.url}/api/link/v1/clicks-by-group?ymd={DATE}&grpIdxList=")
        assert (await ask(sandbox, ymd=DATE, grpIdxList="1" * room)).status == 200
        assert (await ask(sandbox, ymd=DATE, grpIdxList="1" * (room + 1))).status == 414
        assert (await ask(sandbox, ymd=DATE, grpIdxList="1" * 20_000)).status == 414


async def test_other_paths(ask: Ask) -> None:
    """Other paths are 404, other methods 405."""
    async with Sandbox(quota=FAST) as sandbox, aiohttp.ClientSession() as session:
        assert (await ask(sandbox, path="/api/link/v3/clicks-by-group", ymd=DATE)).status == 404
        async with session.post(f"{sandbox.url}/api/link/v1/clicks-by-group") as response:
            assert response.status == 405


async def test_default_quota(ask: Ask) -> None:
    """The plan's documented quota is the default."""
    async with Sandbox(plan="personal") as sandbox:
        assert sandbox.quota == Quota.of(Plan.PERSONAL)
        statuses = [(await ask(sandbox, ymd=DATE)).status for _ in range(11)]
    assert statuses == [200] * 9 + [429] * 2
    assert [request.status for request in sandbox.requests] == statuses
    assert most_in_any_window([request.at for request in sandbox.requests if request.status == 200], 60) == 9


@pytest.mark.parametrize("told", [False, True])
async def test_window_full(ask: Ask, told: bool) -> None:
    """Too many requests in a window are 429, with `Retry-After` only if the sandbox was told so."""
    async with Sandbox(quota=Quota((1, 1000), in_flight=1), retry_after=told) as sandbox:
        await ask(sandbox, ymd=DATE)
        refused = await ask(sandbox, ymd=DATE)
    assert refused.status == 429
    assert refused.body.startswith(b"<html>")
    assert (990 < int(refused.headers["Retry-After"]) <= 1000) if told else "Retry-After" not in refused.headers


async def test_too_many_in_flight(ask: Ask) -> None:
    """Too many requests in flight are 429."""
    async with Sandbox(quota=Quota(in_flight=2), latency=lambda seen: 0 if seen.page == 9 else 3600) as sandbox:
        slow = [asyncio.create_task(ask(sandbox, ymd=DATE)) for _ in range(2)]
        await sandbox.wait_for_requests(2)
        refused = await ask(sandbox, ymd=DATE, pages=9)
        assert (refused.status, refused.body) == (429, b"")
        assert (sandbox.in_flight, sandbox.in_flight_peak) == (2, 2)
        for task in slow:
            task.cancel()
        await asyncio.wait(slow)


async def test_abandoned_request(ask: Ask) -> None:
    """A request that its client abandons stays in flight, since the vendor's server would go on with it."""
    async with Sandbox(quota=Quota(in_flight=1), latency=lambda seen: 0 if seen.page == 9 else 3600) as sandbox:
        task = asyncio.create_task(ask(sandbox, ymd=DATE))
        await sandbox.wait_for_requests(1)
        task.cancel()
        await asyncio.wait([task])
        assert (await ask(sandbox, ymd=DATE, pages=9)).status == 429


async def test_requests(ask: Ask) -> None:
    """`requests` says what arrived, in order."""
    before = asyncio.get_running_loop().time()
    async with Sandbox(quota=FAST) as sandbox:
        await ask(sandbox, ymd=DATE, pages=2, grpIdxList="207,151")
        await ask(sandbox, startYmd=DATE, endYmd="2025-01-05")
        await ask(sandbox, ymd="x", pages="y", grpIdxList="z")
        first, second, third = sandbox.requests
    assert before < first.at < second.at < third.at
    day, end = (sandbox.truth(date)[0].date for date in (DATE, "2025-01-05"))
    assert (first.date, first.end, first.page, first.groups) == (day, day, 2, (207, 151))
    assert (first.user_agent, first.attempt, first.status) == ("Acme Shop/1.0", 1, 200)
    assert (second.date, second.end, second.page, second.groups) == (day, end, 1, None)
    assert second.path == "/api/link/v2/clicks-by-group"
    assert (third.date, third.page, third.groups, third.status) == (None, None, (), 200)


async def test_attempts(ask: Ask) -> None:
    """Attempts are counted for each page."""
    async with Sandbox(quota=FAST) as sandbox:
        for page in (1, 2, 1, 1):
            await ask(sandbox, ymd=DATE, pages=page)
    assert [request.attempt for request in sandbox.requests] == [1, 1, 2, 3]


async def test_moving_date(ask: Ask) -> None:
    """A function for `groups` can make a date change between two requests."""
    counts = iter([31, 32])
    async with Sandbox(lambda _: next(counts), quota=FAST) as sandbox:
        totals = [(await ask(sandbox, ymd=DATE)).json["result"]["extra"]["totalCount"] for _ in range(2)]
    assert totals == [31, 32]


async def test_client() -> None:
    """`client` uses the sandbox's URL, key, plan and quota unless told otherwise."""
    async with Sandbox(31, "premium", quota=Quota(in_flight=1), api_key="key-of-its-own") as sandbox:
        async with sandbox.client(user_agent="Acme Shop") as client:
            day = await client.day(DATE, groups=[151, 207])
        assert list(day) == sandbox.truth(DATE)[:2]
        assert [(seen.user_agent, seen.status) for seen in sandbox.requests] == [("Acme Shop", 200)]
        with pytest.raises(AuthenticationError):
            async with sandbox.client(api_key="another") as stranger:
                await stranger.day(DATE, groups=[151])


async def test_stop_with_open_requests(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    """After a stop no task is left and nothing is logged, and clients get an error."""
    caplog.set_level(logging.DEBUG)
    before = asyncio.all_tasks()
    async with Sandbox(quota=FAST, latency=3600) as sandbox:
        slow = [asyncio.create_task(ask(sandbox, ymd=DATE)) for _ in range(5)]
        await sandbox.wait_for_requests(5)
    results = await asyncio.gather(*slow, return_exceptions=True)
    assert all(isinstance(result, aiohttp.ClientError) for result in results)
    assert asyncio.all_tasks() == before
    assert sandbox.in_flight == 0
    assert [record for record in caplog.records if record.name.startswith("aiohttp")] == []


async def test_disconnects(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    """Clients that disconnect break nothing."""
    caplog.set_level(logging.DEBUG)

    def slow(seen: SeenRequest) -> Fault | None:
        return Fault(cut=1, delay=0.02) if seen.page == 1 else Fault(delay=0.02)

    async with Sandbox(quota=FAST, faults=slow) as sandbox:
        tasks = [asyncio.create_task(ask(sandbox, ymd=DATE, pages=page)) for page in (1, 2)]
        await sandbox.wait_for_requests(2)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert (await ask(sandbox, ymd=DATE, pages=3)).status == 200
    assert [record for record in caplog.records if record.name.startswith("aiohttp")] == []


async def test_entered_twice_at_once(ask: Ask) -> None:
    """Of two tasks that enter it at the same time, the second is refused."""
    sandbox = Sandbox(quota=FAST)
    entered = await asyncio.gather(sandbox.__aenter__(), sandbox.__aenter__(), return_exceptions=True)
    assert [type(one) for one in entered] == [Sandbox, RuntimeError]
    assert (await ask(sandbox, ymd=DATE)).status == 200
    await sandbox.__aexit__(None, None, None)
    with pytest.raises(aiohttp.ClientConnectorError):
        await ask(sandbox, ymd=DATE)


async def test_restart(ask: Ask) -> None:
    """A port can be used again, and a running sandbox cannot be entered twice."""
    sandbox = Sandbox(quota=FAST)
    async with sandbox:
        port = int(sandbox.url.rpartition(":")[2])
        with pytest.raises(RuntimeError, match="already running"):
            await sandbox.__aenter__()
        assert (await ask(sandbox, ymd=DATE)).status == 200
    with pytest.raises(aiohttp.ClientConnectorError):
        await ask(sandbox, ymd=DATE)
    again = Sandbox(quota=FAST, port=port)
    async with again:
        assert again.url == sandbox.url
        assert (await ask(again, ymd=DATE)).status == 200


async def test_port_in_use() -> None:
    """A port in use is an error, and leaves no task."""
    async with Sandbox() as first:
        before = asyncio.all_tasks()
        second = Sandbox(port=int(first.url.rpartition(":")[2]))
        with pytest.raises(OSError, match="address"):
            await second.__aenter__()
        assert asyncio.all_tasks() == before


def test_not_running() -> None:
    """A sandbox that does not run has a `truth` but no URL."""
    sandbox = Sandbox()
    assert len(sandbox.truth(DATE)) == 95
    assert sandbox.requests == []
    with pytest.raises(RuntimeError, match="not running"):
        _ = sandbox.url


async def test_repr() -> None:
    """The repr shows the URL but not the key."""
    sandbox = Sandbox(api_key="K-3-Y")
    assert repr(sandbox) == "<Sandbox business not running>"
    async with sandbox:
        assert repr(sandbox) == f"<Sandbox business {sandbox.url}>"


def test_unknown_plan() -> None:
    """An unknown plan is refused."""
    with pytest.raises(ConfigurationError, match="plan"):
        Sandbox(plan="gold")
