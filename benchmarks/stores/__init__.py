"""The sides of the store: each a module that lands days in a place of its own, and reads them back."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import TypeAlias

Row: TypeAlias = tuple[int, str, int, int]
"""A group's id and name, its clicks, its unique users."""

Days: TypeAlias = list[tuple[datetime.date, list[Row]]]

FIRST = datetime.date(2025, 1, 1)


def made_up(days: int, groups: int) -> Days:
    """So many dates with all groups on each."""
    return [(FIRST + datetime.timedelta(day), list(_rows(day, groups))) for day in range(days)]


def _rows(day: int, groups: int) -> Iterator[Row]:
    for group in range(1, groups + 1):
        clicks = (group * 7919 + day * 104_729) % 20_000
        yield group, f"Campaign {group} 캠페인", clicks, clicks * 9 // 10
