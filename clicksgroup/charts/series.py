"""Reduces records to a series of clicks for each group, and writes its figures as text. Nothing is drawn here."""

from __future__ import annotations

import datetime
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import AsyncIterable, Container, Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import attrs

from clicksgroup.dates import consecutive_dates
from clicksgroup.exports import column_chunks
from clicksgroup.models import GroupClicks

if TYPE_CHECKING:
    from clicksgroup.store import Coverage

Clicks: TypeAlias = tuple[int | None, ...]
"""Clicks of each date; None where the date is not known."""

WEEK = 7
"""Days that are compared with as many days before. Whole weeks, since weekends differ."""

# The time zones of the Earth span 26 hours, so three dates at most had not ended when they were fetched.
_MOST_UNFINISHED = 3

# Of the 7 days, how many must be known together with the same weekday a week earlier.
_FEWEST_PAIRS = 4

# Ranges of dates that a note names.
_MAX_RANGES = 3


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
        provisional: the indices of dates whose clicks may still change.
    """

    label: str
    clicks: Clicks
    share: float
    groups: int = 1
    provisional: frozenset[int] = frozenset()

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
        """The last 7 finished days against the 7 before; None if too few dates are known."""
        end = self._finished_end()
        if end < 2 * WEEK:
            return None
        last, before = self.clicks[end - WEEK : end], self.clicks[end - 2 * WEEK : end - WEEK]
        pairs = [(a, b) for a, b in zip(last, before, strict=True) if a is not None and b is not None]
        if len(pairs) < _FEWEST_PAIRS:
            return None
        return Change(sum(a for a, _ in pairs), sum(b for _, b in pairs))

    def weekly_means(self) -> list[float | None]:
        """The mean of each date and the 6 before, as far as they are known; None if it is not known or not finished."""
        means: list[float | None] = [None] * len(self.clicks)
        for index, clicks in enumerate(self.clicks[: self._finished_end()]):
            if clicks is not None:
                week = self.clicks[max(index - WEEK + 1, 0) : index + 1]
                means[index] = round(statistics.fmean(without_gaps(week)), 1)
        return means

    def _finished_end(self) -> int:
        """The index after the last date that counts fully. Provisional dates before the last three count as known."""
        last = self._known_indices()[-_MOST_UNFINISHED:]
        return max((index + 1 for index in last if index not in self.provisional), default=min(last, default=0))

    def _known_indices(self) -> list[int]:
        return [index for index, count in enumerate(self.clicks) if count is not None]


@attrs.frozen
class Summary:
    """The groups' series, those with the most clicks first.

    Args:
        dates: what the series span.
        series: one for each group.
        provisional: the dates whose clicks may still change.
        missing: the dates that are not known.
    """

    dates: Sequence[datetime.date]
    series: tuple[Series, ...]
    provisional: Sequence[datetime.date] = ()
    missing: Sequence[datetime.date] = ()

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
        share, groups = sum(series.share for series in rest), sum(series.groups for series in rest)
        other = Series("other", clicks, share, groups, rest[0].provisional)
        return attrs.evolve(self, series=(*self.series[:count], other))


async def summarise(
    records: Iterable[GroupClicks] | AsyncIterable[GroupClicks],
    dates: Sequence[datetime.date],
    *,
    known: Container[datetime.date] | None = None,
    provisional: Container[datetime.date] = (),
) -> Summary:
    """Reduce records to series.

    Args:
        records: in any order; those of other dates are left out.
        dates: what the series span, such as `date_range(start, end)`.
        known: the dates that were fetched whole, on which a group without a record had no clicks. On other dates its
            clicks are not known. None: all dates that have records.
        provisional: known dates whose clicks may still change, such as today. Up to three of them at the end may not
            have ended, so they are left out of the last 7 days.
    """
    indices = {date: index for index, date in enumerate(dates)}
    found: defaultdict[int, dict[int, int]] = defaultdict(dict)
    # The last date that has a record of each group, and the group's name on it.
    named: dict[int, tuple[int, str]] = {}
    async for columns in column_chunks(records):
        for date, group, name, clicks, _ in zip(*columns, strict=True):
            index = indices.get(date)
            if index is not None:
                found[group][index] = clicks
                if index >= named.get(group, (0, ""))[0]:
                    named[group] = index, name
    if known is None:
        whole = {index for clicks in found.values() for index in clicks}
    else:
        whole = {index for date, index in indices.items() if date in known}
    changing = frozenset(index for index in whole if dates[index] in provisional)
    labels = _labels({group: name for group, (_, name) in named.items()})
    without_records = [0 if index in whole else None for index in range(len(dates))]
    total = sum(sum(clicks.values()) for clicks in found.values())
    series = [
        Series(
            labels[group],
            tuple(map(clicks.get, range(len(dates)), without_records)),
            sum(clicks.values()) / total if total else 0.0,
            provisional=changing,
        )
        for group, clicks in found.items()
    ]
    return Summary(
        dates,
        tuple(sorted(series, key=lambda one: (-one.total, one.label))),
        [date for date, index in indices.items() if index in changing],
        [date for date, index in indices.items() if index not in whole],
    )


def percent_share(share: float) -> str:
    """A share of 1 in percent."""
    return f"{share:.0%}" if share >= 0.0995 or share == 0 else f"{share:.1%}" if share >= 0.0005 else "<0.1%"


def percent_change(change: Change | None) -> str:
    """A change in percent, or as a factor where it is large; `stopped` without clicks; a dash if it is not known."""
    if change is None:
        return "-"
    if change.ratio is None:
        return "new" if change.last else "stopped"
    return f"{change.ratio:+z.0%}" if change.ratio < 9.995 else f"x{change.ratio + 1:,.0f}"


def date_span(dates: Sequence[datetime.date]) -> str:
    """The first and the last of the dates."""
    return f"{dates[0]}" if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"


def coverage_notes(covered: Summary | Coverage) -> list[str]:
    """One sentence each about the dates of a summary or a store that are provisional and those that are missing.

    >>> import datetime
    >>> from clicksgroup.charts import coverage_notes
    >>> from clicksgroup.store import Coverage
    >>> days = [datetime.date(2025, 1, day) for day in (3, 5, 6, 7)]
    >>> for note in coverage_notes(Coverage(final=[], provisional=days[3:], missing=days[:3])):
    ...     print(note)
    1 date is provisional and may still change: 2025-01-07.
    3 dates are missing: 2025-01-03, 2025-01-05 to 2025-01-06.
    """
    notes = []
    for dates, state in ((covered.provisional, "provisional and may still change"), (covered.missing, "missing")):
        if dates:
            count = "1 date is" if len(dates) == 1 else f"{len(dates):,} dates are"
            notes.append(f"{count} {state}: {_date_ranges(dates)}.")
    return notes


def _date_ranges(dates: Sequence[datetime.date]) -> str:
    """The first three ranges, and how many dates follow."""
    ranges = list(consecutive_dates(dates))
    shown, rest = ranges[:_MAX_RANGES], ranges[_MAX_RANGES:]
    more = f" and {sum(map(len, rest)):,} more" if rest else ""
    return ", ".join(map(date_span, shown)) + more


def without_gaps(clicks: Iterable[int | None]) -> list[int]:
    """The clicks of the known dates."""
    return [count for count in clicks if count is not None]


def _labels(names: dict[int, str]) -> dict[int, str]:
    """A label of one line for each group, with the id if its name is empty or not unique."""
    flat = {group: " ".join(_CONTROLS.sub(" ", name).split()) for group, name in names.items()}
    times = Counter(flat.values())
    return {group: name if name and times[name] == 1 else f"{name} #{group}".strip() for group, name in flat.items()}


# Control characters (all of Unicode's category Cc), which could command the terminal.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
