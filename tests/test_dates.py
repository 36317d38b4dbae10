"""Dates as people write them."""

from __future__ import annotations

import datetime
import itertools
import pickle
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clicksgroup import ConfigurationError, date_range
from clicksgroup.dates import DateRange, parse_date, parse_dates

JAN = [datetime.date(2025, 1, day) for day in range(1, 32)]


@given(st.dates())
def test_a_date_is_a_date_its_iso_form_or_its_midnight(date: datetime.date) -> None:
    midnight = datetime.datetime.combine(date, datetime.time())
    for written in (date, date.isoformat(), midnight, midnight.replace(tzinfo=datetime.UTC)):
        assert parse_date(written) == date
        assert type(parse_date(written)) is datetime.date


def test_what_pandas_makes_is_taken() -> None:
    pandas = pytest.importorskip("pandas")
    assert list(parse_dates(pandas.date_range("2025-01-01", "2025-01-31"))) == JAN
    with pytest.raises(ConfigurationError, match="is not a date"):
        parse_date(pandas.NaT)


@pytest.mark.parametrize(
    "written",
    [
        "",
        "2025-1-1",
        "20250101",
        "2025-W01-1",
        " 2025-01-01",
        "2025-01-01T00:00",
        "2025-01-01\n",
        "٢٠٢٥-٠١-٠١",
    ],
)
def test_a_string_in_another_form_is_refused_with_the_right_one(written: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^start: .* is not a date; write it as YYYY-MM-DD") as raised:
        parse_date(written, "start")
    assert repr(written) in str(raised.value)


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("2025-02-30", "February 2025 has 28 days"),
        ("2024-02-30", "February 2024 has 29 days"),
        ("2025-04-31", "April 2025 has 30 days"),
        ("2025-13-01", "month must be in 1..12"),
        ("0000-01-01", "year 0 is out of range"),
    ],
)
def test_a_day_that_does_not_exist_is_refused_with_the_reason(written: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^start: {written} is not a date: {reason}"):
        parse_date(written, "start")


def test_a_moment_is_refused_rather_than_cut() -> None:
    with pytest.raises(ConfigurationError, match="is not at midnight"):
        parse_date(datetime.datetime(2025, 1, 1, 0, 0, 0, 1))


@pytest.mark.parametrize("value", [None, 20250101, 1.5, b"2025-01-01", ["2025-01-01"], datetime.time()])
def test_what_is_no_date_at_all_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match=r"date: expected a datetime\.date"):
        parse_date(value)


def test_dates_at_hand_are_checked_at_once_and_the_error_says_which() -> None:
    with pytest.raises(ConfigurationError, match=r"dates\[2\]: 'x'"):
        parse_dates(["2025-01-01", JAN[0], "x"])
    with pytest.raises(TypeError, match=r"dates\[0\]"):
        parse_dates(b"2025-01-01")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="dates: expected a date or an iterable"):
        parse_dates(None)  # type: ignore[arg-type]


def test_dates_that_are_produced_are_read_one_by_one() -> None:
    def endless() -> Iterator[str]:
        for number in itertools.count():
            taken.append(number)
            yield "2025-01-01" if number < 2 else "x"

    taken: list[int] = []
    dates = iter(parse_dates(endless()))
    assert not taken
    assert [next(dates), next(dates)] == [JAN[0]] * 2
    assert taken == [0, 1]
    with pytest.raises(ConfigurationError, match=r"dates\[2\]: 'x'"):
        next(dates)


def test_dates_at_hand_are_a_copy() -> None:
    dates = [JAN[0]]
    read = parse_dates(dates)
    dates.append(JAN[1])
    assert list(read) == [JAN[0]]


def test_a_range_includes_both_ends() -> None:
    assert list(date_range("2025-01-01", JAN[-1])) == JAN
    assert list(date_range("2025-01-01", "2025-01-01")) == JAN[:1]


def test_a_range_backwards_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="end: 2025-01-01 is before start, 2025-01-02"):
        date_range("2025-01-02", "2025-01-01")


def test_a_range_may_reach_from_the_first_date_to_the_last_and_costs_nothing() -> None:
    everything = date_range(datetime.date.min, datetime.date.max)
    assert len(everything) == 3_652_059
    assert everything[-1] == datetime.date.max
    assert everything.index(datetime.date(2025, 1, 1)) == 739_251


@given(st.slices(31))
def test_a_slice_of_a_range_is_the_slice_of_its_dates(part: slice) -> None:
    dates = date_range(JAN[0], JAN[-1])
    assert list(dates[part]) == JAN[part]
    assert isinstance(dates[part], DateRange)
    assert list(reversed(dates[part])) == JAN[part][::-1]


def test_a_range_is_a_sequence_that_compares_hashes_and_pickles() -> None:
    dates = date_range(JAN[0], JAN[-1])
    assert isinstance(dates, Sequence)
    assert dates == date_range("2025-01-01", "2025-01-31") != date_range("2025-01-01", "2025-01-30")
    assert dates != JAN
    assert len({dates, dates[:], dates[1:]}) == 2
    assert pickle.loads(pickle.dumps(dates)) == dates
    assert JAN[4] in dates
    assert datetime.date(2024, 12, 31) not in dates
    assert "2025-01-01" not in dates
    assert (dates.count(JAN[4]), dates.count("x")) == (1, 0)
    assert (dates.index(JAN[4]), dates.index(JAN[4], 4), dates.index(JAN[4], -31, 5)) == (4, 4, 4)
    for start, stop in ((5, None), (0, 4)):
        with pytest.raises(ValueError, match="not in that part"):
            dates.index(JAN[4], start, stop)
    with pytest.raises(ValueError, match="not in the range"):
        dates.index("x")


def test_a_range_shows_its_ends() -> None:
    dates = date_range(JAN[0], JAN[-1])
    assert repr(dates) == "<date_range 2025-01-01 to 2025-01-31: 31 dates>"
    assert repr(dates[::7]) == "<date_range 2025-01-01 to 2025-01-29: 5 dates, every 7 days>"
    assert repr(dates[:0]) == "<date_range: empty>"
