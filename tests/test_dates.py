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
def test_forms_of_a_date(date: datetime.date) -> None:
    """A date may be given as a date, as its ISO form, or as its midnight."""
    midnight = datetime.datetime.combine(date, datetime.time())
    for written in (date, date.isoformat(), midnight, midnight.replace(tzinfo=datetime.UTC)):
        assert parse_date(written) == date
        assert type(parse_date(written)) is datetime.date


def test_pandas_dates() -> None:
    """The dates that pandas makes are accepted."""
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
def test_other_forms_of_a_date(written: str) -> None:
    """A date in another form is refused, and the error shows the right form."""
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
def test_no_such_day(written: str, reason: str) -> None:
    """A day that does not exist is refused with the reason."""
    with pytest.raises(ConfigurationError, match=f"^start: {written} is not a date: {reason}"):
        parse_date(written, "start")


def test_time_of_day() -> None:
    """A time of day is refused rather than cut off."""
    with pytest.raises(ConfigurationError, match="is not at midnight"):
        parse_date(datetime.datetime(2025, 1, 1, 0, 0, 0, 1))


@pytest.mark.parametrize("value", [None, 20250101, 1.5, b"2025-01-01", ["2025-01-01"], datetime.time()])
def test_not_a_date(value: Any) -> None:
    """A value of another type is a TypeError."""
    with pytest.raises(TypeError, match=r"date: expected a datetime\.date"):
        parse_date(value)


def test_dates_in_a_list() -> None:
    """The dates of a list are checked at once, and the error says which is wrong."""
    with pytest.raises(ConfigurationError, match=r"dates\[2\]: 'x'"):
        parse_dates(["2025-01-01", JAN[0], "x"])
    with pytest.raises(TypeError, match=r"dates\[0\]"):
        parse_dates(b"2025-01-01")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="dates: expected a date or an iterable"):
        parse_dates(None)  # type: ignore[arg-type]


def test_dates_of_a_generator() -> None:
    """The dates of a generator are read, and checked, one by one."""

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


def test_dates_are_copied() -> None:
    """A list of dates may be changed by its owner afterwards."""
    dates = [JAN[0]]
    read = parse_dates(dates)
    dates.append(JAN[1])
    assert list(read) == [JAN[0]]


def test_range_ends() -> None:
    """A range includes both ends."""
    assert list(date_range("2025-01-01", JAN[-1])) == JAN
    assert list(date_range("2025-01-01", "2025-01-01")) == JAN[:1]


def test_range_backwards() -> None:
    """A range that ends before it starts is refused."""
    with pytest.raises(ConfigurationError, match="end: 2025-01-01 is before start, 2025-01-02"):
        date_range("2025-01-02", "2025-01-01")


def test_longest_range() -> None:
    """A range may reach from the first date to the last, and its length and members are computed, not listed."""
    everything = date_range(datetime.date.min, datetime.date.max)
    assert len(everything) == 3_652_059
    assert everything[-1] == datetime.date.max
    assert everything.index(datetime.date(2025, 1, 1)) == 739_251


@given(st.slices(31))
def test_range_slices(part: slice) -> None:
    """A slice of a range holds the same dates as the slice of its list."""
    dates = date_range(JAN[0], JAN[-1])
    assert list(dates[part]) == JAN[part]
    assert isinstance(dates[part], DateRange)
    assert list(reversed(dates[part])) == JAN[part][::-1]


def test_range_is_a_sequence() -> None:
    """A range is a sequence that can be compared, hashed and pickled."""
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


def test_range_repr() -> None:
    """The repr of a range shows its ends."""
    dates = date_range(JAN[0], JAN[-1])
    assert repr(dates) == "<date_range 2025-01-01 to 2025-01-31: 31 dates>"
    assert repr(dates[::7]) == "<date_range 2025-01-01 to 2025-01-29: 5 dates, every 7 days>"
    assert repr(dates[:0]) == "<date_range: empty>"
