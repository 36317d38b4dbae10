"""The command `doctor`: what it prints, its exit status, and what it never shows."""

from __future__ import annotations

import re
from typing import Any

import pytest

from clicksgroup import Quota
from clicksgroup.sandbox import Fault, Sandbox
from tests.cli.calls import PointAt, call, call_beside

FAST = Quota(in_flight=4)
DATE = "2025-01-03"


def strings(envelope: dict[str, Any]) -> dict[str, Any]:
    envelope["result"]["list"][1] |= {"acesCnt": "181", "pernCnt": 9}
    return envelope


def test_command() -> None:
    """The command says first what it costs; the sandbox holds in every point."""
    result = call("doctor", DATE, "--sandbox")
    assert result.exit_code == 0
    first, last = result.stderr.splitlines()
    assert first == "asking about 2025-01-03: two requests, or 3 if there is more than one page"
    assert last == "21 held, 0 differs, 1 not seen; 3 requests"
    assert all(line.startswith(("held  ", "not seen  no groups", "      ")) for line in result.stdout.splitlines())


async def test_command_with_differences(point_at: PointAt) -> None:
    """The command fails if something differs, and says what to set."""
    faults = [Fault(change=strings, headers={"X-RateLimit-Limit": "60"}, attempts=None)]
    async with Sandbox(quota=FAST, faults=faults) as sandbox:
        point_at(sandbox)
        result = await call_beside("doctor", DATE)
    assert result.exit_code == 1
    assert re.search(r"^differs +records hold whole numbers, and a name: result.list\[1\].acesCnt", result.stdout, re.M)
    assert "--check warn" in result.stdout
    assert "--quota N/SECONDS" in result.stdout
    assert result.stderr.splitlines()[-1].startswith("19 held, 2 differs")


@pytest.mark.parametrize("plan", ["premium", "business"])
async def test_ignored_groups(point_at: PointAt, plan: str) -> None:
    """A server that ignores the list of ids is the only difference. The ids, the parameter and what to do are named."""
    async with Sandbox(45, plan, quota=FAST, ignores_groups=True) as sandbox:
        point_at(sandbox)
        result = await call_beside("doctor", DATE, "--groups", "151,207", "--plan", plan)
        truth = [record.group_id for record in sandbox.truth(DATE)]
    words = " ".join(result.stdout.split())
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "21 held, 1 differs, 0 not seen; 3 requests"
    assert f"asked for 151, 207, grpIdx {', '.join(map(str, truth[2:7]))} and 38 more came too" in words
    for part in ("ignore grpIdxList", "names grpIdx:", 'check="warn" (--check warn) keeps only the groups asked for'):
        assert part in words


async def test_wrong_key(point_at: PointAt) -> None:
    """A wrong key is a finding after one request."""
    async with Sandbox(quota=FAST) as sandbox:
        point_at(sandbox)
        result = await call_beside("doctor", DATE, "--api-key-file", "-", stdin="wrong")
        assert len(sandbox.requests) == 1
    assert result.exit_code == 1
    assert "HTTP 401" in result.stdout
    assert "check the API key" in result.stdout


async def test_echoed_key(point_at: PointAt) -> None:
    """A key that the server echoes is not shown."""
    async with Sandbox(quota=FAST, faults=[Fault(body="<html>sandbox-key</html>", attempts=None)]) as sandbox:
        point_at(sandbox)
        result = await call_beside("doctor", DATE)
    assert "<html>***</html>" in result.stdout
    assert sandbox.api_key not in result.output


async def test_paused_quota(point_at: PointAt) -> None:
    """If the quota is paused, the command fails and sends nothing."""
    async with Sandbox(quota=FAST, faults=[Fault(retry_after=4000)]) as sandbox:
        point_at(sandbox)
        first = await call_beside("doctor", DATE)
        second = await call_beside("doctor", DATE)
        assert len(sandbox.requests) == 1
    assert (first.exit_code, "HTTP 429" in first.stdout) == (1, True)
    assert (second.exit_code, second.stdout) == (1, "")
    assert "error: " in second.stderr


async def test_no_answer(point_at: PointAt) -> None:
    """The command fails if no answer comes."""
    async with Sandbox(quota=FAST, faults=[Fault(reset=True)]) as sandbox:
        point_at(sandbox)
        result = await call_beside("doctor", DATE)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1].startswith("error: ")
