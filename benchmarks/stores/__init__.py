"""The sides of the store benchmark: modules with a class `Target`, which writes days and reads them back.

`Target(folder, url)` is a context manager. Only its `write` and `read` are timed. `prepare` turns days into what
`write` takes, so that no side pays for building its records.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import TypeAlias

Row: TypeAlias = tuple[int, str, int, int]
"""Id and name of a group, its clicks and its unique users."""

Days: TypeAlias = list[tuple[datetime.date, list[Row]]]

FIRST_DATE = datetime.date(2025, 1, 1)


def generate(days: int, groups: int) -> Days:
    """Return so many days with so many groups each."""
    return [(FIRST_DATE + datetime.timedelta(day), list(_rows(day, groups))) for day in range(days)]


def _rows(day: int, groups: int) -> Iterator[Row]:
    for group in range(1, groups + 1):
        clicks = (group * 7919 + day * 104_729) % 20_000
        yield group, f"Campaign {group} 캠페인", clicks, clicks * 9 // 10
