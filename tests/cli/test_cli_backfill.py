"""`backfill`: stored dates are not fetched again, and each way to end has its exit status."""

from __future__ import annotations

import asyncio
import datetime
import os
import re
import sys
from pathlib import Path

import attrs
import pytest
import trustme

from clicksgroup import Day, GroupClicks, Quota, StoreError, date_range
from clicksgroup.cli.console import MAX_FAILURES
from clicksgroup.sandbox import Fault, Sandbox
from clicksgroup.store import ClickStore
from clicksgroup.store.writing import Writer
from tests.certificates import serving
from tests.cli.calls import PROGRESS_AT_ONCE, PointAt, call, call_beside, fill

FAST = Quota(in_flight=4)


async def stored(place: str) -> list[GroupClicks]:
    async with ClickStore(place) as opened:
        return [record async for record in opened.clicks("2025-01-01", "2025-12-31")]


def truth(start: str, end: str) -> list[GroupClicks]:
    return [r for date in date_range(start, end) for r in sorted(Sandbox().truth(date), key=lambda r: r.group_id)]


def test_backfill(store: str) -> None:
    """A backfill stores the clicks that the server has; run again, it sends no request."""
    first = call("backfill", "2025-01", "--sandbox", "--store", store)
    again = call("backfill", "2025-01", "--sandbox", "--store", store)
    assert (first.exit_code, first.stdout) == (0, "")
    assert first.stderr.startswith("31 dates fetched · 124 requests · ")
    assert again.stderr.startswith("0 dates fetched · 31 final already · 0 requests · ")
    assert asyncio.run(stored(store)) == truth("2025-01-01", "2025-01-31")


def test_refresh(store: str) -> None:
    """--refresh fetches final dates again."""
    fill(store, "2025-01-01")
    assert (
        "1 date fetched · 4 requests"
        in call("backfill", "2025-01-01", "--refresh", "--sandbox", "--store", store).stderr
    )


async def test_failed_dates(point_at: PointAt, store: str) -> None:
    """Failed dates are named, status 3 says to run the command again, and that fetches them."""
    faults = [Fault(date=f"2025-01-{day:02}", status=404) for day in (3, 20)]
    async with Sandbox(groups=1, quota=FAST, faults=faults) as sandbox:
        point_at(sandbox)
        arguments = ("backfill", "2025-01", "--store", store, "--quota", "1000/1")
        first = await call_beside(*arguments)
        shown = await call_beside("status", "2025-01", "--store", store)
        again = await call_beside(*arguments)
    assert first.exit_code == 3
    assert "failed: 2025-01-03 page 1: HTTP 404" in first.stderr
    assert "29 dates fetched · 2 failed" in first.stderr
    assert first.stderr.splitlines()[-1].startswith("run the same command again")
    assert "2 failed" in shown.stdout
    assert "failed 2025-01-20: " in shown.stderr
    assert again.exit_code == 0
    assert "2 dates fetched · 29 final already · 2 requests" in again.stderr


async def test_many_failed_dates(point_at: PointAt, store: str) -> None:
    """Many failed dates are counted, and only the first are listed."""

    def odd(seen: object) -> Fault | None:
        return Fault(status=404) if seen.date.day % 2 else None  # type: ignore[attr-defined]

    async with Sandbox(groups=1, quota=Quota(in_flight=1), faults=odd) as sandbox:
        point_at(sandbox)
        result = await call_beside(
            "backfill", "2025-01-01", "2025-01-30", "--store", store, "--quota", "1000/1", "--in-flight", "1"
        )
    assert result.exit_code == 3
    assert result.stderr.count("failed: ") == MAX_FAILURES
    assert "… and 5 dates more" in result.stderr


