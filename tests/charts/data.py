"""Clicks for charts, and what a specification says."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

from clicksgroup import charts
from clicksgroup.dates import date_range
from clicksgroup.models import GroupClicks

DATES = date_range("2025-01-01", "2025-01-14")


def records(clicks: dict[str, Sequence[int | None]], dates: Sequence[datetime.date] = DATES) -> list[GroupClicks]:
    return [
        GroupClicks(date, group, name, count, 0)
        for group, (name, counts) in enumerate(clicks.items(), 1)
        for date, count in zip(dates, counts, strict=True)
        if count is not None
    ]


async def summary(clicks: dict[str, Sequence[int | None]], dates: Sequence[datetime.date] = DATES) -> charts.Summary:
    return await charts.summarise(records(clicks, dates), dates, known=dates)


FALLING = [100] * 7 + [10] * 7


def described(specification: dict[str, Any]) -> list[tuple[str, str]]:
    """The title and the facts of each chart of a specification."""
    return [(chart["title"]["text"], chart["title"]["subtitle"]) for chart in specification["concat"]]


def drawn(specification: dict[str, Any]) -> list[dict[str, Any]]:
    """The points of a specification."""
    return [point for chart in specification["concat"] for point in chart["data"]["values"]]
