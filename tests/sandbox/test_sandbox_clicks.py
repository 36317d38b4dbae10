"""The generated clicks: the same in every version, as many as asked for, and believable."""

from __future__ import annotations

import datetime
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clicksgroup.dates import date_range
from clicksgroup.errors import ConfigurationError
from clicksgroup.sandbox import Sandbox

YEAR = date_range("2025-01-01", "2025-12-31")


def test_same_seed() -> None:
    """The same seed gives the same clicks in every version: users' tests and examples hold these numbers."""
    records = Sandbox().truth("2025-01-03")
    assert [(r.group_id, r.group_name, r.clicks, r.unique_users) for r in records[:6]] == [
        (151, "Electronics", 275, 215),
        (207, "Kitchenware", 15994, 11472),
        (209, "Brian Smith Advertiser Only", 16189, 12616),
        (4900212, "커피 원두 카카오톡 채널 2024년 10월", 3, 3),
        (224, "Skincare QR flyer", 4, 4),
        (226, '"Buy 2, get 1" coupon', 4, 3),
    ]
    assert [sum(r.clicks for r in records), sum(r.unique_users for r in records)] == [139754, 115143]


def test_another_seed() -> None:
    """Another seed gives other clicks."""
    assert Sandbox(seed=1).truth("2025-01-03") != Sandbox(seed=2).truth("2025-01-03")


def test_date_alone() -> None:
    """A date does not depend on what was asked before."""
    alone, late = Sandbox(), Sandbox()
    for date in YEAR[:100]:
        late.truth(date)
    assert alone.truth(YEAR[200]) == late.truth(YEAR[200])


@settings(deadline=None)
@given(st.dates(), st.integers(0, 70), st.integers(0, 5))
def test_any_date(date: datetime.date, groups: int, seed: int) -> None:
    """Any date lists exactly as many groups as it should, all of them possible."""
    records = Sandbox(groups, seed=seed).truth(date)
    assert len(records) == groups == len({record.group_id for record in records})
    for record in records:
        assert record.date == date
        assert record.group_id > 0
        assert record.group_name
        assert 0 <= record.unique_users <= record.clicks


def test_groups_function() -> None:
    """The number of groups may depend on the date."""
    sandbox = Sandbox(groups=lambda date: date.day)
    assert [len(sandbox.truth(f"2025-01-{day:02}")) for day in (1, 17, 31)] == [1, 17, 31]


def test_fewer_groups() -> None:
    """Fewer groups are the first of more."""
    assert Sandbox(groups=40).truth("2025-01-03") == Sandbox(groups=95).truth("2025-01-03")[:40]


@pytest.mark.parametrize("groups", [-1, 10_001, 1.0, True, "3"])
def test_impossible_groups(groups: object) -> None:
    """A number of groups that cannot be is refused."""
    with pytest.raises(ConfigurationError, match="groups"):
        Sandbox(groups=groups)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="groups"):
        Sandbox(groups=lambda date: groups).truth("2025-01-03")  # type: ignore[arg-type,return-value]


def test_unique_ids() -> None:
    """No two groups share an id, even with the most groups."""
    records = Sandbox(10_000).truth(datetime.date(2025, 1, 3))
    assert len({record.group_id for record in records}) == 10_000


def test_campaigns() -> None:
    """Groups come and go while their number stays."""
    sandbox = Sandbox(groups=60)
    first, last = ({record.group_id for record in sandbox.truth(date)} for date in (YEAR[0], YEAR[-1]))
    assert len(first) == len(last) == 60
    assert 10 <= len(first - last) <= 40


def test_names_are_kept() -> None:
    """A group keeps its name."""
    sandbox = Sandbox(groups=40)
    named = {(record.group_id, record.group_name) for date in YEAR for record in sandbox.truth(date)}
    assert len(named) == len({group_id for group_id, _ in named})


def test_names() -> None:
    """Names are unique, in English and Korean, and some are hard to print or store."""
    everything = [record.group_name for record in Sandbox(groups=1000).truth(YEAR[0])]
    assert len(set(everything)) == 1000
    names = everything[:60]
    assert sum(any("가" <= letter <= "힣" for letter in name) for name in names) >= 15
    assert sum(name.isascii() for name in names) >= 15
    for hard in '",\n🏖':
        assert any(hard in name for name in names[:30]), hard


def test_weeks() -> None:
    """Newsletters rest at the weekend, shops do not; the account has both."""
    series = _series(40)
    weekend_share = [
        sum(series[group_id][date] for date in YEAR if date.weekday() >= 5) / sum(series[group_id].values())
        for group_id in series
        if len(series[group_id]) == len(YEAR)
    ]
    assert min(weekend_share) < 0.15
    assert max(weekend_share) > 0.36


def test_collapse() -> None:
    """One group collapses by nine tenths."""
    collapsing = _series(3)[209]
    before = statistics.median(collapsing[date] for date in date_range("2025-02-01", "2025-03-04"))
    after = statistics.median(collapsing[date] for date in date_range("2025-03-05", "2025-03-31"))
    assert after < 0.15 * before


def test_growth() -> None:
    """One group grows."""
    growing = _series(1)[151]
    january, december = (sum(growing[date] for date in YEAR if date.month == month) for month in (1, 12))
    assert december > 2 * january


def test_bursts() -> None:
    """Now and then there are a few days with many clicks."""
    kitchenware = _series(2)[207]
    week = statistics.median(kitchenware.values())
    assert 2 <= sum(clicks > 1.8 * week for clicks in kitchenware.values()) <= 30


@settings(deadline=None)
@given(st.dates(datetime.date(2024, 1, 1), datetime.date(2026, 1, 1)), st.integers(0, 30))
def test_totals(start: datetime.date, days: int) -> None:
    """Totals add clicks and count users once."""
    sandbox = Sandbox(groups=12)
    end = start + datetime.timedelta(days)
    records = [record for date in date_range(start, end) for record in sandbox.truth(date)]
    totals = sandbox.truth_totals(start, end)
    assert {total.group_id for total in totals} == {record.group_id for record in records}
    for total in totals:
        mine = [record for record in records if record.group_id == total.group_id]
        users = [record.unique_users for record in mine]
        assert total.clicks == sum(record.clicks for record in mine)
        assert max(users) <= total.unique_users <= sum(users)
        assert total.unique_users < sum(users) or max(users) == sum(users)


def _series(groups: int) -> dict[int, dict[datetime.date, int]]:
    sandbox = Sandbox(groups=groups)
    series: dict[int, dict[datetime.date, int]] = {}
    for date in YEAR:
        for record in sandbox.truth(date):
            series.setdefault(record.group_id, {})[date] = record.clicks
    return series
