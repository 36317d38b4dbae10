"""A day that is put is stored whole, and the store knows which dates and groups were fetched."""

from __future__ import annotations

import asyncio
import datetime

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clicksgroup.errors import ConfigurationError, StoreError
from clicksgroup.models import Day, GroupClicks
from clicksgroup.store import ClickStore
from tests.store.databases import LONG_AFTER, TempDatabase, make_day

JAN_1, JAN_2, JAN_3 = (datetime.date(2025, 1, n) for n in (1, 2, 3))


async def clicks_of(store: ClickStore, **options: object) -> dict[int, int]:
    return {record.group_id: record.clicks async for record in store.clicks(JAN_1, JAN_3, **options)}  # type: ignore[arg-type]


async def test_put_and_read(store: ClickStore) -> None:
    """A day is read as it was put, with its records in the order of their group ids."""
    day = make_day(JAN_1, {3: 30, 7: 5, 1: 181}, problems=("the total said 4",))
    await store.put(attrs.evolve(day, total_count=4))
    (back,) = [day async for day in store.days(JAN_1, JAN_3)]
    assert back == attrs.evolve(day, total_count=4, records=tuple(sorted(day.records, key=lambda r: r.group_id)))
    assert back.fetched_at.tzinfo is datetime.UTC


async def test_empty_day(store: ClickStore) -> None:
    """A date without records counts as fetched."""
    await store.put(make_day(JAN_1, {}))
    assert (await store.coverage(JAN_1, JAN_2)).final == [JAN_1]
    assert [len(day) async for day in store.days(JAN_1, JAN_2)] == [0]


async def test_public_tables(database: TempDatabase) -> None:
    """Users read `group_clicks` and `click_dates` with their own SQL."""
    async with database.store(account="shop") as store:
        await store.put(make_day(JAN_1, {151: 181}))
    rows = await database.sql(
        "SELECT account, CAST(date AS text), group_id, group_name, clicks, unique_users "
        f"FROM {database.table('group_clicks')}"
    )
    assert rows == [("shop", "2025-01-01", 151, "group 151", 181, 162)]
    rows = await database.sql(
        f"SELECT account, total_count FROM {database.table('click_dates')} WHERE fetched_at > '2025-12-31'"
    )
    assert rows == [("shop", 1)]


async def test_fetched_at_in_sqlite(database: TempDatabase) -> None:
    """The date functions of SQLite understand the text of `fetched_at`."""
    if database.dialect == "sqlite":
        async with database.store() as store:
            await store.put(make_day(JAN_1, {}))
        assert await database.sql("SELECT datetime(fetched_at), fetched_at FROM click_dates") == [
            ("2026-01-01 00:00:00", "2026-01-01T00:00:00.000000Z")
        ]


async def test_replace_date(store: ClickStore) -> None:
    """A date fetched whole replaces the date: groups that are no longer listed are deleted."""
    await store.put(make_day(JAN_1, {1: 10, 2: 20}))
    await store.put(make_day(JAN_1, {2: 21, 3: 30}))
    assert await clicks_of(store) == {2: 21, 3: 30}


async def test_put_twice(store: ClickStore) -> None:
    """To put the same day again changes nothing, as when the answer to a commit is lost and it is repeated."""
    for _ in range(2):
        await store.put(make_day(JAN_1, {1: 10}))
        await store.put(make_day(JAN_2, {1: 10}, groups=(1, 2)))
    assert [len(day) async for day in store.days(JAN_1, JAN_2, groups=[1])] == [1, 1]


async def test_some_groups(store: ClickStore) -> None:
    """Some groups are not the whole date; a group that was asked for and not listed counts as fetched."""
    await store.put(make_day(JAN_1, {151: 181}, groups=(151, 207)))
    assert (await store.coverage(JAN_1, JAN_1)).missing == [JAN_1]
    for groups in ([151], [207], [207, 151]):
        assert (await store.coverage(JAN_1, JAN_1, groups=groups)).final == [JAN_1]
    assert (await store.coverage(JAN_1, JAN_1, groups=[151, 209])).missing == [JAN_1]
    assert [len(day) async for day in store.days(JAN_1, JAN_1, groups=[207])] == [0]
    assert [day async for day in store.days(JAN_1, JAN_1)] == []


async def test_groups_of_a_whole_date(store: ClickStore) -> None:
    """A date fetched whole counts as fetched for every group, listed or not."""
    await store.put(make_day(JAN_1, {151: 181, 207: 5}))
    assert (await store.coverage(JAN_1, JAN_1, groups=[207, 999])).final == [JAN_1]
    (day,) = [day async for day in store.days(JAN_1, JAN_1, groups=[207, 999])]
    assert [record.group_id for record in day] == [207]
    assert day.total_count == 1
    assert day.groups == (207, 999)


