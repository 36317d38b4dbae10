"""The list of link groups, and a server that ignores the list of ids."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from clicksgroup import Group, Quota
from clicksgroup.sandbox import Sandbox
from tests.sandbox.conftest import GROUPS

FAST = Quota(in_flight=100)
DATE = "2025-01-03"
Ask = Callable[..., Any]


def group(item: dict[str, Any]) -> Group:
    return Group(item["idx"], item["nm"], item.get("memo") or "", item["linkCnt"])


async def list_groups(ask: Ask, sandbox: Sandbox, **query: object) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    page, more = 0, "Y"
    while more == "Y":
        page += 1
        result = (await ask(sandbox, path=GROUPS, pages=page, **query)).json["result"]
        assert (result["extra"]["pages"], result["extra"]["count"]) == (page, len(result["list"]))
        items += result["list"]
        more = result["extra"]["nextYn"]
    assert len(items) == result["extra"]["totalCount"]
    return items


async def test_pages(ask: Ask) -> None:
    """Pages of 30 hold exactly what `truth_groups` says."""
    async with Sandbox(40, quota=FAST) as sandbox:
        items = await list_groups(ask, sandbox)
        assert [group(item) for item in items] == sandbox.truth_groups()
        assert len(sandbox.requests) == -(-len(items) // 30) > 1


async def test_items_differ(ask: Ask) -> None:
    """A memo may be a text, null, empty or absent, and settings differ from item to item."""
    async with Sandbox(95, quota=FAST) as sandbox:
        items = await list_groups(ask, sandbox)
    assert {type(item["memo"]) if "memo" in item else "absent" for item in items} == {str, type(None), "absent"}
    assert len({frozenset(item) for item in items}) > 10
    for item in items:
        assert item["regYmdt"] < item["modYmdt"]


async def test_name(ask: Ask) -> None:
    """`nm` lists the groups whose names contain it."""
    async with Sandbox(95, quota=FAST) as sandbox:
        for name in ("Coffee", "커피 원두", '"Buy 2, get 1"', "%", ""):
            items = await list_groups(ask, sandbox, nm=name)
            assert [group(item) for item in items] == sandbox.truth_groups(name)
        assert sandbox.truth_groups("Coffee")
        assert all("Coffee" in each.name for each in sandbox.truth_groups("Coffee"))
        assert sandbox.requests[0].name == "Coffee"


async def test_one_group(ask: Ask) -> None:
    """`grpIdx` lists one group; another one, or none that is listed, gives nothing."""
    async with Sandbox(5, quota=FAST) as sandbox:
        assert [item["nm"] for item in await list_groups(ask, sandbox, grpIdx=207)] == ["Kitchenware"]
        assert await list_groups(ask, sandbox, grpIdx=1) == []
        assert sandbox.requests[0].groups == (207,)


@pytest.mark.parametrize(
    ("query", "code"), [({"grpIdx": "x"}, 1008), ({"grpIdx": "151,207"}, 1008), ({"pages": "0"}, 1004)]
)
async def test_unreadable(ask: Ask, query: dict[str, str], code: int) -> None:
    """An unreadable parameter gets a code and a message."""
    async with Sandbox(5, quota=FAST) as sandbox:
        answer = (await ask(sandbox, path=GROUPS, **query)).json
    assert answer["code"] == code
    assert answer["message"]


async def test_quota(ask: Ask) -> None:
    """The list counts against the quota like clicks, and needs no list of ids on any plan."""
    async with Sandbox(5, "premium", quota=Quota((1, 1000), in_flight=1)) as sandbox:
        assert (await ask(sandbox, path=GROUPS)).json["code"] == 0
        assert (await ask(sandbox, ymd=DATE, grpIdxList="151")).status == 429


@pytest.mark.parametrize("date", [DATE, "2025-12-31", "2027-12-31"])
def test_groups_of_dates(date: str) -> None:
    """The account has every group that a date of 2025 to 2027 lists, by the same name, once."""
    sandbox = Sandbox(200)
    names = {each.id: each.name for each in sandbox.truth_groups()}
    assert len(names) == len(sandbox.truth_groups())
    assert {record.group_id: record.group_name for record in sandbox.truth(date)}.items() <= names.items()


def test_groups_function() -> None:
    """Where the number of groups depends on the date, the account has those of the largest number."""
    assert Sandbox(lambda date: 3 * (date.day % 2)).truth_groups() == Sandbox(3).truth_groups()


@pytest.mark.parametrize("dates", [{"ymd": DATE}, {"startYmd": DATE, "endYmd": "2025-01-05"}], ids=["v1", "v2"])
async def test_ignores_groups(ask: Ask, dates: dict[str, str]) -> None:
    """A sandbox that ignores the list of ids answers with all groups, and still holds the plan's rules."""
    async with Sandbox(45, "premium", quota=FAST, ignores_groups=True) as sandbox:
        every = (await ask(sandbox, **dates, grpIdxList="151,207")).json
        assert every["result"]["extra"]["totalCount"] >= 45
        assert (await ask(sandbox, **dates)).json["code"] == 1006
        assert sandbox.requests[0].groups == (151, 207)
