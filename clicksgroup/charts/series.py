"""Reduces records to a series of clicks for each group, and writes its figures as text. Nothing is drawn here."""

from __future__ import annotations

import datetime
import statistics
import unicodedata
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Container, Iterable, Sequence
from typing import TypeAlias

import attrs

from clicksgroup.models import GroupClicks

Clicks: TypeAlias = tuple[int | None, ...]
"""Clicks of each date; None where the date is not known."""

WEEK = 7
"""Days that are compared with as many days before. Whole weeks, since weekends differ."""

FEWEST_PAIRS = 4
"""Of the 7 days, how many must be known together with the same weekday a week earlier."""


@attrs.frozen
class Change:
    """The clicks of the last 7 days and of the 7 before. A day counts only if both it and its weekday before are known.

    Args:
        last: clicks of the last 7 days.
        before: clicks of the 7 days before.
    """

    last: int
    before: int

    @property
    def ratio(self) -> float | None:
        """The relative change: -0.9 is a fall by 90 %. None if there were no clicks before."""
        return self.last / self.before - 1 if self.before else None


@attrs.frozen
class Series:
    """The clicks of one group over the dates, or of several groups summed.

    Args:
        label: the group's name, with its id if the name is empty or not unique.
        clicks: of each date; None where it is not known.
        share: of all clicks, from 0 to 1.
        groups: how many groups are summed in it.
    """

    label: str
    clicks: Clicks
    share: float
    groups: int = 1

    @property
    def total(self) -> int:
        """All clicks."""
        return sum(without_gaps(self.clicks))

    @property
    def peak(self) -> int | None:
        """The index of the date with the most clicks; None if no date is known."""
        return max(self._known_indices(), key=lambda index: self.clicks[index] or 0, default=None)

    @property
    def change(self) -> Change | None:
        """The last 7 days against the 7 before, up to the last known date; None if too few dates are known."""
        end = max(self._known_indices(), default=-1) + 1
        if end < 2 * WEEK:
            return None
        last, before = self.clicks[end - WEEK : end], self.clicks[end - 2 * WEEK : end - WEEK]
        pairs = [(a, b) for a, b in zip(last, before, strict=True) if a is not None and b is not None]
        if len(pairs) < FEWEST_PAIRS:
            return None
        return Change(sum(a for a, _ in pairs), sum(b for _, b in pairs))

    def weekly_mean(self, index: int) -> float | None:
        """The mean of that date and the 6 before, as far as they are known; None if the date is not."""
        if self.clicks[index] is None:
            return None
        return round(statistics.fmean(without_gaps(self.clicks[max(index - WEEK + 1, 0) : index + 1])), 1)

    def _known_indices(self) -> list[int]:
        return [index for index, count in enumerate(self.clicks) if count is not None]


@attrs.frozen
class Summary:
    """The groups' series, those with the most clicks first.

    Args:
        dates: what the series span.
        series: one for each group.
    """

    dates: Sequence[datetime.date]
    series: tuple[Series, ...]

    @property
    def total(self) -> int:
        """All clicks."""
        return sum(series.total for series in self.series)

    def top(self, count: int) -> Summary:
        """The `count` largest series. The others, if there are two or more, are summed as `other` at the end."""
        rest = self.series[count:]
        if len(rest) < 2:
            return self
        days = [without_gaps(day) for day in zip(*(series.clicks for series in rest), strict=True)]
        clicks = tuple(sum(day) if day else None for day in days)
        other = Series("other", clicks, sum(series.share for series in rest), sum(series.groups for series in rest))
        return Summary(self.dates, (*self.series[:count], other))


async def summarise(
    records: Iterable[GroupClicks] | AsyncIterable[GroupClicks],
    dates: Sequence[datetime.date],
    *,
    known: Container[datetime.date] | None = None,
) -> Summary:
    """Reduce records to series.

    Args:
        records: in any order; those of other dates are left out.
        dates: what the series span, such as `date_range(start, end)`.
        known: the dates that were fetched whole, on which a group without a record had no clicks. On other dates its
            clicks are not known. None: all dates that have records.
    """
    indices = {date: index for index, date in enumerate(dates)}
    found: dict[int, dict[int, int]] = {}
    names: dict[int, tuple[int, str]] = {}
    async for record in _each(records):
        index = indices.get(record.date)
        if index is not None:
            found.setdefault(record.group_id, {})[index] = record.clicks
            names[record.group_id] = max((index, record.group_name), names.get(record.group_id, (-1, "")))
    if known is None:
        whole = {index for clicks in found.values() for index in clicks}
    else:
        whole = {index for date, index in indices.items() if date in known}
    labels = _labels({group: name for group, (_, name) in names.items()})
    total = sum(sum(clicks.values()) for clicks in found.values())
    series = [
        Series(
            labels[group],
            tuple(clicks.get(index, 0 if index in whole else None) for index in range(len(dates))),
            sum(clicks.values()) / total if total else 0.0,
        )
        for group, clicks in found.items()
    ]
    return Summary(dates, tuple(sorted(series, key=lambda one: (-one.total, one.label))))


def percent_share(share: float) -> str:
    """A share of 1 in percent."""
    return f"{share:.0%}" if share >= 0.0995 or share == 0 else f"{share:.1%}" if share >= 0.0005 else "<0.1%"


def percent_change(change: Change | None) -> str:
    """A change in percent, or as a factor where it is large; a dash where it is not known."""
    if change is None:
        return "-"
    if change.ratio is None:
        return "new" if change.last else "0%"
    return f"{change.ratio:+.0%}" if change.ratio < 9.995 else f"x{change.ratio + 1:,.0f}"


def date_span(dates: Sequence[datetime.date]) -> str:
    """The first and the last of the dates."""
    return f"{dates[0]}" if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"


def without_gaps(clicks: Iterable[int | None]) -> list[int]:
    """The clicks of the known dates."""
    return [count for count in clicks if count is not None]


async def _each(records: Iterable[GroupClicks] | AsyncIterable[GroupClicks]) -> AsyncIterator[GroupClicks]:
    if isinstance(records, AsyncIterable):
        async for record in records:
            yield record
    else:
        for record in records:
            yield record


def _labels(names: dict[int, str]) -> dict[int, str]:
    """A label of one line for each group, with the id if its name is empty or not unique."""
    flat = {group: " ".join(_without_controls(name).split()) for group, name in names.items()}
    times = Counter(flat.values())
    return {group: name if name and times[name] == 1 else f"{name} #{group}".strip() for group, name in flat.items()}


def _without_controls(name: str) -> str:
    """Blanks instead of control characters, which could command the terminal."""
    return "".join(" " if unicodedata.category(character) == "Cc" else character for character in name)