async def test_replace_groups_of_a_whole_date(store: ClickStore) -> None:
    """The date stays whole: only the records of these groups change, and the total with them."""
    await store.put(make_day(JAN_1, {1: 10, 2: 20, 3: 30}, fetched_at=LONG_AFTER))
    later = LONG_AFTER + datetime.timedelta(hours=1)
    await store.put(make_day(JAN_1, {1: 11, 4: 40}, groups=(1, 2, 4, 5), fetched_at=later))
    assert await clicks_of(store) == {1: 11, 3: 30, 4: 40}
    (day,) = [day async for day in store.days(JAN_1, JAN_1)]
    assert (day.total_count, day.fetched_at) == (3, LONG_AFTER)
    (day,) = [day async for day in store.days(JAN_1, JAN_1, groups=[1, 5])]
    assert day.fetched_at == later


async def test_older_data_does_not_replace_newer(store: ClickStore) -> None:
    """In whichever order two days are put, the one that was fetched last wins, for dates and for groups."""
    earlier = LONG_AFTER - datetime.timedelta(seconds=1)
    await store.put(make_day(JAN_1, {1: 10, 2: 20}))
    await store.put(make_day(JAN_1, {1: 9}, fetched_at=earlier))
    await store.put(make_day(JAN_1, {1: 9}, groups=(1, 3), fetched_at=earlier))
    assert await clicks_of(store) == {1: 10, 2: 20}
    await store.put(make_day(JAN_2, {1: 100, 4: 400}, groups=(1, 2, 4)))
    await store.put(make_day(JAN_2, {1: 90, 2: 90, 3: 300}, fetched_at=earlier))
    (day,) = [day async for day in store.days(JAN_2, JAN_2)]
    assert {record.group_id: record.clicks for record in day} == {1: 100, 3: 300, 4: 400}
    assert day.total_count == 3


async def test_accounts(database: TempDatabase) -> None:
    """Accounts in one store do not see or change each other's dates."""
    async with database.store(account="a") as a, database.store(account="b") as b:
        await a.put(make_day(JAN_1, {1: 10}))
        await b.put(make_day(JAN_1, {2: 20}))
        await b.put(make_day(JAN_1, {3: 30}, groups=(1, 3)))
        assert await clicks_of(a) == {1: 10}
        assert (await b.coverage(JAN_1, JAN_1)).final == [JAN_1]
        assert (await a.coverage(JAN_1, JAN_1)).missing == []


@pytest.mark.parametrize(
    ("fetched_at", "settle", "final"),
    [
        ("2025-01-02T12:00:00+00:00", 0, True),
        ("2025-01-02T11:59:59.999999+00:00", 0, False),
        ("2025-01-05T12:00:00+00:00", 3, True),
        ("2025-01-05T11:59:59+00:00", 3, False),
        ("2025-01-02T21:00:00+09:00", 0, True),
    ],
)
async def test_final(database: TempDatabase, fetched_at: str, settle: int, final: bool) -> None:
    """A date is final if it was fetched after it had ended everywhere on Earth, plus `settle`."""
    async with database.store(settle=datetime.timedelta(days=settle)) as store:
        moment = datetime.datetime.fromisoformat(fetched_at)
        await store.put(make_day(JAN_1, {1: 1}, fetched_at=moment))
        await store.put(make_day(JAN_2, {1: 1}, groups=(1,), fetched_at=moment + datetime.timedelta(days=1)))
        coverage = await store.coverage(JAN_1, JAN_3, groups=[1])
        assert (coverage.final if final else coverage.provisional) == [JAN_1, JAN_2]
        assert coverage.missing == [JAN_3]


async def test_problems_are_not_final(store: ClickStore) -> None:
    """A date with problems, its own or those of a group, is not final; its groups without problems are."""
    await store.put(make_day(JAN_1, {1: 1}, problems=("odd",)))
    await store.put(make_day(JAN_2, {1: 1, 2: 2}))
    await store.put(make_day(JAN_2, {1: 1}, groups=(1,), problems=("odd",)))
    assert (await store.coverage(JAN_1, JAN_2)).provisional == [JAN_1, JAN_2]
    assert (await store.coverage(JAN_1, JAN_2, groups=[1])).provisional == [JAN_1, JAN_2]
    assert (await store.coverage(JAN_1, JAN_2, groups=[2])).final == [JAN_2]
    assert [day.problems async for day in store.days(JAN_1, JAN_2)] == [("odd",), ("odd",)]


async def test_group_listed_twice(store: ClickStore) -> None:
    """The last record of a group counts."""
    record = GroupClicks(JAN_1, 1, "once", 1, 1)
    day = Day(JAN_1, 2, (record, attrs.evolve(record, clicks=2)), LONG_AFTER, None, ("group 1 is listed twice",))
    await store.put(day)
    assert await clicks_of(store) == {1: 2}


async def test_names(store: ClickStore) -> None:
    """Names are kept as they are, except for NUL and lone surrogates, which become U+FFFD."""
    names = ["한국어 그룹 🛒", "a'b\"c;--", "\u202eright to left", "e\u0301", "", "line\nbreak"]
    records = tuple(GroupClicks(JAN_1, n, name, 0, 0) for n, name in enumerate([*names, "nul\0", "\ud800"], 1))
    await store.put(Day(JAN_1, len(records), records, LONG_AFTER, None, ()))
    assert [record.group_name async for record in store.clicks(JAN_1, JAN_1)] == [*names, "nul\ufffd", "\ufffd"]


