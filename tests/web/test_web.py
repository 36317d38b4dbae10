"""The web backends of the README, over real HTTP: what a client gets, and what one that hangs up costs."""

from __future__ import annotations

import asyncio
import datetime
from typing import Any

import aiohttp
import orjson
import pytest

from clicksgroup import GroupClicks, date_range
from clicksgroup.sandbox import Fault, Sandbox
from tests.web.servers import Ask, Gate, Server, Watch, aiohttp_server, fastapi_server

DATES = date_range("2025-01-06", "2025-01-10")
PAGES = 4


def records_of(answer: Any) -> set[GroupClicks]:
    return {read(record) for record in answer["records"]}


def read(record: dict[str, Any]) -> GroupClicks:
    return GroupClicks(**{**record, "date": datetime.date.fromisoformat(record["date"])})


async def test_clicks_come_as_json_lines(url: str, browser: aiohttp.ClientSession, sandbox: Sandbox) -> None:
    async with browser.get(f"{url}/clicks/{DATES[0]}/{DATES[1]}") as response:
        assert response.content_type == "application/x-ndjson"
        lines = [orjson.loads(line) async for line in response.content]
    assert [read(line) for line in lines] == sandbox.truth(DATES[0]) + sandbox.truth(DATES[1])


async def test_the_lines_of_a_page_are_sent_before_the_next_page_is_there(
    gate: Gate, url: str, browser: aiohttp.ClientSession, sandbox: Sandbox
) -> None:
    gate.let_through(1)
    async with browser.get(f"{url}/clicks/{DATES[0]}/{DATES[0]}") as response:
        for record in sandbox.truth(DATES[0])[:30]:
            assert read(orjson.loads(await response.content.readline())) == record
        assert len(sandbox.requests) == 1
        gate.let_through(PAGES)
        assert len([line async for line in response.content]) == 65


async def test_a_date_is_fetched_once_and_then_in_the_store(ask: Ask, sandbox: Sandbox) -> None:
    first = await ask("/days/2025-01-06")
    assert len(sandbox.requests) == PAGES
    second = await ask("/days/2025-01-06")
    assert len(sandbox.requests) == PAGES
    assert records_of(first) == records_of(second) == set(sandbox.truth("2025-01-06"))


