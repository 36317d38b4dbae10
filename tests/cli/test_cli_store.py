"""`backfill`, `status`, `export` and `chart`: what was fetched is kept, and shown without a request."""

from __future__ import annotations

import asyncio
import datetime
import re
import ssl
import sys
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
import trustme

from clicksgroup import Day, GroupClicks, Quota, StoreError, date_range
from clicksgroup.cli.backfill import MAX_FAILURES
from clicksgroup.sandbox import Fault, Sandbox
from clicksgroup.store import ClickStore
from tests.cli.calls import call, call_beside

PointAt = Callable[[Sandbox], None]
FAST = Quota(in_flight=4)


@pytest.fixture
def store(tmp_path: Path) -> str:
    return str(tmp_path / "clicks.db")


def filled(place: str, *args: str) -> None:
    assert call("backfill", *args, "--sandbox", "--store", place).exit_code == 0


async def stored(place: str) -> list[GroupClicks]:
    async with ClickStore(place) as opened:
        return [record async for record in opened.clicks("2025-01-01", "2025-12-31")]


def truth(start: str, end: str) -> list[GroupClicks]:
    return [r for date in date_range(start, end) for r in sorted(Sandbox().truth(date), key=lambda r: r.group_id)]


def test_a_backfill_keeps_the_truth_and_again_sends_nothing(store: str) -> None:
    first = call("backfill", "2025-01", "--sandbox", "--store", store)
    again = call("backfill", "2025-01", "--sandbox", "--store", store)
    assert (first.exit_code, first.stdout) == (0, "")
    assert first.stderr.startswith("31 dates fetched · 124 requests · ")
    assert again.stderr.startswith("0 dates fetched · 31 final already · 0 requests · ")
    assert asyncio.run(stored(store)) == truth("2025-01-01", "2025-01-31")


def test_refresh_asks_again(store: str) -> None:
    filled(store, "2025-01-01")
    assert (
        "1 date fetched · 4 requests"
        in call("backfill", "2025-01-01", "--refresh", "--sandbox", "--store", store).stderr
    )


async def test_dates_that_fail_are_named_and_can_be_had_by_running_it_again(point_at: PointAt, store: str) -> None:
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


async def test_many_failed_dates_are_counted_rather_than_listed(point_at: PointAt, store: str) -> None:
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


async def test_a_key_that_is_refused_stops_it_at_once(point_at: PointAt, store: str) -> None:
    async with Sandbox(groups=1, quota=FAST) as sandbox:
        point_at(sandbox)
        result = await call_beside("backfill", "2025-01", "--store", store, "--api-key-file", "-", stdin="wrong")
        assert len(sandbox.requests) <= 2
    assert (result.exit_code, "HTTP 401" in result.stderr) == (1, True)


async def test_a_quota_used_up_elsewhere_can_be_resumed(point_at: PointAt, store: str) -> None:
    faults = [Fault(date="2025-01-09", retry_after=4000, attempts=None)]
    async with Sandbox(groups=1, quota=FAST, faults=faults) as sandbox:
        point_at(sandbox)
        result = await call_beside("backfill", "2025-01", "--store", store, "--quota", "1000/1")
    assert result.exit_code == 3
    assert len(result.stderr.splitlines()) == 1
    assert "HTTP 429" in result.stderr
    assert "run the same command again" in result.stderr


