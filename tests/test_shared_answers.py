"""One answer for all who ask the same at the same time."""

from __future__ import annotations

import asyncio
import gc

import pytest

from clicksgroup import (
    ClicksClient,
    ClientClosedError,
    RetryPolicy,
    ServerError,
)
from clicksgroup.sandbox import Fault, Sandbox
from tests.dates_of_all_sizes import DATES, FAST, costs, pages, size


async def test_many_callers(sandbox: Sandbox, client: ClicksClient) -> None:
    """200 callers who ask for 5 dates cost 5 dates, and all get the truth."""
    dates = DATES[:5]
    answers = await asyncio.gather(*(client.day(dates[i % 5]) for i in range(200)))
    assert all(list(day) == sandbox.truth(dates[i % 5]) for i, day in enumerate(answers))
    assert costs(sandbox) == {date: pages(size(date)) for date in dates}


async def test_cancelled_callers(sandbox: Sandbox, client: ClicksClient) -> None:
    """100 of 200 callers who are cancelled change nothing for the others."""
    dates = DATES[:5]
    asking = [asyncio.create_task(client.day(dates[i % 5])) for i in range(200)]
    await sandbox.wait_for_requests(2)
    for task in asking[::2]:
        task.cancel()
    answers = await asyncio.gather(*asking[1::2])
    assert {day.date: list(day) for day in answers} == {date: sandbox.truth(date) for date in dates}
    assert costs(sandbox) == {date: pages(size(date)) for date in dates}


async def test_last_caller() -> None:
    """The last caller who leaves ends the work."""
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
async def test_ask_as_the_last_leaves() -> None:
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


async def test_leave_as_it_fails(caplog: pytest.LogCaptureFixture) -> None:
    """A caller who leaves as the answer fails leaves nothing behind."""
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


async def test_other_queries(sandbox: Sandbox, client: ClicksClient) -> None:
    """Other queries have other answers."""
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


async def test_not_kept(sandbox: Sandbox, client: ClicksClient) -> None:
    """An answer is shared while it is on its way, and not kept."""
    date = next(date for date in DATES if size(date) == 1)
    assert await client.page(date) is not await client.page(date)
    assert len(sandbox.requests) == 2


async def test_failure_is_shared(recwarn: pytest.WarningsRecorder) -> None:
    """A failure is shared, and the next caller asks again."""
    faults = [Fault(status=500)]
    async with Sandbox(3, quota=FAST, faults=faults) as sandbox, sandbox.client(retry=RetryPolicy(1)) as client:
        failed = await asyncio.gather(*(client.day("2025-01-03") for _ in range(9)), return_exceptions=True)
        assert {type(error) for error in failed} == {ServerError}
        assert len(await client.day("2025-01-03")) == 3
        assert len(sandbox.requests) == 2
    assert not recwarn


async def test_client_is_left() -> None:
    """All callers who wait learn that the client was left."""
    async with Sandbox(3, latency=3600, quota=FAST) as sandbox:
        async with sandbox.client() as client:
            asking = [asyncio.create_task(client.day("2025-01-03")) for _ in range(3)]
            await sandbox.wait_for_requests(1)
        for task in asking:
            with pytest.raises(ClientClosedError):
                await task
