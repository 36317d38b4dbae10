"""What is known of each group: its clicks, its share, and the last 7 days against the 7 before."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from clicksgroup import charts
from clicksgroup.charts.series import Change, Clicks, Series, percent_change
from clicksgroup.dates import date_range
from clicksgroup.models import GroupClicks
from clicksgroup.store import Coverage
from tests.charts.data import DATES, FALLING, records, summary


async def test_largest_group_first() -> None:
    """The group with the most clicks comes first; each has its share."""
    result = await summary({"a": [1] * 14, "b": [3] * 14})
    assert [(one.label, one.total, one.share) for one in result.series] == [("b", 42, 0.75), ("a", 14, 0.25)]
    assert result.total == 56


async def test_unlisted_group() -> None:
    """A group that a known date does not list had no clicks then; on other dates its clicks are not known."""
    found = [GroupClicks(DATES[0], 1, "a", 5, 5), GroupClicks(DATES[1], 2, "b", 5, 5)]
    result = await charts.summarise(found, DATES[:3], known=[DATES[0]])
    assert [one.clicks for one in result.series] == [(5, None, None), (0, 5, None)]


async def test_stream_of_records() -> None:
    """Records may come from an asynchronous iterable."""

    async def stream() -> Any:
        for record in records({"a": [1] * 14}):
            yield record

    assert (await charts.summarise(stream(), DATES)).total == 14


async def test_change() -> None:
    """The last 7 days are compared with the 7 days before."""
    (one,) = (await summary({"a": FALLING})).series
    assert one.change == Change(70, 700)
    assert one.change.ratio == pytest.approx(-0.9)


def test_change_with_unknown_dates() -> None:
    """A day counts only together with its weekday before, and four such pairs are needed."""
    clicks: Clicks = (100, 100, None, 100, 100, 100, 100, 10, 10, 10, 10, None, 10, 10, None)
    assert Series("a", clicks, 1.0).change == Change(50, 500)
    assert Series("a", (1,) * 13, 1.0).change is None
    assert Series("a", (None,) * 4 + (1,) * 10, 1.0).change is None


async def test_other() -> None:
    """Groups beyond the largest are summed as `other`."""
    result = (await summary({"a": [9] * 14, "b": [2] * 14, "c": [1] * 14})).top(1)
    assert [(one.label, one.total, one.groups) for one in result.series] == [("a", 126, 1), ("other", 42, 2)]
    assert sum(one.share for one in result.series) == pytest.approx(1)


async def test_labels() -> None:
    """A label is one line, and has the id where a name is empty or not unique."""
    twins = [GroupClicks(DATES[0], group, name, 1, 1) for group, name in ((1, "a"), (2, "a"), (3, ""), (4, "b\nc"))]
    result = await charts.summarise(twins, DATES[:1])
    assert [one.label for one in result.series] == ["#3", "a #1", "a #2", "b c"]


async def test_renamed_group() -> None:
    """A group is shown by its latest name."""
    named = [GroupClicks(DATES[n], 1, name, 1, 1) for n, name in ((2, "new"), (0, "old"))]
    assert (await charts.summarise(named, DATES)).series[0].label == "new"


async def test_control_characters() -> None:
    """Control characters of a name become blanks, so that it cannot command the terminal."""
    record = GroupClicks(datetime.date(2025, 1, 1), 7, "a\x1b]0;title\x07\x1b[31mred\x9b", 5, 5)
    summary = await charts.summarise([record], date_range("2025-01-01", "2025-01-02"))
    assert summary.series[0].label == "a ]0;title [31mred"


@pytest.mark.parametrize(
    ("clicks", "provisional", "change"),
    [
        ([100] * 14 + [3], [14], Change(700, 700)),
        ([100] * 14 + [90, 3], [14, 15], Change(700, 700)),
        ([*range(17)], range(17), Change(sum(range(7, 14)), sum(range(7)))),
        ([*range(14), None], [3, 4], Change(sum(range(7, 14)), sum(range(7)))),
        ([100] * 13 + [3], [13], None),
    ],
    ids=["today", "yesterday too", "all with problems", "long ago", "too few"],
)
async def test_change_with_provisional_dates(
    clicks: list[int | None], provisional: Sequence[int], change: Change | None
) -> None:
    """Dates at the end that may not have ended do not count in the last 7 days, at most three; others do."""
    dates = date_range("2025-01-01", datetime.date(2024, 12, 31) + datetime.timedelta(days=len(clicks)))
    found = records({"a": clicks}, dates)
    result = await charts.summarise(found, dates, provisional=[dates[index] for index in provisional])
    assert result.series[0].change == change
    assert result.series[0].total == sum(count or 0 for count in clicks)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (None, "-"),
        (Change(0, 0), "stopped"),
        (Change(5, 0), "new"),
        (Change(0, 5), "-100%"),
        (Change(999, 1000), "+0%"),
        (Change(12_000, 1000), "x12"),
    ],
)
def test_percent_change(change: Change | None, text: str) -> None:
    """A group without clicks in both weeks has stopped; it did not change by 0 %."""
    assert percent_change(change) == text


async def test_coverage() -> None:
    """A summary says which dates are provisional and which are missing, also of its largest groups."""
    known, provisional = {*DATES[:3], *DATES[5:]}, {DATES[4], DATES[12], DATES[13]}
    found = records({"a": [3] * 14, "b": [2] * 14, "c": [1] * 14})
    result = (await charts.summarise(found, DATES, known=known, provisional=provisional)).top(1)
    assert result.missing == [DATES[3], DATES[4]]
    assert result.provisional == [DATES[12], DATES[13]]
    assert {series.provisional for series in result.series} == {frozenset({12, 13})}
    assert charts.coverage_notes(result) == [
        "2 dates are provisional and may still change: 2025-01-13 to 2025-01-14.",
        "2 dates are missing: 2025-01-04 to 2025-01-05.",
    ]


def test_many_ranges() -> None:
    """A note names three ranges of dates and counts the others; without such dates there is none."""
    assert charts.coverage_notes(Coverage(list(DATES), [], [])) == []
    assert charts.coverage_notes(Coverage([], [], [*DATES[::2]])) == [
        "7 dates are missing: 2025-01-01, 2025-01-03, 2025-01-05 and 4 more."
    ]


async def test_columns() -> None:
    """Where a stream gives columns, they are read instead of records."""

    class Stream:
        async def columns(self) -> AsyncIterator[tuple[Sequence[Any], ...]]:
            yield (DATES[:2], [1, 1], ["old", "new"], [5, 6], [1, 1])
            yield (DATES[1:2], [2], ["b"], [100], [1])

        def __aiter__(self) -> AsyncIterator[GroupClicks]:
            raise AssertionError("it was read as records")

    result = await charts.summarise(Stream(), DATES[:2])
    assert [(one.label, one.clicks) for one in result.series] == [("b", (0, 100)), ("new", (5, 6))]