async def test_count_does_not_fit(store: ClickStore) -> None:
    """A number beyond 64 bits is refused, and the date stays as it was."""
    await store.put(make_day(JAN_1, {1: 2**63 - 1}))
    with pytest.raises(StoreError, match="2025-01-01: clicks 9223372036854775808 does not fit 64 bits"):
        await store.put(make_day(JAN_1, {1: 2**63}))
    assert await clicks_of(store) == {1: 2**63 - 1}


@pytest.mark.slow
async def test_extreme_counts(store: ClickStore) -> None:
    """The largest and the smallest number of 64 bits are stored; what is not the id of a group is refused."""
    for n in (2**63 - 1, -(2**63)):
        record = GroupClicks(JAN_1, 2**63 - 1, "extreme", n, n)
        await store.put(Day(JAN_1, 1, (record,), LONG_AFTER, None, ()))
        assert [record async for record in store.clicks(JAN_1, JAN_1)] == [record]
    for group_id in (0, -1):
        with pytest.raises(StoreError, match=f"group_id {group_id} is not the id of a group; the smallest is 1"):
            await store.put(make_day(JAN_1, {group_id: 1}))
    with pytest.raises(StoreError, match="unique_users -9223372036854775809 does not fit 64 bits"):
        await store.put(Day(JAN_1, 1, (GroupClicks(JAN_1, 1, "", 1, -(2**63) - 1),), LONG_AFTER, None, ()))


async def test_deleted_by_hand(database: TempDatabase) -> None:
    """A date whose row in `click_dates` was deleted by hand is fetched and stored again."""
    async with database.store() as store:
        await store.put(make_day(JAN_1, {1: 1, 2: 2}))
        await database.sql(f"DELETE FROM {database.table('click_dates')}")
        assert (await store.coverage(JAN_1, JAN_1)).missing == [JAN_1]
        await store.put(make_day(JAN_1, {1: 3}))
        assert await clicks_of(store) == {1: 3}


async def test_thousands_of_groups(store: ClickStore) -> None:
    """More groups than a statement can have parameters."""
    groups = tuple(range(1, 40_001))
    await store.put(make_day(JAN_1, {1: 1, 39_999: 2}, groups=groups))
    assert (await store.coverage(JAN_1, JAN_1, groups=groups)).final == [JAN_1]
    assert await clicks_of(store, groups=groups) == {1: 1, 39_999: 2}


async def test_two_writers_of_one_date(database: TempDatabase) -> None:
    """Neither fails, and the date holds the records of one of them, not a mixture."""
    moments = [LONG_AFTER + datetime.timedelta(seconds=n) for n in range(8)]
    days = [make_day(JAN_1, dict.fromkeys(range(1, 96), n), fetched_at=at) for n, at in enumerate(moments)]
    async with database.store() as a, database.store() as b:
        await asyncio.gather(*(store.put(day) for n, day in enumerate(days) for store in ((a, b)[n % 2],)))
        assert await clicks_of(a) == dict.fromkeys(range(1, 96), 7)


@pytest.mark.parametrize("groups", [[], [0], [-1]])
async def test_wrong_groups(store: ClickStore, groups: list[int]) -> None:
    """Groups that are empty or not positive are refused."""
    with pytest.raises(ConfigurationError):
        await store.coverage(JAN_1, JAN_1, groups=groups)


puts = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.one_of(st.none(), st.sets(st.integers(1, 4), min_size=1).map(lambda groups: tuple(sorted(groups)))),
        st.dictionaries(st.integers(1, 4), st.integers(0, 9)),
    ),
    max_size=6,
)


@pytest.mark.slow
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(puts=puts)
async def test_any_order_of_puts(
    puts: list[tuple[int, tuple[int, ...] | None, dict[int, int]]],
) -> None:
    """In whichever order days are put, each group holds what was fetched last, as a simple model says."""
    model: dict[int, tuple[int, int | None]] = {}
    whole = -1
    async with ClickStore(":memory:") as store:
        for second, groups, clicks in puts:
            listed = {g: n for g, n in clicks.items() if groups is None or g in groups}
            at = LONG_AFTER + datetime.timedelta(seconds=second)
            await store.put(make_day(JAN_1, listed, groups=groups, fetched_at=at))
            whole = max(whole, second) if groups is None else whole
            for group in groups or range(1, 5):
                if second >= model.get(group, (-1, None))[0]:
                    model[group] = (second, listed.get(group))
        assert await clicks_of(store) == {g: n for g, (_, n) in model.items() if n is not None}
        assert bool((await store.coverage(JAN_1, JAN_1)).final) == (whole >= 0)
        for group in range(1, 5):
            known = bool((await store.coverage(JAN_1, JAN_1, groups=[group])).final)
            assert known == (group in model)
        async for day in store.days(JAN_1, JAN_1):
            assert day.total_count == len(day)
