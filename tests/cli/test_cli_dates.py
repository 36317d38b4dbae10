"""START and END, as users type them."""

from __future__ import annotations

import datetime
import zoneinfo

import pytest

from clicksgroup import ConfigurationError
from clicksgroup.cli.options import parse_dates, require_begun, today_in

TODAY = datetime.date(2025, 3, 1)


@pytest.mark.parametrize(
    ("start", "end", "first", "last"),
    [
        ("2025-01-31", None, "2025-01-31", "2025-01-31"),
        ("2025-01", None, "2025-01-01", "2025-01-31"),
        ("2024-02", None, "2024-02-01", "2024-02-29"),
        ("9999-12", None, "9999-12-01", "9999-12-31"),
        ("2025-01", "2025-02", "2025-01-01", "2025-02-28"),
        ("2025-01-15", "2025-02", "2025-01-15", "2025-02-28"),
        ("2025-01", "2025-02-03", "2025-01-01", "2025-02-03"),
        ("today", None, "2025-03-01", "2025-03-01"),
        ("yesterday", "today", "2025-02-28", "2025-03-01"),
        ("2025-02", "yesterday", "2025-02-01", "2025-02-28"),
    ],
)
def test_parse_dates(start: str, end: str | None, first: str, last: str) -> None:
    """START and END are dates, whole months, today or yesterday."""
    span = parse_dates(start, end, TODAY)
    assert (str(span[0]), str(span[-1])) == (first, last)


@pytest.mark.parametrize(
    ("start", "end", "word"),
    [
        ("2025-02", "2025-01", "before START"),
        ("today", "yesterday", "before START"),
        ("2025-13", None, "not a month"),
        ("0000-01", None, "not a month"),
        ("2025-02-30", None, "2025-02-30 is not a date: February 2025 has 28 days"),
        ("2025-01-00", None, "not a date"),
        ("2025-1", None, "START"),
        ("2025", None, "START"),
        ("20250131", None, "START"),
        ("2025-01-01", "tomorrow", "END"),
        ("٢٠٢٥-٠١", None, "START"),
        ("", None, "START"),
    ],
)
def test_not_a_date(start: str, end: str | None, word: str) -> None:
    """Anything else is refused, by the name of its argument."""
    with pytest.raises(ConfigurationError, match=word):
        parse_dates(start, end, TODAY)


@pytest.mark.parametrize(
    ("start", "end", "longest", "advice"),
    [
        ("2025-02", "2999-01", None, "write 2025-02-01 yesterday"),
        ("2025-03-01", "2999-01", None, "write 2025-03-01 today"),
        ("2025-02", "2999-01", 7, "the latest date to ask for is 20"),
        ("2025-02-25", "2999-01", 7, "write 2025-02-25 yesterday"),
        ("2999-01", "2999-02", None, "the latest date to ask for is 20"),
    ],
)
def test_advice_about_the_future(start: str, end: str, longest: int | None, advice: str) -> None:
    """A date that has not begun is refused, and what is suggested is not refused as well."""
    with pytest.raises(ConfigurationError, match=f"has not begun anywhere on Earth; {advice}"):
        require_begun(parse_dates(start, end, TODAY), TODAY, longest=longest)
    if "write" in advice:
        *_, first, last = advice.split()
        accepted = parse_dates(first, last, TODAY)
        require_begun(accepted, TODAY, longest=longest)
        assert len(accepted) <= (longest or 1000)


def test_no_swap_into_the_future() -> None:
    """START and END are not to be swapped where START has not begun."""
    with pytest.raises(ConfigurationError, match="is before START, 2999-01-01, which has not begun"):
        parse_dates("2999-01", "2025-01", TODAY)


def test_today_has_begun_everywhere() -> None:
    """Today is accepted in every time zone."""
    now = datetime.datetime.now(datetime.UTC)
    for zone in ("Pacific/Kiritimati", "Etc/GMT+12", "UTC"):
        today = today_in(zone, now)
        require_begun(parse_dates("today", None, today), today)


def test_no_zone_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has no time zone data, the error names the package that brings it."""
    monkeypatch.setattr(zoneinfo, "available_timezones", set)
    with pytest.raises(ConfigurationError, match="pip install tzdata"):
        today_in("Mars")


def test_today_in_a_time_zone() -> None:
    """Today is the date that it is in the time zone."""
    now = datetime.datetime(2025, 1, 31, 20, tzinfo=datetime.UTC)
    assert today_in("UTC", now) == datetime.date(2025, 1, 31)
    assert today_in("Asia/Seoul", now) == datetime.date(2025, 2, 1)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../etc/passwd", "", "/etc/localtime"])
def test_not_a_time_zone(zone: str) -> None:
    """An unknown time zone is refused."""
    with pytest.raises(ConfigurationError, match="--tz"):
        today_in(zone)
