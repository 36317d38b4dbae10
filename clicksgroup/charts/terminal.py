"""Charts for the terminal, as objects that rich prints. They fit the width of the console."""

from __future__ import annotations

import datetime
import itertools
import math
import statistics
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING

import attrs

from clicksgroup.charts.series import (
    WEEK,
    Clicks,
    Series,
    Summary,
    date_span,
    percent_change,
    percent_share,
    without_gaps,
)

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from clicksgroup.store import Coverage

BARS = "▁▂▃▄▅▆▇█"
ASCII_BARS = "_.-~=+*#"
GAP = "·"
ASCII_GAP = " "

# From so many columns on, the peak is shown, and with its date. On fewer columns names would become unreadable.
_PEAK_FROM, _PEAK_DATE_FROM = 58, 76

_LONGEST_NAME = 40
_LONGEST_SPARKLINE = 120
_SHORTEST_SPARKLINE = 4
_SHORT_NAME = 12

# Changes of at least this ratio get a colour.
_STEEP = 0.3


def table(summary: Summary, *, top: int = 40) -> RenderableType:
    """A row for each group: sparkline, clicks, share, peak, and the last 7 days against the 7 before.

    Each sparkline has its own scale, from 0. Groups beyond the `top` largest are summed as `other`.

    Raises:
        ImportError: the extra `cli` is missing.
    """
    return _shown(_ClicksTable(summary.top(top)))


def calendar(coverage: Coverage, failed: Container[datetime.date] = (), *, title: str | None = None) -> RenderableType:
    """A row for each month with a mark for each day: final, provisional, missing, or failed at the last attempt.

    Raises:
        ImportError: the extra `cli` is missing.
    """
    marks = dict.fromkeys(coverage.missing, "missing")
    marks |= dict.fromkeys(coverage.provisional, "provisional")
    marks |= {date: "failed" for date in marks if date in failed}
    marks |= dict.fromkeys(coverage.final, "final")
    return _shown(_Calendar(marks, title))


def _shown(renderable: _ClicksTable | _Calendar) -> RenderableType:
    """The same in a class of rich's own, since those show themselves in a notebook."""
    try:
        from rich.constrain import Constrain
    except ImportError as error:
        raise ImportError('charts in the terminal need an extra: pip install "clicksgroup[cli]"') from error
    return Constrain(renderable, width=None)


def sparkline(clicks: Clicks, width: int, *, ascii_only: bool = False) -> str:
    """The clicks as bars on a scale from 0 to the largest, in at most `width` columns; a gap where none are known.

    If there are more dates than columns, each bar is the mean of several dates. The last bar covers at most 7 dates,
    so that a fall that has just begun can be seen.
    """
    bars, gap = (ASCII_BARS, ASCII_GAP) if ascii_only else (BARS, GAP)
    columns = min(width, len(clicks))
    if columns > 1 and len(clicks) > columns * WEEK:
        parts = [*_equal_parts(clicks[:-WEEK], columns - 1), clicks[-WEEK:]]
    else:
        parts = _equal_parts(clicks, columns)
    means = [statistics.fmean(without_gaps(part)) if without_gaps(part) else None for part in parts]
    highest = max((mean for mean in means if mean is not None), default=0) or 1
    return "".join(gap if mean is None else bars[max(math.ceil(mean / highest * len(bars)) - 1, 0)] for mean in means)


