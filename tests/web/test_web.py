"""The web backends over real HTTP: what a caller gets, and what one that closes the connection costs."""

from __future__ import annotations

import asyncio
import datetime
from typing import Any

import aiohttp
import orjson
import pytest

from clicksgroup import GroupClicks, date_range
from clicksgroup.sandbox import Fault, Sandbox
from tests.web import aiohttp_app, fastapi_app
from tests.web.servers import ALL_SERVERS, SERVERS, Ask, Gate, RequestCounter, Server

DATES = date_range("2025-01-06", "2025-01-10")
PAGES = 4
LATER = datetime.date(2025, 6, 1)

every_server = pytest.mark.parametrize("server", ALL_SERVERS.values(), ids=ALL_SERVERS)


async def test_json_lines(url: str, browser: aiohttp.ClientSession, sandbox: Sandbox) -> None:
    """Records come as JSON lines, in the order of the dates."""
    async with browser.get(f"{url}/clicks/{DATES[0]}/{DATES[1]}") as response:
        assert response.content_type == "application/x-ndjson"
        lines = [orjson.loads(line) async for line in response.content]
    assert [record(line) for line in lines] == sandbox.truth(DATES[0]) + sandbox.truth(DATES[1])


async def test_lines_at_once(gate: Gate, url: str, browser: aiohttp.ClientSession, sandbox: Sandbox) -> None:
    """The lines of a page are sent before the next page is there."""
    gate.let_through(1)
    async with browser.get(f"{url}/clicks/{DATES[0]}/{DATES[0]}") as response:
        for expected in sandbox.truth(DATES[0])[:30]:
            assert record(orjson.loads(await response.content.readline())) == expected
        assert len(sandbox.requests) == 1
        gate.let_through(PAGES)
        assert len([line async for line in response.content]) == 65


async def test_failure_in_stream(url: str, browser: aiohttp.ClientSession, faults: list[Fault]) -> None:
    """A failure in the middle of a stream cuts the response: no caller takes it for the end."""
    faults.append(Fault(page=2, status=403))
    async with browser.get(f"{url}/clicks/2025-01-06/2025-01-06") as response:
        for _ in range(30):
            await response.content.readline()
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.content.readline()


@every_server
async def test_stored(ask: Ask, sandbox: Sandbox) -> None:
    """A date is fetched once. After that it comes from the store."""
    first = await ask("/days/2025-01-06")
    assert len(sandbox.requests) == PAGES
    second = await ask("/days/2025-01-06")
    assert len(sandbox.requests) == PAGES
    assert records(first) == records(second) == set(sandbox.truth("2025-01-06"))


