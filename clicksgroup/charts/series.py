"""From records to one series of clicks a group: pure reduction, no drawing."""

from __future__ import annotations

import datetime
import unicodedata
from collections import Counter
from collections.abc import AsyncIterable, Container, Iterable, Sequence
from typing import TypeAlias

import attrs

from clicksgroup.models import GroupClicks

Clicks: TypeAlias = tuple[int | None, ...]
"""Clicks of each date; None where the date is not known."""

WEEK = 7
"""Days that are compared with as many before: whole weeks, since weekends differ."""

_FEWEST_PAIRS = 4  # of the 7 days that must be known together with the same day of the week before


@attrs.frozen
class Change:
    """The clicks of the last 7 days, and of the 7 before; a day counts only where its fellow is known too."""

    last: int
    before: int

    @property
    def ratio(self) -> float | None:
        """What came of each click before, less one: -0.9 is a fall by 90 %. None where there were none before."""
        return self.last / self.before - 1 if self.before else None


@attrs.frozen
class Series:
    """One group over the dates, or several summed.

    Args:
        label: what to call it; the id is added where several groups have one name.
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
        return sum(count for count in self.clicks if count is not None)

    @property
    def peak(self) -> int | None:
        """Which of the dates had the most clicks, as an index; None where no date is known."""
        known = [index for index, count in enumerate(self.clicks) if count is not None]
        return max(known, key=lambda index: self.clicks[index] or 0, default=None)

    @property
    def change(self) -> Change | None:
        """The last 7 days against the 7 before, up to the last date that is known; None where too few are known."""
        end = max((index + 1 for index, count in enumerate(self.clicks) if count is not None), default=0)
        last, before = self.clicks[max(end - WEEK, 0) : end], self.clicks[max(end - 2 * WEEK, 0) : max(end - WEEK, 0)]
        pairs = [(a, b) for a, b in zip(last, before, strict=False) if a is not None and b is not None]
        if len(last) != len(before) or len(pairs) < _FEWEST_PAIRS:
            return None
        return Change(sum(a for a, _ in pairs), sum(b for _, b in pairs))

    def weekly_mean(self, index: int) -> float | None:
        """The mean of that date and the 6 before, as far as they are known; None where the date is not."""
        if self.clicks[index] is None:
            return None
        known = [count for count in self.clicks[max(index - WEEK + 1, 0) : index + 1] if count is not None]
        return sum(known) / len(known)


@attrs.frozen
class Summary:
    """The groups, those with the most clicks first."""

    dates: Sequence[datetime.date]
    series: tuple[Series, ...]

    @property
    def total(self) -> int:
        """All clicks."""
        return sum(series.total for series in self.series)

    def top(self, count: int) -> Summary:
        """The `count` largest; the others, if they are more than one, summed as `other` at the end."""
        rest = self.series[count:]
        if len(rest) < 2:
            return self
        clicks = tuple(_add(day) for day in zip(*(series.clicks for series in rest), strict=True))
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
        records: those of `dates`, in any order; others are left out.
        dates: what the series are to span, such as `date_range(start, end)`.
        known: the dates that are known whole: a group without a record had no clicks then. On the other dates it is
            not known how many it had. None for all dates that have records.
    """
    places = {date: place for place, date in enumerate(dates)}
    found: dict[int, dict[int, int]] = {}
    names: dict[int, tuple[int, str]] = {}
    seen: set[int] = set()

    def add(record: GroupClicks) -> None:
        place = places.get(record.date)
        if place is None:
            return
        seen.add(place)
        found.setdefault(record.group_id, {})[place] = record.clicks
        if place >= names.get(record.group_id, (-1, ""))[0]:
            names[record.group_id] = place, record.group_name

    if isinstance(records, AsyncIterable):
        async for record in records:
            add(record)
    else:
        for record in records:
            add(record)
    whole = seen if known is None else {place for date, place in places.items() if date in known}
    labels = _labels({group: name for group, (_, name) in names.items()})
    total = sum(sum(clicks.values()) for clicks in found.values())
    series = [
        Series(
            labels[group],
            tuple(clicks.get(place, 0 if place in whole else None) for place in range(len(dates))),
            sum(clicks.values()) / total if total else 0.0,
        )
        for group, clicks in found.items()
    ]
    return Summary(dates, tuple(sorted(series, key=lambda s: (-s.total, s.label))))


def _labels(names: dict[int, str]) -> dict[int, str]:
    """One label a group, on one line; with the id where a name is empty or not the only one."""
    flat = {group: " ".join(_without_controls(name).split()) for group, name in names.items()}
    times = Counter(flat.values())
    return {group: name if name and times[name] == 1 else f"{name} #{group}".strip() for group, name in flat.items()}


def _without_controls(name: str) -> str:
    """A name may hold anything, and must not command the terminal that shows it."""
    return "".join(" " if unicodedata.category(character) == "Cc" else character for character in name)


def _add(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