def _equal_parts(clicks: Clicks, columns: int) -> list[Clicks]:
    return [clicks[i * len(clicks) // columns : (i + 1) * len(clicks) // columns] for i in range(columns)]


@attrs.frozen
class _ClicksTable:
    summary: Summary

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.cells import cell_len
        from rich.table import Table
        from rich.text import Text

        dates, series, width = self.summary.dates, self.summary.series, options.max_width
        yield Text(f"{self.summary.total:,} clicks, {date_span(dates)}" if dates else "no dates", style="bold")
        if not series:
            yield Text("no clicks are known", style="dim")
            return
        columns = {
            "clicks": [f"{one.total:,}" for one in series],
            "share": [percent_share(one.share) for one in series],
            "peak": [_peak(one, dates, with_date=width >= _PEAK_DATE_FROM) for one in series],
            "7 days": [percent_change(one.change) for one in series],
        }
        if width < _PEAK_FROM:
            del columns["peak"]
        labels = [f"{one.label} ({one.groups})" if one.groups > 1 else one.label for one in series]
        longest = min(max(map(cell_len, labels)), _LONGEST_NAME)
        # What the figures leave for the name and the sparkline, each with two blanks after it.
        left = width - 2 - sum(2 + max(map(cell_len, (head, *cells))) for head, cells in columns.items())
        name_width = max(min(longest, max(left * 3 // 5, min(left - _SHORTEST_SPARKLINE, _SHORT_NAME))), 5)
        spark_width = max(min(left - name_width, _LONGEST_SPARKLINE), _SHORTEST_SPARKLINE)
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column("group", width=name_width, overflow="ellipsis", no_wrap=True)
        table.add_column("", width=min(spark_width, len(dates)), no_wrap=True)
        for head in columns:
            table.add_column(head, justify="right", no_wrap=True)
        for one, label, cells in zip(series, labels, zip(*columns.values(), strict=True), strict=True):
            line = Text(sparkline(one.clicks, spark_width, ascii_only=options.ascii_only))
            line.highlight_regex(GAP, "dim")
            # With fewer columns than dates, the last bar is a mean that a date under way changes little.
            if len(line) == len(dates):
                for index in one.provisional:
                    line.stylize("dim", index, index + 1)
            *figures, change = cells
            table.add_row(Text(label, "dim" if one.groups > 1 else ""), line, *figures, Text(change, _colour(one)))
        yield table


@attrs.frozen
class _Calendar:
    marks: dict[datetime.date, str]
    title: str | None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        glyph = 1 if options.ascii_only else 0
        if self.title:
            yield Text(self.title, style="bold")
        yield Text(" " * 9 + "1      8      15     22     29", style="dim")
        for month, dates in itertools.groupby(sorted(self.marks), lambda date: str(date)[:7]):
            days = {date.day: self.marks[date] for date in dates}
            row = Text(f"{month}  ", no_wrap=True, overflow="ellipsis")
            for day in range(1, 32):
                glyphs, style = _MARKS[days[day]] if day in days else ("  ", "")
                row.append(glyphs[glyph], style)
            counts = {mark: list(days.values()).count(mark) for mark in ("missing", "failed")}
            lacking = ", ".join(f"{count} {mark}" for mark, count in counts.items() if count)
            if lacking and len(row) + 2 + len(lacking) <= options.max_width:
                row.append(f"  {lacking}", "dim")
            yield row
        legend = Text()
        for mark, (glyphs, style) in _MARKS.items():
            legend.append(glyphs[glyph], style)
            legend.append(f" {list(self.marks.values()).count(mark):,} {mark}   ")
        yield legend


# The glyph of each mark, that for terminals without Unicode, and its style.
_MARKS = {
    "final": ("■#", "green"),
    "provisional": ("□o", "yellow"),
    "missing": ("·.", "dim"),
    "failed": ("×x", "bold red"),
}


def _peak(series: Series, dates: Sequence[datetime.date], *, with_date: bool) -> str:
    if series.peak is None or not series.total:
        return "-"
    clicks, date = f"{series.clicks[series.peak]:,}", str(dates[series.peak])
    if not with_date:
        return clicks
    return f"{clicks} {date}" if len(dates) > 366 else f"{clicks} {date[5:]}"


def _colour(series: Series) -> str:
    ratio = series.change.ratio if series.change else None
    if ratio is None or abs(ratio) < _STEEP:
        return ""
    return "bold red" if ratio < 0 else "green"