async def test_a_date_that_may_still_change_is_fetched_again_after_a_while(
    ask: Ask, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    today = datetime.datetime.now(datetime.UTC).date()
    await ask(f"/days/{today}")
    await ask(f"/days/{today}")
    assert len(sandbox.requests) == PAGES
    monkeypatch.setattr("tests.web.stored_days.FRESH", datetime.timedelta(0))
    await ask(f"/days/{today}")
    assert len(sandbox.requests) == 2 * PAGES


async def test_two_hundred_who_ask_for_five_dates_cost_five_dates(ask: Ask, sandbox: Sandbox) -> None:
    answers = await asyncio.gather(*(ask(f"/days/{DATES[n % 5]}") for n in range(200)))
    for n, answer in enumerate(answers):
        assert records_of(answer) == set(sandbox.truth(DATES[n % 5]))
    assert sorted((seen.date, seen.page) for seen in sandbox.requests) == [
        (date, page) for date in DATES for page in range(1, PAGES + 1)
    ]


@pytest.mark.parametrize("leaving", [range(100), range(100, 200)], ids=["who came first", "who came last"])
async def test_a_hundred_who_hang_up_change_nothing_for_the_others(
    gate: Gate, server: Server, ask: Ask, watch: Watch, sandbox: Sandbox, leaving: range
) -> None:
    asking = []
    for n in range(200):
        asking.append(asyncio.create_task(ask(f"/days/{DATES[n % 5]}")))
        if n % 100 == 99:
            await watch.until(begun=n + 1)
    await gate.until_arrived(1)
    for n in leaving:
        asking[n].cancel()
    await asyncio.wait([asking[n] for n in leaving])
    if server is aiohttp_server:  # a plain handler of FastAPI is not told
        await watch.until(ended=100)
    gate.let_through(1000)
    for n in sorted(set(range(200)) - set(leaving)):
        assert records_of(await asking[n]) == set(sandbox.truth(DATES[n % 5]))
    assert sorted((seen.date, seen.page) for seen in sandbox.requests) == [
        (date, page) for date in DATES for page in range(1, PAGES + 1)
    ]


async def test_hanging_up_on_a_stream_ends_the_upstream_work_within_a_page(
    gate: Gate, url: str, browser: aiohttp.ClientSession, ask: Ask, watch: Watch, sandbox: Sandbox
) -> None:
    gate.let_through(1)
    response = await browser.get(f"{url}/clicks/2025-01-01/2025-12-31")
    await response.content.readline()
    await gate.until_arrived(2)
    response.close()
    await watch.until(ended=1)
    gate.let_through(1000)
    await ask(f"/days/{LATER}")
    assert spent_before_later(sandbox) <= 2


@pytest.mark.parametrize("server", [aiohttp_server], ids=["aiohttp"])
async def test_when_all_who_wait_for_a_date_hang_up_the_work_ends_within_a_page(
    gate: Gate, ask: Ask, watch: Watch, sandbox: Sandbox
) -> None:
    asking = [asyncio.create_task(ask("/days/2025-01-06")) for _ in range(3)]
    await watch.until(begun=3)
    await gate.until_arrived(1)
    for task in asking:
        task.cancel()
    await watch.until(ended=3)
    gate.let_through(1000)
    await ask(f"/days/{LATER}")
    assert spent_before_later(sandbox) == 1
    assert records_of(await ask("/days/2025-01-06")) == set(sandbox.truth("2025-01-06"))


@pytest.mark.parametrize("server", [fastapi_server], ids=["fastapi"])
async def test_a_date_that_all_hung_up_on_is_in_the_store_with_fastapi(
    gate: Gate, ask: Ask, watch: Watch, sandbox: Sandbox
) -> None:
    """Its plain handlers are not told that a client has gone, so what was begun is finished, and kept."""
    asking = asyncio.create_task(ask("/days/2025-01-06"))
    await gate.until_arrived(1)
    asking.cancel()
    gate.let_through(1000)
    await watch.until(ended=1)
    await ask("/days/2025-01-06")
    assert len(sandbox.requests) == PAGES


async def test_a_failure_in_the_middle_of_a_stream_is_not_taken_for_its_end(
    url: str, browser: aiohttp.ClientSession, faults: list[Fault]
) -> None:
    faults.append(Fault(page=2, status=403))
    async with browser.get(f"{url}/clicks/2025-01-06/2025-01-06") as response:
        for _ in range(30):
            await response.content.readline()
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.content.readline()


async def test_a_failure_is_a_502_that_says_what_happened(
    url: str, browser: aiohttp.ClientSession, sandbox: Sandbox, faults: list[Fault]
) -> None:
    faults.append(Fault(status=403))
    async with browser.get(f"{url}/days/2025-01-06") as response:
        assert response.status == 502
        text = await response.text()
    assert "403" in text
    assert sandbox.api_key not in text


@pytest.mark.parametrize("path", ["/clicks/2025-01-06/2025-01-01", "/clicks/2025-01-06/x", "/days/2025-02-30"])
async def test_dates_that_cannot_be_are_the_asker_s_fault(
    url: str, browser: aiohttp.ClientSession, sandbox: Sandbox, path: str
) -> None:
    async with browser.get(url + path) as response:
        assert response.status in (400, 422)
    assert not sandbox.requests


LATER = datetime.date(2025, 6, 1)


def spent_before_later(sandbox: Sandbox) -> int:
    """What was asked for before `LATER` was had.

    Requests go out one at a time, in turn: work that went on would show between those for `LATER`.
    """
    return sum(seen.date != LATER for seen in sandbox.requests)
