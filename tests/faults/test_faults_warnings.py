"""`check="warn"` with a service that always disagrees: it stays usable, and nothing grows."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from clicksgroup import PaginationWarning, Quota, date_range
from clicksgroup.sandbox import Fault, Sandbox
from tests.faults.cases import DATE

FAST = Quota(in_flight=4)
DATES = date_range("2025-01-01", "2025-07-19")
"""200 of them."""


def as_strings(envelope: dict[str, Any]) -> dict[str, Any]:
    """All counts as strings."""
    extra, rows = envelope["result"]["extra"], envelope["result"]["list"]
    extra.update(count=str(extra["count"]), totalCount=str(extra["totalCount"]))
    for row in rows:
        row.update(acesCnt=str(row["acesCnt"]), pernCnt=str(row["pernCnt"]))
    return envelope


def moving(by: int = 1) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A total that is never the number of the records."""

    def change(envelope: dict[str, Any]) -> dict[str, Any]:
        envelope["result"]["extra"]["totalCount"] += by
        return envelope

    return change


def registered() -> Iterator[object]:
    """The warnings that Python remembers, wherever."""
    for module in list(sys.modules.values()):
        # Of `vars`: some modules make up any attribute they are asked for.
        for key in vars(module).get("__warningregistry__", {}):
            if isinstance(key, tuple) and PaginationWarning in key:
                yield key


@pytest.mark.slow
@pytest.mark.parametrize("action", ["default", "always"])
async def test_strings(action: Any) -> None:
    """200 dates of 100 groups whose counts are strings: a warning for each field, a problem for each field and page."""
    async with (
        Sandbox(100, quota=FAST, faults=[Fault(attempts=None, change=as_strings)]) as sandbox,
        sandbox.client(check="warn") as client,
    ):
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter(action)
            days = [day async for day in client.days(DATES)]
            assert len(await client.day(DATE)) == 100
        assert len(sandbox.requests) == client.stats.requests == 201 * 4
    assert len(days) == 200
    assert [list(day) for day in days] == [sandbox.truth(date) for date in DATES]
    # Four fields.
    assert len(warned) == 4
    assert {warning.category for warning in warned} == {PaginationWarning}
    for day in days:
        assert len(day.problems) == len(set(day.problems)) == 4 * 4
        assert "page 1: result.list[*].acesCnt: 30 strings taken as numbers, the first " in day.problems[2]
    assert not list(registered())


@pytest.mark.parametrize("change", [moving(), moving(-1)], ids=["more", "fewer"])
async def test_no_rereads(change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """A date that disagrees with itself is read once, and warned of once in the life of the client."""
    async with (
        Sandbox(50, quota=FAST, faults=[Fault(attempts=None, change=change)]) as sandbox,
        sandbox.client(check="warn") as client,
    ):
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            days = [day async for day in client.days(DATES[:20])]
            records = [record async for record in client.clicks(DATES[:20])]
        assert len(sandbox.requests) == 2 * 20 * 2
    assert [list(day) for day in days] == [sandbox.truth(date) for date in DATES[:20]]
    assert records == [record for day in days for record in day]
    assert all(len(day.problems) <= 2 for day in days)
    assert all(day.problems for day in days)
    assert len(warned) == 1


async def test_each_client() -> None:
    """Another client says it again: a kind is warned of once in the life of each."""
    async with Sandbox(3, quota=FAST, faults=[Fault(attempts=None, change=moving())]) as sandbox:
        for _ in range(2):
            async with sandbox.client(check="warn") as client:
                with pytest.warns(PaginationWarning) as warned:
                    await client.day(DATE)
                assert len(warned) == 1
