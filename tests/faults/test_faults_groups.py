"""A server that ignores the list of ids: what it sends besides must never be taken for the answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeAlias

import pytest

from clicksgroup import ClicksClient, Day, PaginationError, PaginationWarning, Quota, date_range
from clicksgroup.sandbox import Sandbox
from tests.faults.cases import DATE

FAST = Quota(in_flight=2)
TWO = (3, 17)
"""Which of the groups of the sandbox are asked for: one of its first page, and one of its second where there is one."""

Ask: TypeAlias = Callable[[ClicksClient, list[int]], Awaitable[Any]]
Version: TypeAlias = Literal["v1", "v2"]


async def clicks(client: ClicksClient, ids: list[int]) -> Any:
    return [record async for record in client.clicks(DATE, groups=ids)]


async def pages(client: ClicksClient, ids: list[int]) -> Any:
    return [record async for page in client.pages(DATE, groups=ids) for record in page]


async def days(client: ClicksClient, ids: list[int]) -> Any:
    return [record async for day in client.days([DATE], groups=ids) for record in day]


async def unordered(client: ClicksClient, ids: list[int]) -> Any:
    return [record async for record in client.clicks([DATE], groups=ids, ordered=False)]


async def day(client: ClicksClient, ids: list[int]) -> Any:
    return list(await client.day(DATE, groups=ids))


async def page(client: ClicksClient, ids: list[int]) -> Any:
    return list(await client.page(DATE, groups=ids))


async def totals(client: ClicksClient, ids: list[int]) -> Any:
    return [total async for total in client.totals(DATE, DATE, groups=ids)]


ASKS = [clicks, pages, days, unordered, day, page, totals]


def ids_of(sandbox: Sandbox, positions: tuple[int, ...] = TWO) -> list[int]:
    return [sandbox.truth(DATE)[position].group_id for position in positions]


@pytest.mark.parametrize("plan", ["business", "premium"])
@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("ask", ASKS)
async def test_refused(ask: Ask, version: Version, plan: str) -> None:
    """The error names the ids and the parameter, after one request, and every other date would meet it."""
    async with (
        Sandbox(45, plan, quota=FAST, ignores_groups=True) as sandbox,
        sandbox.client(api_version=version) as client,
    ):
        ids = ids_of(sandbox)
        with pytest.raises(PaginationError, match=r"groups that were not asked for .*grpIdxList") as caught:
            await ask(client, ids)
        assert len(sandbox.requests) == 1
    error = caught.value
    assert (str(error.date), error.page, error.stops_all, error.retryable) == (DATE, 1, True, False)
    unasked = sorted(record.group_id for record in sandbox.truth(DATE)[:30] if record.group_id not in ids)
    assert f"({', '.join(map(str, unasked[:5]))}, …)" in str(error) or ask is totals


async def test_split_list_is_refused() -> None:
    """On Premium a list is split by fives: the first part shows it, and costs the only request."""
    async with Sandbox(45, "premium", quota=FAST, ignores_groups=True) as sandbox, sandbox.client() as client:
        with pytest.raises(PaginationError, match="grpIdxList"):
            await client.day(DATE, groups=ids_of(sandbox, tuple(range(12))))
        assert len(sandbox.requests) == 1


async def test_many_dates_are_refused() -> None:
    """A job of many dates costs no more requests than may be in flight."""
    async with Sandbox(45, quota=FAST, ignores_groups=True) as sandbox, sandbox.client() as client:
        failed: dict[Any, Any] = {}
        dates = date_range("2025-01-01", "2025-01-31")
        with pytest.raises(PaginationError, match="grpIdxList"):
            await anext(client.days(dates, groups=ids_of(sandbox), failed=failed))
        assert not failed
        assert client.stats.requests <= FAST.in_flight


@pytest.mark.parametrize("plan", ["business", "premium"])
@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("ask", ASKS)
async def test_left_out(ask: Ask, version: Version, plan: str) -> None:
    """`check="warn"` keeps only those that were asked for."""
    async with (
        Sandbox(45, plan, quota=FAST, ignores_groups=True) as sandbox,
        sandbox.client(api_version=version, check="warn") as client,
    ):
        ids = ids_of(sandbox)
        with pytest.warns(PaginationWarning, match="not asked for"):
            got = await ask(client, ids)
    truth = sandbox.truth_totals(DATE, DATE) if ask is totals else sandbox.truth(DATE)
    first = 30 if ask is page else None
    assert got == [record for record in truth[:first] if record.group_id in ids]
    assert got


async def test_left_out_of_a_split_list() -> None:
    """Each part of a list that is split keeps its own ids: none twice, none missing, and the day says so."""
    async with Sandbox(45, "premium", quota=FAST, ignores_groups=True) as sandbox:
        ids = ids_of(sandbox, tuple(range(0, 45, 4)))
        async with sandbox.client(check="warn") as client:
            with pytest.warns(PaginationWarning):
                got: Day = await client.day(DATE, groups=ids)
    assert [record.group_id for record in got] == ids
    assert any("grpIdxList" in problem for problem in got.problems)


async def test_asked_for() -> None:
    """A server that honours the list gives what was asked for, without a word."""
    async with Sandbox(45, quota=FAST) as sandbox, sandbox.client() as client:
        assert [record.group_id for record in await client.day(DATE, groups=ids_of(sandbox))] == ids_of(sandbox)