async def test_max_age(ask: Ask, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A date that is not final is asked for again when the stored one is too old, and not before."""
    today = datetime.datetime.now(datetime.UTC).date()
    await ask(f"/days/{today}")
    await ask(f"/days/{today}")
    assert len(sandbox.requests) == PAGES
    for module in (fastapi_app, aiohttp_app):
        monkeypatch.setattr(module, "MAX_AGE", datetime.timedelta(0))
    await ask(f"/days/{today}")
    assert len(sandbox.requests) == 2 * PAGES


@pytest.mark.slow
async def test_shared(ask: Ask, sandbox: Sandbox) -> None:
    """Two hundred callers for five dates cost the requests for five dates."""
    answers = await asyncio.gather(*(ask(f"/days/{DATES[n % 5]}") for n in range(200)))
    for n, answer in enumerate(answers):
        assert records(answer) == set(sandbox.truth(DATES[n % 5]))
    assert_each_page_once(sandbox)


@pytest.mark.parametrize("leaving", [range(100), range(100, 200)], ids=["first", "last"])
async def test_others_stay(
    gate: Gate, server: Server, ask: Ask, counter: RequestCounter, sandbox: Sandbox, leaving: range
) -> None:
    """A hundred callers who close the connection change nothing for the others."""
    asking = []
    for n in range(200):
        asking.append(asyncio.create_task(ask(f"/days/{DATES[n % 5]}")))
        if n % 100 == 99:
            await counter.until(started=n + 1)
    await gate.until_arrived(1)
    for n in leaving:
        asking[n].cancel()
    await asyncio.wait([asking[n] for n in leaving])
    # FastAPI does not tell a handler with a whole response that its caller has gone.
    if server is SERVERS["aiohttp"]:
        await counter.until(ended=100)
    gate.let_through(1000)
    for n in sorted(set(range(200)) - set(leaving)):
        assert records(await asking[n]) == set(sandbox.truth(DATES[n % 5]))
    assert_each_page_once(sandbox)


async def test_leave_stream(
    gate: Gate, url: str, browser: aiohttp.ClientSession, ask: Ask, counter: RequestCounter, sandbox: Sandbox
) -> None:
    """A caller who closes the connection of a stream ends the requests for it within a page."""
    gate.let_through(1)
    response = await browser.get(f"{url}/clicks/2025-01-01/2025-12-31")
    await response.content.readline()
    await gate.until_arrived(2)
    response.close()
    await counter.until(ended=1)
    gate.let_through(1000)
    await ask(f"/days/{LATER}")
    assert requests_before_later(sandbox) <= 2


@pytest.mark.parametrize("server", [SERVERS["aiohttp"]], ids=["aiohttp"])
async def test_all_leave_aiohttp(gate: Gate, ask: Ask, counter: RequestCounter, sandbox: Sandbox) -> None:
    """When all callers of a date have gone, the requests for it end within a page."""
    asking = [asyncio.create_task(ask("/days/2025-01-06")) for _ in range(3)]
    await counter.until(started=3)
    await gate.until_arrived(1)
    for task in asking:
        task.cancel()
    await counter.until(ended=3)
    gate.let_through(1000)
    await ask(f"/days/{LATER}")
    assert requests_before_later(sandbox) == 1
    assert records(await ask("/days/2025-01-06")) == set(sandbox.truth("2025-01-06"))


@pytest.mark.parametrize("server", [SERVERS["fastapi"]], ids=["fastapi"])
async def test_all_leave_fastapi(gate: Gate, ask: Ask, counter: RequestCounter, sandbox: Sandbox) -> None:
    """FastAPI does not tell a handler with a whole response that its caller has gone: the date is stored."""
    asking = asyncio.create_task(ask("/days/2025-01-06"))
    await gate.until_arrived(1)
    asking.cancel()
    gate.let_through(1000)
    await counter.until(ended=1)
    await ask("/days/2025-01-06")
    assert len(sandbox.requests) == PAGES


@pytest.mark.parametrize("path", ["/clicks/2025-01-06/2025-01-01", "/clicks/2025-01-06/x", "/days/2025-02-30"])
async def test_wrong_dates(url: str, browser: aiohttp.ClientSession, sandbox: Sandbox, path: str) -> None:
    """Dates that cannot be right are the caller's error, and cost no request."""
    async with browser.get(url + path) as response:
        assert response.status in (400, 422)
    assert not sandbox.requests


def record(fields: dict[str, Any]) -> GroupClicks:
    """A record as JSON holds it."""
    return GroupClicks(**{**fields, "date": datetime.date.fromisoformat(fields["date"])})


def records(day: Any) -> set[GroupClicks]:
    """The records of a day as JSON holds it."""
    return {record(fields) for fields in day["records"]}


def assert_each_page_once(sandbox: Sandbox) -> None:
    assert sorted((seen.date, seen.page) for seen in sandbox.requests) == [
        (date, page) for date in DATES for page in range(1, PAGES + 1)
    ]


def requests_before_later(sandbox: Sandbox) -> int:
    """How many requests were not for `LATER`.

    Requests go out one at a time, in turn. If work for another date went on, its requests would be among them.
    """
    return sum(seen.date != LATER for seen in sandbox.requests)
