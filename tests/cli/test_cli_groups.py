"""`groups`, `totals` and `--groups all`."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import pytest

from clicksgroup import Quota
from clicksgroup.sandbox import Sandbox
from tests.cli.calls import PointAt, call, call_beside

FAST = Quota(in_flight=4)
ACCOUNT = len(Sandbox(12).truth_groups())
LISTED, ASKED = math.ceil(ACCOUNT / 30), math.ceil(ACCOUNT / 5)
"""Requests that list the groups of an account, and requests for a date of all of them on Premium."""

PREMIUM = ("--quota", "1000/1", "--groups", "all")


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


async def test_groups(point_at: PointAt) -> None:
    """`groups` lists every group of the account, with its id."""
    async with Sandbox(quota=FAST) as sandbox:
        point_at(sandbox)
        result = await call_beside("groups", "--quota", "1000/1")
        truth = sandbox.truth_groups()
        assert len(sandbox.requests) == math.ceil(len(truth) / 30)
    listed = read(result.stdout)
    assert (result.exit_code, result.stderr) == (0, "")
    assert [list(group.values()) for group in listed] == [
        [str(group.id), group.name, group.memo, str(group.link_count)] for group in truth
    ]
    assert list(listed[0]) == ["id", "name", "memo", "link_count"]


def test_groups_by_name() -> None:
    """`groups --name` lists only the groups whose name contains the text."""
    result = call("groups", "--name", "itchen", "--sandbox", "--format", "ndjson")
    groups = [json.loads(line) for line in result.stdout.splitlines()]
    assert {"id": 207, "name": "Kitchenware"}.items() <= groups[0].items()
    assert all("itchen" in group["name"] for group in groups)


def test_groups_table() -> None:
    """On a terminal the groups are a table, whose ids have no separators."""
    lines = call("groups", "--sandbox", "--format", "table").stdout.splitlines()
    assert lines[0].split() == ["id", "group", "memo", "links"]
    assert [line.split()[0] for line in lines[1:4]] == ["151", "207", "209"]
    assert len(lines) == 1 + len(Sandbox().truth_groups())


async def test_totals(point_at: PointAt) -> None:
    """`totals` gives clicks and unique users of the whole range, each person counted once."""
    async with Sandbox(quota=FAST) as sandbox:
        point_at(sandbox)
        result = await call_beside("totals", "2025-01-01", "2025-01-07", "--groups", "151,207", "--quota", "1000/1")
        assert [request.path.split("/")[3] for request in sandbox.requests] == ["v2"]
        days = [sandbox.truth(f"2025-01-0{day}") for day in range(1, 8)]
    totals = read(result.stdout)
    assert [list(total.values())[:3] for total in totals] == [
        ["2025-01-01", "2025-01-07", "151"],
        ["2025-01-01", "2025-01-07", "207"],
    ]
    for total in totals:
        records = [record for day in days for record in day if record.group_id == int(total["group_id"])]
        assert int(total["clicks"]) == sum(record.clicks for record in records)
        assert int(total["unique_users"]) < sum(record.unique_users for record in records)


def test_totals_of_a_long_range() -> None:
    """A range that the plan does not allow is refused."""
    result = call("totals", "2025-01-01", "2025-01-08", "--sandbox", "--plan", "personal")
    assert (result.exit_code, "8 days, but Personal allows 7" in result.stderr) == (2, True)


@pytest.mark.parametrize("command", ["groups", "totals"])
def test_no_parquet(command: str, tmp_path: Path) -> None:
    """`groups` and `totals` are too small for Parquet, and say so."""
    dates = ("2025-01",) if command == "totals" else ()
    result = call(command, *dates, "--sandbox", "-o", str(tmp_path / "x.parquet"))
    assert (result.exit_code, ".parquet is not the ending" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("name", "quoted"), [("a\rb", '"a\rb"'), ("a\nb", '"a\nb"'), ('a"b', '"a""b"'), ("a,b", '"a,b"'), ("a b", "a b")]
)
async def test_group_names_in_csv(name: str, quoted: str, point_at: PointAt) -> None:
    """A name with any character is one field of CSV."""
    from clicksgroup.sandbox import Fault

    def rename(envelope: dict) -> dict:  # type: ignore[type-arg]
        envelope["result"]["list"][0]["nm"] = name
        return envelope

    async with Sandbox(groups=1, quota=FAST, faults=[Fault(change=rename)]) as sandbox:
        point_at(sandbox)
        result = await call_beside("groups")
    assert result.stdout_bytes.decode().removeprefix("id,name,memo,link_count\n").startswith(f"151,{quoted},")


@pytest.mark.parametrize("plan", ["premium", "business"])
async def test_all_groups(plan: str, point_at: PointAt) -> None:
    """`--groups all` gives all groups; on Premium they are listed first, and asked for by fives."""
    async with Sandbox(groups=12, plan=plan, quota=FAST) as sandbox:
        point_at(sandbox)
        result = await call_beside("clicks", "2025-01-03", *PREMIUM)
        assert len(sandbox.requests) == (LISTED + ASKED if plan == "premium" else 1)
        truth = sandbox.truth("2025-01-03")
    assert {int(row["group_id"]) for row in read(result.stdout)} == {record.group_id for record in truth}


async def test_backfill_of_all_groups(point_at: PointAt, store: str) -> None:
    """A backfill with `--groups all` on Premium is complete, and run again it only lists the groups."""
    async with Sandbox(groups=12, plan="premium", quota=FAST) as sandbox:
        point_at(sandbox)
        planned = await call_beside("backfill", "2025-01-01", "2025-01-03", "--store", store, "--dry-run", *PREMIUM)
        first = await call_beside("backfill", "2025-01-01", "2025-01-03", "--store", store, *PREMIUM)
        again = await call_beside("backfill", "2025-01-01", "2025-01-03", "--store", store, *PREMIUM)
        assert len(sandbox.requests) == 3 * LISTED + 3 * ASKED
    assert planned.stdout.startswith(f"3 of 3 dates: {3 * ASKED} requests, at once\n")
    assert "3 dates fetched" in first.stderr
    assert "3 final already" in again.stderr


def test_premium_without_groups() -> None:
    """On Premium, a command without groups says which option names them."""
    for command in (("clicks",), ("backfill",), ("totals",), ("backfill", "--dry-run")):
        result = call(*command, "2025-01", "--sandbox", "--plan", "premium")
        assert (result.exit_code, "add --groups 151,207, or --groups all" in result.stderr) == (2, True)


def test_account_without_groups() -> None:
    """Where the account has no groups, `--groups all` says so."""
    from clicksgroup.cli.options import parse_groups

    assert parse_groups("all") == "all"
    result = call("estimate", "2025-01", "--plan", "premium", "--groups", "all")
    assert (result.exit_code, "--group-count" in result.stderr) == (2, True)
    counted = call("estimate", "2025-01", "--plan", "premium", "--groups", "all", "--group-count", "12")
    assert counted.stdout.startswith("93 requests, ")