async def test_a_certificate_that_is_not_trusted_is_a_failure(monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    """Running it again helps nobody: status 1, not 3."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    server = await asyncio.start_server(lambda *_: None, "localhost", 0, ssl=context)
    monkeypatch.setenv("CLICKSGROUP_BASE_URL", f"https://localhost:{server.sockets[0].getsockname()[1]}")
    monkeypatch.setenv("CLICKSGROUP_API_KEY", "key")
    async with server:
        result = await call_beside("backfill", "2025-01", "--store", store)
    assert (result.exit_code, "certificate" in result.stderr, "again" in result.stderr) == (1, True, False)


async def test_a_store_that_cannot_be_opened_is_said_before_a_request(point_at: PointAt, tmp_path: Path) -> None:
    async with Sandbox(groups=1, quota=FAST) as sandbox:
        point_at(sandbox)
        result = await call_beside("backfill", "2025-01", "--store", str(tmp_path / "no" / "folder" / "x.db"))
        assert sandbox.requests == []
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)


async def test_a_store_that_fails_in_the_middle_can_be_resumed(
    point_at: PointAt, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = ClickStore.put

    async def put_until_it_is_away(self: ClickStore, day: Day) -> None:
        if day.date == datetime.date(2025, 1, 9):
            raise StoreError("the store cannot be written: it is away", retryable=True)
        await put(self, day)

    monkeypatch.setattr(ClickStore, "put", put_until_it_is_away)
    async with Sandbox(groups=1, quota=FAST) as sandbox:
        point_at(sandbox)
        result = await call_beside("backfill", "2025-01", "--store", store, "--quota", "1000/1")
    assert result.exit_code == 3
    assert result.stderr.splitlines() == [
        "error: the store cannot be written: it is away. Everything fetched so far is stored: run the same "
        "command again to go on where it stopped"
    ]


async def test_a_quota_that_cannot_be_kept_is_said_before_a_request(
    point_at: PointAt, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
async def test_a_refresh_that_ends_early_goes_on_without_refresh(point_at: PointAt, store: str, fault: Fault) -> None:
    """With it, all would be asked for again."""
    faults = [attrs.evolve(fault, date="2025-01-03")]
    async with Sandbox(groups=1, quota=FAST, faults=faults) as sandbox:
        point_at(sandbox)
        result = await call_beside("backfill", "2025-01", "--refresh", "--store", store, "--quota", "1000/1")
    assert result.exit_code == 3
    assert result.stderr.splitlines()[-1].endswith("run it again without --refresh to fetch what is missing")
    assert "same command" not in result.stderr


async def test_settle_keeps_dates_provisional(store: str, point_at: PointAt) -> None:
    day = str(datetime.datetime.now(datetime.UTC).date() - datetime.timedelta(days=3))
    async with Sandbox(groups=1, quota=FAST) as sandbox:
        point_at(sandbox)
        for expected in ("1 date fetched", "1 date fetched"):
            result = await call_beside("backfill", day, "--store", store, "--settle", "30d")
            assert result.stderr.startswith(expected)
        assert "1 final" in (await call_beside("status", "--store", store)).stdout
        assert "1 provisional" in (await call_beside("status", "--store", store, "--settle", "30d")).stdout


def test_a_sandbox_never_goes_into_the_store_of_the_environment(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLICKSGROUP_STORE", store)
    result = call("backfill", "2025-01-01", "--sandbox")
    assert (result.exit_code, "not kept" in result.stderr) == (0, True)
    assert not Path(store).exists()


async def test_the_store_may_come_from_the_environment(
    point_at: PointAt, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLICKSGROUP_STORE", store)
    async with Sandbox(groups=1, quota=FAST) as sandbox:
        point_at(sandbox)
        assert (await call_beside("backfill", "2025-01-01")).exit_code == 0
    assert (await call_beside("status")).exit_code == 0


def test_accounts_are_kept_apart(store: str) -> None:
    filled(store, "2025-01-01", "--account", "shop")
    assert "1 final" in call("status", "2025-01-01", "--store", store, "--account", "shop").stdout
    assert "1 missing" in call("status", "2025-01-01", "--store", store).stdout
    other = call("export", "--store", store)
    assert (other.exit_code, "no dates" in other.stderr) == (2, True)


def test_status_without_dates_goes_from_the_first_to_the_last(store: str) -> None:
    filled(store, "2025-01-10", "2025-01-12")
    filled(store, "2025-02-03")
    result = call("status", "--store", store)
    assert "2025-01-10 to 2025-02-03" in result.stdout
    assert "4 final" in result.stdout
    assert "21 missing" in result.stdout


def test_export_gives_what_is_stored_and_warns_of_what_is_not(store: str) -> None:
    filled(store, "2025-01-01", "2025-01-03")
    whole = call("export", "--store", store)
    assert (whole.exit_code, whole.stderr) == (0, "")
    assert whole.stdout.count("\n2025-01-0") == 3 * 95
    partly = call("export", "2025-01-03", "2025-01-05", "--store", store, "--groups", "151,207", "--format", "ndjson")
    assert len(partly.stdout.splitlines()) == 2
    assert partly.stderr.startswith("warning: 2 of 3 dates are not in the store, 2025-01-04 first")


def test_export_into_a_file_names_its_form(store: str, tmp_path: Path) -> None:
    filled(store, "2025-01-01")
    for name, begins in (("x.csv", b"date,"), ("x.jsonl", b'{"date"'), ("x.parquet", b"PAR1"), ("x.txt", b"date ")):
        assert call("export", "--store", store, "-o", str(tmp_path / name)).exit_code == 0
        assert (tmp_path / name).read_bytes().startswith(begins)


def test_the_chart_in_the_terminal_has_the_largest_first_and_the_rest_summed(store: str) -> None:
    filled(store, "2025-01")
    lines = call("chart", "--store", store, "--top", "3").stdout.splitlines()
    assert len(lines) == 2 + 3 + 1
    assert lines[2].startswith("Kitchenware ")
    assert lines[-1].startswith("other (")


@pytest.mark.parametrize(("name", "begins"), [("x.svg", b"<svg"), ("x.png", b"\x89PNG"), ("x.html", b"<!DOCTYPE html")])
def test_the_chart_may_be_a_file(store: str, tmp_path: Path, name: str, begins: bytes) -> None:
    pytest.importorskip("vl_convert")
    filled(store, "2025-01")
    result = call("chart", "--store", store, "-o", str(tmp_path / name), "--theme", "dark", "--groups", "151,207")
    assert (result.exit_code, result.stdout) == (0, "")
    assert (tmp_path / name).read_bytes().lstrip().startswith(begins)


@pytest.mark.parametrize("command", ["status", "export", "chart"])
def test_the_sandbox_shows_what_it_would_look_like_without_a_store(command: str) -> None:
    result = call(command, "2025-01-01", "2025-01-14", "--sandbox")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout


PROGRESS_AT_ONCE = """
from clicksgroup.cli import backfill, console
backfill.LINE_SECONDS = console.QUIET_SECONDS = console.LONG_WAIT = 0.0
console.TICK_SECONDS = 0.01
from clicksgroup.__main__ import main
main()
"""


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
    assert re.fullmatch(r"9 of 31 dates · 9 requests · waiting for quota, [\d.]+ s · about (2|3) h.* left\n", line)
