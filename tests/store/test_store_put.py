"""What is put is there, whole and true, and known per date and group."""

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
from tests.store.databases import LONG_AFTER, Database, make_day

JAN_1, JAN_2, JAN_3 = (datetime.date(2025, 1, n) for n in (1, 2, 3))


async def clicks_of(store: ClickStore, **options: object) -> dict[int, int]:
    return {record.group_id: record.clicks async for record in store.clicks(JAN_1, JAN_3, **options)}  # type: ignore[arg-type]


async def test_a_day_comes_back_as_it_was_put(store: ClickStore) -> None:
    """Records, total, moment and problems; records by group id."""
    day = make_day(JAN_1, {3: 30, 7: 5, 1: 181}, problems=("the total said 4",))
    await store.put(attrs.evolve(day, total_count=4))
    (back,) = [day async for day in store.days(JAN_1, JAN_3)]
    assert back == attrs.evolve(day, total_count=4, records=tuple(sorted(day.records, key=lambda r: r.group_id)))
    assert back.fetched_at.tzinfo is datetime.UTC


async def test_an_empty_day_is_known(store: ClickStore) -> None:
    await store.put(make_day(JAN_1, {}))
    assert (await store.coverage(JAN_1, JAN_2)).final == [JAN_1]
    assert [len(day) async for day in store.days(JAN_1, JAN_2)] == [0]


async def test_the_public_tables_are_what_the_contract_says(database: Database) -> None:
    """With SQL of one's own."""
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


async def test_sqlite_reads_fetched_at_as_a_moment(database: Database) -> None:
    if database.dialect == "sqlite":
        async with database.store() as store:
            await store.put(make_day(JAN_1, {}))
        assert await database.sql("SELECT datetime(fetched_at), fetched_at FROM click_dates") == [
            ("2026-01-01 00:00:00", "2026-01-01T00:00:00.000000Z")
        ]


async def test_a_whole_day_replaces_the_date(store: ClickStore) -> None:
    """Groups that the vendor no longer lists are gone."""
    await store.put(make_day(JAN_1, {1: 10, 2: 20}))
    await store.put(make_day(JAN_1, {2: 21, 3: 30}))
    assert await clicks_of(store) == {2: 21, 3: 30}


async def test_the_same_day_twice_is_the_same_as_once(store: ClickStore) -> None:
    """What a commit that was lost on its way is done again as."""
    for _ in range(2):
        await store.put(make_day(JAN_1, {1: 10}))
        await store.put(make_day(JAN_2, {1: 10}, groups=(1, 2)))
    assert [len(day) async for day in store.days(JAN_1, JAN_2, groups=[1])] == [1, 1]


async def test_some_groups_are_not_the_whole_date(store: ClickStore) -> None:
    """And a group that was asked for and not listed is known to have no clicks."""
    await store.put(make_day(JAN_1, {151: 181}, groups=(151, 207)))
    assert (await store.coverage(JAN_1, JAN_1)).missing == [JAN_1]
    for groups in ([151], [207], [207, 151]):
        assert (await store.coverage(JAN_1, JAN_1, groups=groups)).final == [JAN_1]
    assert (await store.coverage(JAN_1, JAN_1, groups=[151, 209])).missing == [JAN_1]
    assert [len(day) async for day in store.days(JAN_1, JAN_1, groups=[207])] == [0]
    assert [day async for day in store.days(JAN_1, JAN_1)] == []


async def test_a_whole_date_answers_for_every_group(store: ClickStore) -> None:
    await store.put(make_day(JAN_1, {151: 181, 207: 5}))
    assert (await store.coverage(JAN_1, JAN_1, groups=[207, 999])).final == [JAN_1]
    (day,) = [day async for day in store.days(JAN_1, JAN_1, groups=[207, 999])]
    assert [record.group_id for record in day] == [207]
    assert day.total_count == 1
    assert day.groups == (207, 999)


async def test_some_groups_of_a_whole_date_leave_it_whole(store: ClickStore) -> None:
    """Just their records change; the count of the date goes with them."""
    await store.put(make_day(JAN_1, {1: 10, 2: 20, 3: 30}, fetched_at=LONG_AFTER))
    later = LONG_AFTER + datetime.timedelta(hours=1)
    await store.put(make_day(JAN_1, {1: 11, 4: 40}, groups=(1, 2, 4, 5), fetched_at=later))
    assert await clicks_of(store) == {1: 11, 3: 30, 4: 40}
    (day,) = [day async for day in store.days(JAN_1, JAN_1)]
    assert (day.total_count, day.fetched_at) == (3, LONG_AFTER)
    (day,) = [day async for day in store.days(JAN_1, JAN_1, groups=[1, 5])]
    assert day.fetched_at == later


