"""START and END as people type them."""

from __future__ import annotations

import calendar
import datetime
import re
import zoneinfo

from clicksgroup.dates import DateRange, date_range, parse_date
from clicksgroup.errors import ConfigurationError

_MONTH = re.compile(r"(\d{4})-(\d{2})", re.ASCII)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def parse_dates(start: str, end: str | None, today: datetime.date) -> DateRange:
    """The dates from START to END, both included; without END those that START names, one date or a whole month.

    Raises:
        ConfigurationError: no date, or an END before START.
    """
    first, last = _span(start, "START", today)
    if end is not None:
        last = _span(end, "END", today)[1]
    if last < first:
        raise ConfigurationError(f"END: {last} is before START, {first}; swap them")
    return date_range(first, last)


def today_in(zone: str) -> datetime.date:
    """Today's date in a time zone by its name, such as `Asia/Seoul`.

    Raises:
        ConfigurationError: there is no such zone.
    """
    if zone.upper() == "UTC":
        return _now(datetime.UTC).date()
    try:
        return _now(zoneinfo.ZoneInfo(zone)).date()
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigurationError(
            f"--tz: {zone!r} is no time zone that this system knows; name one such as Asia/Seoul or UTC"
        ) from None


def _now(zone: datetime.tzinfo) -> datetime.datetime:
    return datetime.datetime.now(zone)


def _span(text: str, name: str, today: datetime.date) -> tuple[datetime.date, datetime.date]:
    if text == "today":
        return today, today
    if text == "yesterday":
        yesterday = today - datetime.timedelta(days=1)
        return yesterday, yesterday
    if _DAY.fullmatch(text):
        date = parse_date(text, name)
        return date, date
    if found := _MONTH.fullmatch(text):
        return _month(int(found[1]), int(found[2]), f"{name}: there is no month {text}; write one as 2025-01")
    raise ConfigurationError(
        f"{name}: {text!r} is no date; write 2025-01-31, 2025-01 (the whole month), today or yesterday"
    )


def _month(year: int, month: int, refusal: str) -> tuple[datetime.date, datetime.date]:
    try:
        first = datetime.date(year, month, 1)
    except ValueError:
        raise ConfigurationError(refusal) from None
    return first, first.replace(day=calendar.monthrange(year, month)[1])
