"""The daily jobs: the task, and the line in cron."""

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

README = Path(__file__).parent.parent.parent / "README.md"
PAGES = 2


class FakeSleep:
    """Stands in for `asyncio.sleep`: the test says when it ends."""

    def __init__(self) -> None:
        self._started: asyncio.Queue[float] = asyncio.Queue()
        self._ended: asyncio.Queue[None] = asyncio.Queue()

    async def sleep(self, seconds: float) -> None:
        self._started.put_nowait(seconds)
        await self._ended.get()

    async def started(self) -> float:
        """Wait until the job sleeps; for how many seconds it asked."""
        async with asyncio.timeout(20):
            return await self._started.get()

    def end(self) -> None:
        self._ended.put_nowait(None)


def days_ago(days: int) -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date() - datetime.timedelta(days=days)


async def test_every_day(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The task fills the store at once and every day at 12:15 UTC, and asks again for dates that are not final."""
    sleep = FakeSleep()
    monkeypatch.setattr(daily_job, "asyncio", SimpleNamespace(sleep=sleep.sleep))
    async with ClicksClient() as client, ClickStore("clicks.db", settle=datetime.timedelta(days=3)) as store:
        job = asyncio.create_task(daily_job.keep_filled(client, store, str(days_ago(6))))
        seconds = await sleep.started()
        wakes = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
        assert 0 < seconds <= 86400
        assert abs(wakes - wakes.replace(hour=12, minute=15, second=0)) < datetime.timedelta(minutes=2)
        assert len(sandbox.requests) == 6 * PAGES
        sleep.end()
        await sleep.started()
        again = {seen.date for seen in sandbox.requests[6 * PAGES :]}
        assert {days_ago(1), days_ago(2), days_ago(3)} <= again
        assert not {days_ago(5), days_ago(6)} & again
        job.cancel()
        await asyncio.wait([job])
        assert job.cancelled()


async def test_failure(environment: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A job that failed is logged, and the next days fetch what it missed."""
    sleep = FakeSleep()
    environment.setattr(daily_job, "asyncio", SimpleNamespace(sleep=sleep.sleep))
    caplog.set_level(logging.ERROR, "daily clicks")
    async with (
        Sandbox(groups=3, plan="enterprise", faults=[Fault(status=403)]) as sandbox,
        sandbox.client() as client,
        ClickStore("clicks.db") as store,
    ):
        job = asyncio.create_task(daily_job.keep_filled(client, store, str(days_ago(10))))
        await sleep.started()
        assert "403" in caplog.text
        for _ in range(10):
            sleep.end()
            await sleep.started()
        coverage = await store.coverage(days_ago(10), days_ago(1))
        assert not coverage.missing
        job.cancel()
        await asyncio.wait([job])


@pytest.mark.slow
async def test_cron_line(sandbox: Sandbox, tmp_path: Path) -> None:
    """The README's line for cron fills the store, and asks again for the dates that are not final."""
    [line] = re.findall(r"`15 13 \* \* \* (clicksgroup [^`]*)`", README.read_text("utf-8"))
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
