"""The daily jobs of the README: the task, and the line in cron."""

from __future__ import annotations

import asyncio
import datetime
import logging
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from clicksgroup import ClicksClient
from clicksgroup.sandbox import Fault, Sandbox
from clicksgroup.store import ClickStore
from tests.recipes import daily_job
from tests.recipes.test_readme import README

PAGES = 2


class Nights:
    """Stands in for `asyncio.sleep`: the test says when a night is over."""

    def __init__(self) -> None:
        self._fallen: asyncio.Queue[float] = asyncio.Queue()
        self._over: asyncio.Queue[None] = asyncio.Queue()

    async def sleep(self, seconds: float) -> None:
        self._fallen.put_nowait(seconds)
        await self._over.get()

    async def fallen(self) -> float:
        return await asyncio.wait_for(self._fallen.get(), 20)

    def over(self) -> None:
        self._over.put_nowait(None)


def days_ago(days: int) -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date() - datetime.timedelta(days=days)


async def test_the_task_fills_the_store_every_day_at_a_quarter_past_twelve(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    nights = Nights()
    monkeypatch.setattr(daily_job, "asyncio", SimpleNamespace(sleep=nights.sleep))
    async with ClicksClient() as client, ClickStore("clicks.db", settle=datetime.timedelta(days=3)) as store:
        job = asyncio.create_task(daily_job.keep_filled(client, store, str(days_ago(6))))
        seconds = await nights.fallen()
        wakes = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
        assert 0 < seconds <= 86400
        assert abs(wakes - wakes.replace(hour=12, minute=15, second=0)) < datetime.timedelta(minutes=2)
        assert len(sandbox.requests) == 6 * PAGES
        nights.over()
        await nights.fallen()
        again = {seen.date for seen in sandbox.requests[6 * PAGES :]}
        assert {days_ago(1), days_ago(2), days_ago(3)} <= again
        assert not {days_ago(5), days_ago(6)} & again
        job.cancel()
        await asyncio.wait([job])
        assert job.cancelled()


async def test_a_day_that_failed_is_made_up_for_on_the_next(
    environment: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    nights = Nights()
    environment.setattr(daily_job, "asyncio", SimpleNamespace(sleep=nights.sleep))
    caplog.set_level(logging.ERROR, "daily clicks")
    async with (
        Sandbox(groups=3, plan="enterprise", faults=[Fault(status=403)]) as sandbox,
        sandbox.client() as client,
        ClickStore("clicks.db") as store,
    ):
        job = asyncio.create_task(daily_job.keep_filled(client, store, str(days_ago(10))))
        await nights.fallen()
        assert "403" in caplog.text
        for _ in range(10):
            nights.over()
            await nights.fallen()
        coverage = await store.coverage(days_ago(10), days_ago(1))
        assert not coverage.missing
        job.cancel()
        await asyncio.wait([job])


async def test_the_line_in_cron_asks_again_for_what_may_still_change(sandbox: Sandbox, tmp_path: Path) -> None:
    [line] = re.findall(r"^15 13 \* \* \* (clicksgroup .*)$", README.read_text("utf-8"), re.MULTILINE)
    words = line.replace("2025-01 ", f"{days_ago(6)} ").split()

    async def run() -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLICKSGROUP_STORE", str(tmp_path / "clicks.db"))
        patch.setenv("PYTHONPATH", str(README.parent))
        await run()
        assert {seen.date for seen in sandbox.requests} == {days_ago(n) for n in range(1, 7)}
        before = len(sandbox.requests)
        await run()
    again = {seen.date for seen in sandbox.requests[before:]}
    assert {days_ago(1), days_ago(2), days_ago(3)} <= again
    assert not {days_ago(5), days_ago(6)} & again
