"""Parsers of arguments: dates, durations, limits, group ids, and the API key."""

from __future__ import annotations

import calendar
import datetime
import math
import os
import re
import zoneinfo
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

import click

from clicksgroup.dates import DateRange, date_range, latest_date, parse_date
from clicksgroup.errors import ConfigurationError
from clicksgroup.settings import Secret

_MAX_KEY_BYTES = 4096
_MAX_SECONDS = 10 * 365 * 86400
"""Ten years: a longer duration is a typing error."""

ALL: Literal["all"] = "all"
GroupChoice: TypeAlias = tuple[int, ...] | Literal["all"] | None
"""The ids of groups that were named; None if --groups was not given."""

ONE_DAY = datetime.timedelta(days=1)

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd])", re.ASCII)
_REQUESTS = re.compile(r"[1-9]\d{0,8}", re.ASCII)
_GROUP_ID = re.compile(r"0*[1-9]\d{0,18}", re.ASCII)
_DATE_OR_MONTH = re.compile(r"(\d{4})-(\d{2})(?:-(\d{2}))?", re.ASCII)


def parse_dates(start: str, end: str | None, today: datetime.date) -> DateRange:
    """The dates from START to END, both included. Without END they are those of START: one date or a whole month."""
    first, last = _first_and_last(start, "START", today)
    if end is not None:
        last = _first_and_last(end, "END", today)[1]
    if last < first:
        advice = "; swap them" if first <= today else ", which has not begun"
        raise ConfigurationError(f"END: {last} is before START, {first}{advice}")
    return date_range(first, last)


def require_begun(dates: DateRange, today: datetime.date, *, longest: int | None = None) -> None:
    """Refuse dates that have not begun anywhere on Earth, and suggest others: up to today, at most `longest` days."""
    latest = latest_date(datetime.datetime.now(datetime.UTC))
    if dates[-1] <= latest:
        return
    ends = {"yesterday": today - ONE_DAY, "today": today}
    accepted = [word for word, end in ends.items() if 0 <= (end - dates[0]).days < (longest or math.inf)]
    advice = f"write {dates[0]} {accepted[0]}" if accepted else f"the latest date to ask for is {latest}"
    raise ConfigurationError(f"END: {dates[-1]} has not begun anywhere on Earth; {advice}")


def today_in(zone: str, now: datetime.datetime | None = None) -> datetime.date:
    """Today's date in a time zone, such as `Asia/Seoul`."""
    now = now or datetime.datetime.now(datetime.UTC)
    if zone.upper() == "UTC":
        return now.astimezone(datetime.UTC).date()
    try:
        return now.astimezone(zoneinfo.ZoneInfo(zone)).date()
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        advice = "name one such as Asia/Seoul or UTC" if zoneinfo.available_timezones() else "pip install tzdata"
        raise ConfigurationError(f"--tz: {zone!r} is not a time zone that this system knows; {advice}") from None


def _first_and_last(text: str, name: str, today: datetime.date) -> tuple[datetime.date, datetime.date]:
    words = {"today": today, "yesterday": today - ONE_DAY}
    if text in words:
        return words[text], words[text]
    found = _DATE_OR_MONTH.fullmatch(text)
    if not found:
        raise ConfigurationError(
            f"{name}: {text!r} is not a date; write 2025-01-31, 2025-01 (the whole month), today or yesterday"
        )
    if found[3]:
        date = parse_date(text, name)
        return date, date
    try:
        first = datetime.date(int(found[1]), int(found[2]), 1)
    except ValueError:
        raise ConfigurationError(f"{name}: {text} is not a month; write YYYY-MM, such as 2025-01") from None
    return first, first.replace(day=calendar.monthrange(first.year, first.month)[1])


def parse_duration(text: str) -> datetime.timedelta:
    """`3d`, `12h`, `30m`, `90s`; `0` needs no unit."""
    seconds = _seconds("0s" if text == "0" else text)
    if seconds is None:
        raise click.BadParameter(f"{text!r} is not a duration; write a number and a unit, such as 3d, 12h, 30m or 90s")
    return datetime.timedelta(seconds=seconds)


def parse_limit(text: str) -> tuple[int, float]:
    """`24/60` is 24 requests in 60 seconds; `1250/1h` is understood too."""
    count, _, window = text.partition("/")
    seconds = _seconds(window) or _seconds(f"{window}s")
    if not _REQUESTS.fullmatch(count) or not seconds:
        raise click.BadParameter(f"{text!r} is not a limit; write REQUESTS/SECONDS, such as 24/60 or 1250/1h")
    return int(count), seconds


def _seconds(text: str) -> float | None:
    found = _DURATION.fullmatch(text)
    seconds = float(found[1]) * _UNITS[found[2]] if found else math.inf
    return seconds if seconds <= _MAX_SECONDS else None


def parse_groups(text: str) -> GroupChoice:
    """`151,207`, or `all`; repeats are dropped."""
    if text == ALL:
        return ALL
    parts = [part.strip() for part in text.split(",")]
    if not all(_GROUP_ID.fullmatch(part) for part in parts):
        raise click.BadParameter(f"{text!r} is not a list of group ids; write them as 151,207,209")
    return tuple(dict.fromkeys(map(int, parts)))


def parse_proxy(url: str) -> str | None:
    """`http://proxy.example:3128`, as it is. The message does not show it: it may hold a password."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if url and not usable:
        raise click.BadParameter("it is not the URL of an HTTP proxy; write one such as http://proxy.example:3128")
    return url or None


def read_key(file: str | None) -> Secret:
    """The API key, from a file (`-` for stdin) or from the environment."""
    if file is None:
        key = os.environ.get("CLICKSGROUP_API_KEY", "")
        if not key:
            raise ConfigurationError(
                "there is no API key: set CLICKSGROUP_API_KEY, or name a file with --api-key-file; "
                "to try without a key, add --sandbox"
            )
        return Secret(key)
    try:
        # `-` is stdin to click.
        with click.open_file(file, "rb") as stream:
            raw = stream.read(_MAX_KEY_BYTES + 1)
        key = raw.decode("utf-8-sig").rstrip("\r\n")
    except RuntimeError:
        raise ConfigurationError("--api-key-file: stdin is closed; name a file, or pipe the key into -") from None
    except OSError as error:
        raise ConfigurationError(f"--api-key-file: cannot read {file}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"--api-key-file: {file} is not a text file in UTF-8") from None
    if not key or len(raw) > _MAX_KEY_BYTES:
        raise ConfigurationError(f"--api-key-file: {file} {'is empty' if not key else 'is too long for a key'}")
    return Secret(key)
