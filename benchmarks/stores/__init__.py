"""The sides of the store benchmark: modules with a class `Target`, which writes days and reads them back.

`Target(folder, url, schema)` is a context manager. Only its `write`, `read` and `columns` are timed. `prepare` turns
days into what `write` takes, so that no side pays for building its records. `columns` gives what `clicksgroup.exports`
writes; a side without it is compared by records alone.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias, cast

from clicksgroup.exports import Columns

Row: TypeAlias = tuple[int, str, int, int]
"""Id and name of a group, its clicks and its unique users."""

Days: TypeAlias = list[tuple[datetime.date, list[Row]]]

FIRST_DATE = datetime.date(2020, 1, 1)
LAST_DATE = datetime.date(2029, 12, 31)

CHUNK_ROWS = 10_000
"""Rows that the bare sides read at a time."""


def generate(days: int, groups: int) -> Days:
    """Return so many days with so many groups each."""
    return [(FIRST_DATE + datetime.timedelta(day), list(generate_day(day, groups))) for day in range(days)]


def as_columns(rows: Iterable[tuple[Any, ...]]) -> Columns:
    """Rows as a driver gives them, as columns with dates."""
    dates, *others = zip(*rows, strict=True)
    parsed = {
        date: datetime.date.fromisoformat(date) if isinstance(date, str) else date for date in dict.fromkeys(dates)
    }
    return cast("Columns", ([parsed[date] for date in dates], *others))


def generate_day(day: int, groups: int) -> Iterator[Row]:
    """The rows of one day, which is counted from 0."""
    for group in range(1, groups + 1):
        clicks = (group * 7919 + day * 104_729) % 20_000
        yield group, f"Campaign {group} 캠페인", clicks, clicks * 9 // 10