async def test_refused_key(point_at: PointAt, store: str) -> None:
    """A refused key stops the job at once: status 1."""
    async with Sandbox(groups=1, quota=FAST) as sandbox:
        point_at(sandbox)
        result = await call_beside("backfill", "2025-01", "--store", store, "--api-key-file", "-", stdin="wrong")
        assert len(sandbox.requests) <= 2
    assert (result.exit_code, "HTTP 401" in result.stderr) == (1, True)


async def test_used_up_quota(point_at: PointAt, store: str) -> None:
    """A job that ends for lack of quota can be resumed: status 3."""
    faults = [Fault(date="2025-01-09", retry_after=4000, attempts=None)]
    async with Sandbox(groups=1, quota=FAST, faults=faults) as sandbox:
        point_at(sandbox)
        result = await call_beside("backfill", "2025-01", "--store", store, "--quota", "1000/1")
    assert result.exit_code == 3
    assert len(result.stderr.splitlines()) == 1
    assert "HTTP 429" in result.stderr
    assert "run the same command again" in result.stderr


async def test_untrusted_certificate(monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    """An untrusted certificate is a failure: status 1, since running it again does not help."""
    server = await asyncio.start_server(lambda *_: None, "localhost", 0, ssl=serving(trustme.CA(), "localhost"))
    monkeypatch.setenv("CLICKSGROUP_BASE_URL", f"https://localhost:{server.sockets[0].getsockname()[1]}")
    monkeypatch.setenv("CLICKSGROUP_API_KEY", "key")
    async with server:
        result = await call_beside("backfill", "2025-01", "--store", store)
    assert (result.exit_code, "certificate" in result.stderr, "again" in result.stderr) == (1, True, False)


async def test_store_that_cannot_be_opened(point_at: PointAt, tmp_path: Path) -> None:
    """A store that cannot be opened is one line before a request is sent."""
    async with Sandbox(groups=1, quota=FAST) as sandbox:
        point_at(sandbox)
        result = await call_beside("backfill", "2025-01", "--store", str(tmp_path / "no" / "folder" / "x.db"))
        assert sandbox.requests == []
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)