async def test_of_two_writers_the_one_that_asked_last_is_right(store: ClickStore) -> None:
    """In whichever order they come, for dates and for groups."""
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


async def test_accounts_do_not_meet(database: Database) -> None:
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
async def test_a_date_is_final_when_it_had_ended_everywhere(
    database: Database, fetched_at: str, settle: int, final: bool
) -> None:
    async with database.store(settle=datetime.timedelta(days=settle)) as store:
        moment = datetime.datetime.fromisoformat(fetched_at)
        await store.put(make_day(JAN_1, {1: 1}, fetched_at=moment))
        await store.put(make_day(JAN_2, {1: 1}, groups=(1,), fetched_at=moment + datetime.timedelta(days=1)))
        coverage = await store.coverage(JAN_1, JAN_3, groups=[1])
        assert (coverage.final if final else coverage.provisional) == [JAN_1, JAN_2]
        assert coverage.missing == [JAN_3]


async def test_a_date_with_problems_is_never_final(store: ClickStore) -> None:
    """Nor one that some of its groups gave problems to; groups without them are."""
    await store.put(make_day(JAN_1, {1: 1}, problems=("odd",)))
    await store.put(make_day(JAN_2, {1: 1, 2: 2}))
    await store.put(make_day(JAN_2, {1: 1}, groups=(1,), problems=("odd",)))
    assert (await store.coverage(JAN_1, JAN_2)).provisional == [JAN_1, JAN_2]
    assert (await store.coverage(JAN_1, JAN_2, groups=[1])).provisional == [JAN_1, JAN_2]
    assert (await store.coverage(JAN_1, JAN_2, groups=[2])).final == [JAN_2]
    assert [day.problems async for day in store.days(JAN_1, JAN_2)] == [("odd",), ("odd",)]


async def test_a_group_listed_twice_counts_as_last_listed(store: ClickStore) -> None:
    record = GroupClicks(JAN_1, 1, "once", 1, 1)
    day = Day(JAN_1, 2, (record, attrs.evolve(record, clicks=2)), LONG_AFTER, None, ("group 1 is listed twice",))
    await store.put(day)
    assert await clicks_of(store) == {1: 2}


async def test_names_are_kept_whatever_they_hold(store: ClickStore) -> None:
    names = ["한국어 그룹 🛒", "a'b\"c;--", "\u202eright to left", "e\u0301", "", "line\nbreak"]
    records = tuple(GroupClicks(JAN_1, n, name, 0, 0) for n, name in enumerate([*names, "nul\0", "\ud800"], 1))
    await store.put(Day(JAN_1, len(records), records, LONG_AFTER, None, ()))
    assert [record.group_name async for record in store.clicks(JAN_1, JAN_1)] == [*names, "nul\ufffd", "\ufffd"]


async def test_a_count_beyond_64_bits_is_said_and_changes_nothing(store: ClickStore) -> None:
    await store.put(make_day(JAN_1, {1: 2**63 - 1}))
    with pytest.raises(StoreError, match="2025-01-01: clicks 9223372036854775808 does not fit 64 bits"):
        await store.put(make_day(JAN_1, {1: 2**63}))
    assert await clicks_of(store) == {1: 2**63 - 1}


async def test_thousands_of_groups_can_be_asked_about(store: ClickStore) -> None:
    """More than either engine takes parameters."""
    groups = tuple(range(1, 40_001))
    await store.put(make_day(JAN_1, {1: 1, 39_999: 2}, groups=groups))
    assert (await store.coverage(JAN_1, JAN_1, groups=groups)).final == [JAN_1]
    assert await clicks_of(store, groups=groups) == {1: 1, 39_999: 2}


async def test_two_writers_of_one_date_end_with_one_of_them(database: Database) -> None:
    """Nobody's error, no mixture, on a date that neither had seen."""
    moments = [LONG_AFTER + datetime.timedelta(seconds=n) for n in range(8)]
    days = [make_day(JAN_1, dict.fromkeys(range(1, 96), n), fetched_at=at) for n, at in enumerate(moments)]
    async with database.store() as a, database.store() as b:
        await asyncio.gather(*(store.put(day) for n, day in enumerate(days) for store in ((a, b)[n % 2],)))
        assert await clicks_of(a) == dict.fromkeys(range(1, 96), 7)


@pytest.mark.parametrize("groups", [[], [0], [-1]])
async def test_groups_that_cannot_be_right_are_refused(store: ClickStore, groups: list[int]) -> None:
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


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(puts=puts)
async def test_whatever_the_order_each_group_holds_its_latest_answer(
    puts: list[tuple[int, tuple[int, ...] | None, dict[int, int]]],
) -> None:
    """Against a model that keeps, for each group, the answer that was asked for last."""
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
