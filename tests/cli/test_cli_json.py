"""`--json`, `--dry-run`, `status --check` and estimates that know the store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clicksgroup import Quota
from clicksgroup.sandbox import Fault, Sandbox
from tests.cli.calls import PointAt, call, call_beside, fill


def loaded(text: str) -> Any:
    (line,) = text.splitlines()
    return json.loads(line)


def test_estimate_json() -> None:
    """`estimate --json` has stable keys."""
    result = call("estimate", "2025-01", "--group-count", "95", "--quota", "10/1h", "--json")
    assert loaded(result.stdout) == {
        "dates": 31, "stored": 0, "requests": 124, "seconds": 12 * 3600.0, "at_least": False
    }  # fmt: skip
    assert loaded(call("estimate", "2025-01", "--json").stdout)["at_least"] is True


def test_estimate_with_store(store: str) -> None:
    """`estimate --store` counts what is there, and takes the number of groups from it."""
    fill(store, "2025-01-01", "2025-01-20")
    result = call("estimate", "2025-01", "--store", store, "--quota", "10/1h")
    assert result.stdout == "11 of 31 dates: 44 requests, about 4 h\n"
    whole = call("estimate", "2025-01-01", "2025-01-20", "--store", store)
    assert whole.stdout == "0 of 20 dates: 0 requests, at once\n"
    shown = loaded(call("estimate", "2025-01", "--store", store, "--json").stdout)
    assert (shown["dates"], shown["stored"], shown["requests"], shown["at_least"]) == (31, 20, 44, False)
    provisional = call("estimate", "2025-01", "--store", store, "--settle", "3000d", "--quota", "10/1h")
    assert provisional.stdout.startswith("31 of 31 dates: 124 requests")


def test_estimate_without_a_store_yet(store: str) -> None:
    """Where there is no store yet, everything is asked for, and no file is created."""
    assert call("estimate", "2025-01", "--store", store).stdout.startswith("31 of 31 dates: at least 31 requests")
    assert not Path(store).exists()


def test_dry_run(store: str) -> None:
    """`backfill --dry-run` names the dates that it would ask for and the cost, without a key and without a change."""
    fill(store, "2025-01-03", "2025-01-10")
    fill(store, "2025-01-12")
    before = Path(store).read_bytes()
    command = ("backfill", "2025-01", "--store", store, "--quota", "10/1h", "--dry-run")
    result = call(*command)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "22 of 31 dates: 88 requests, about 8 h",
        "2025-01-01 to 2025-01-02",
        "2025-01-11",
        "2025-01-13 to 2025-01-31",
    ]
    shown = loaded(call(*command, "--json").stdout)
    assert (shown["dates"], shown["stored"], shown["requests"]) == (31, 9, 88)
    assert shown["missing"][:3] == ["2025-01-01", "2025-01-02", "2025-01-11"]
    assert call(*command, "--refresh").stdout.startswith("31 of 31 dates: 124 requests")
    assert Path(store).read_bytes() == before


async def test_dry_run_is_true(store: str, point_at: PointAt) -> None:
    """A dry run sends nothing, and the job then sends as many requests as it said."""
    async with Sandbox(quota=Quota(in_flight=4)) as sandbox:
        point_at(sandbox)
        await call_beside("backfill", "2025-01-01", "2025-01-20", "--store", store, "--quota", "1000/1")
        sent = len(sandbox.requests)
        command = ("backfill", "2025-01", "--store", store, "--quota", "1000/1", "--json")
        planned = loaded((await call_beside(*command, "--dry-run")).stdout)
        assert len(sandbox.requests) == sent
        await call_beside(*command)
        assert len(sandbox.requests) - sent == planned["requests"] == 44


async def test_backfill_json(point_at: PointAt, store: str) -> None:
    """`backfill --json` prints its summary to stdout, with the error of each date that failed."""
    async with Sandbox(groups=1, quota=Quota(in_flight=4), faults=[Fault(date="2025-01-03", status=404)]) as sandbox:
        point_at(sandbox)
        result = await call_beside("backfill", "2025-01", "--store", store, "--quota", "1000/1", "--json")
    summary = loaded(result.stdout)
    assert result.exit_code == 3
    assert list(summary) == ["dates", "fetched", "skipped", "failed", "requests", "seconds"]
    assert (summary["dates"], summary["fetched"], summary["skipped"], summary["requests"]) == (31, 30, 0, 31)
    assert list(summary["failed"]) == ["2025-01-03"]
    assert "HTTP 404" in summary["failed"]["2025-01-03"]


def test_status_json(store: str) -> None:
    """`status --json` lists the dates of each kind."""
    fill(store, "2025-01-01", "2025-01-03")
    shown = loaded(call("status", "2025-01-02", "2025-01-05", "--store", store, "--json").stdout)
    assert shown == {
        "account": "default", "start": "2025-01-02", "end": "2025-01-05", "final": ["2025-01-02", "2025-01-03"],
        "provisional": [], "missing": ["2025-01-04", "2025-01-05"], "failed": {},
    }  # fmt: skip


@pytest.mark.parametrize(("end", "status"), [("2025-01-03", 0), ("2025-01-04", 3)])
def test_status_check(store: str, end: str, status: int) -> None:
    """`status --check` exits with 3 where dates are missing; with --quiet it prints nothing."""
    fill(store, "2025-01-01", "2025-01-03")
    command = ("status", "2025-01-01", end, "--store", store)
    assert call(*command).exit_code == 0
    shown = call(*command, "--check")
    assert (shown.exit_code, "final" in shown.stdout) == (status, True)
    quiet = call(*command, "--check", "--quiet")
    assert (quiet.exit_code, quiet.output) == (status, "")


def test_doctor_json() -> None:
    """`doctor --json` lists the findings."""
    result = call("doctor", "2025-01-03", "--sandbox", "--json")
    shown = loaded(result.stdout)
    assert (result.exit_code, shown["date"], shown["requests"]) == (0, "2025-01-03", 3)
    assert {tuple(finding) for finding in shown["findings"]} == {("assumption", "verdict", "came", "advice")}
    assert {finding["verdict"] for finding in shown["findings"]} <= {"held", "differs", "not seen"}
    assert shown["findings"][0]["assumption"]