async def test_store_fails_midway(point_at: PointAt, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job whose store fails midway can be resumed: status 3."""
    put = Writer.put

    async def put_until_it_is_away(self: Writer, day: Day) -> None:
        if day.date == datetime.date(2025, 1, 9):
            raise StoreError("the store cannot be written: it is away", retryable=True)
        await put(self, day)

    monkeypatch.setattr(Writer, "put", put_until_it_is_away)
    async with Sandbox(groups=1, quota=FAST) as sandbox:
        point_at(sandbox)
        result = await call_beside("backfill", "2025-01", "--store", store, "--quota", "1000/1")
    assert result.exit_code == 3
    assert result.stderr.splitlines() == [
        "error: the store cannot be written: it is away. Everything fetched so far is stored: run the same "
        "command again to go on where it stopped"
    ]


async def test_quota_file_that_cannot_be_written(
    point_at: PointAt, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quota that cannot be kept is one line before a request is sent."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "file"))
    async with Sandbox(groups=1, quota=FAST) as sandbox:
        point_at(sandbox)
        result = await call_beside("backfill", "2025-01", "--store", store)
        assert sandbox.requests == []
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert "again" not in result.stderr


@pytest.mark.parametrize("fault", [Fault(status=404), Fault(retry_after=4000)])
async def test_refresh_ends_early(point_at: PointAt, store: str, fault: Fault) -> None:
    """A refresh that ends early is continued without --refresh, which would fetch all dates again."""
    faults = [attrs.evolve(fault, date="2025-01-03")]
    async with Sandbox(groups=1, quota=FAST, faults=faults) as sandbox:
        point_at(sandbox)
        result = await call_beside("backfill", "2025-01", "--refresh", "--store", store, "--quota", "1000/1")
    assert result.exit_code == 3
    assert result.stderr.splitlines()[-1].endswith("run it again without --refresh to fetch what is missing")
    assert "same command" not in result.stderr


async def test_settle(store: str, point_at: PointAt) -> None:
    """A date is provisional until --settle has passed after its end."""
    day = str(datetime.datetime.now(datetime.UTC).date() - datetime.timedelta(days=3))
    async with Sandbox(groups=1, quota=FAST) as sandbox:
        point_at(sandbox)
        for expected in ("1 date fetched", "1 date fetched"):
            result = await call_beside("backfill", day, "--store", store, "--settle", "30d")
            assert result.stderr.startswith(expected)
        assert "1 final" in (await call_beside("status", "--store", store)).stdout
        assert "1 provisional" in (await call_beside("status", "--store", store, "--settle", "30d")).stdout


def test_sandbox_spares_the_store(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made-up clicks never go into the store of the environment."""
    monkeypatch.setenv("CLICKSGROUP_STORE", store)
    result = call("backfill", "2025-01-01", "--sandbox")
    assert (result.exit_code, "not kept" in result.stderr) == (0, True)
    assert not Path(store).exists()


async def test_store_from_the_environment(point_at: PointAt, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """CLICKSGROUP_STORE names the store."""
    monkeypatch.setenv("CLICKSGROUP_STORE", store)
    async with Sandbox(groups=1, quota=FAST) as sandbox:
        point_at(sandbox)
        assert (await call_beside("backfill", "2025-01-01")).exit_code == 0
    assert (await call_beside("status")).exit_code == 0


@pytest.mark.slow
async def test_progress_lines(store: str) -> None:
    """Where stderr is no terminal, the progress is a line now and then."""
    command = ("backfill", "2025-01", "--sandbox", "--groups", "151", "--quota", "9/3600", "--in-flight", "1")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRESS_AT_ONCE, *command, "--store", store), stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    while not (line := (await process.stderr.readline()).decode()).startswith("9 of 31 dates"):
        assert line
    process.kill()
    await process.communicate()
    assert re.fullmatch(r"9 of 31 dates · 9 requests · next request in .* · about (2|3) h.* left\n", line)


async def test_quiet(point_at: PointAt, store: str) -> None:
    """With --quiet a job that succeeds writes nothing, although it had to try again."""
    async with Sandbox(groups=1, quota=FAST, faults=[Fault(date="2025-01-09", status=503)]) as sandbox:
        point_at(sandbox)
        result = await call_beside("backfill", "2025-01", "--store", store, "--quota", "1000/1", "--quiet")
        loud = await call_beside("backfill", "2025-01", "--store", store, "--quota", "1000/1")
    assert (result.exit_code, result.output) == (0, "")
    assert loud.stderr.startswith("0 dates fetched · 31 final already")


async def test_quiet_failure(point_at: PointAt, store: str) -> None:
    """With --quiet failures are still named."""
    async with Sandbox(groups=1, quota=FAST, faults=[Fault(date="2025-01-09", status=404)]) as sandbox:
        point_at(sandbox)
        result = await call_beside("backfill", "2025-01", "--store", store, "--quota", "1000/1", "-q")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "failed: 2025-01-09 page 1: HTTP 404" in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
@pytest.mark.parametrize("kind", ["pipe", "terminal"])
async def test_stderr_goes_away(point_at: PointAt, store: str, kind: str) -> None:
    """A terminal or a pipe that goes away does not end a backfill, and a complete job ends with status 0."""
    reads, writes = os.pipe() if kind == "pipe" else os.openpty()
    async with Sandbox(groups=1, quota=FAST, faults=[Fault(date="2025-01-09", delay=1.5)]) as sandbox:
        point_at(sandbox)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "clicksgroup", "backfill", "2025-01", "--store", store, "--quota", "1000/1", "-vv"),
            stdin=asyncio.subprocess.DEVNULL,
            stderr=writes,
            start_new_session=True,
        )
        os.close(writes)
        await sandbox.wait_for_requests(1)
        os.close(reads)
        assert await process.wait() == 0
    assert len(await stored(store)) == 31
