"""Charts for the terminal, as things that rich prints. They fit the width that there is."""

from __future__ import annotations

import datetime
import math
from collections.abc import Container, Iterable, Sequence
from typing import TYPE_CHECKING

import attrs

from clicksgroup.charts import words
from clicksgroup.charts.series import WEEK, Clicks, Series, Summary

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.table import Table

    from clicksgroup.store import Coverage

BARS = "▁▂▃▄▅▆▇█"
PLAIN_BARS = "_.-~=+*#"
GAP = "·"
PLAIN_GAP = " "

NARROW = 76
"""Below this many columns the peak goes without its date."""

_LONGEST_NAME = 40
_SHORT_NAME = 12  # the peak goes before names get shorter
_PEAK = 2  # its place among the numbers
_LONGEST_SPARKLINE = 120
_SHORTEST_SPARKLINE = 4
_STEEP = 0.3  # a change that is worth a colour


def table(summary: Summary, *, top: int = 40) -> RenderableType:
    """A row a group: sparkline, clicks, share, peak, the last 7 days against the 7 before.

    Each sparkline has a scale of its own, from 0. Groups beyond the `top` largest are summed as `other`.

    Raises:
        ImportError: the extra `cli` is missing.
    """
    _needs_rich()
    return _ClicksTable(summary.top(top))


def calendar(coverage: Coverage, failed: Container[datetime.date] = (), *, title: str | None = None) -> RenderableType:
    """A row a month, a mark a day: final, provisional, missing, or failed when it was last asked for.

    Raises:
        ImportError: the extra `cli` is missing.
    """
    _needs_rich()
    marks = dict.fromkeys(coverage.missing, "missing")
    marks |= dict.fromkeys(coverage.provisional, "provisional")
    marks |= {date: "failed" for date in marks if date in failed}
    marks |= dict.fromkeys(coverage.final, "final")
    return _Calendar(marks, title)


def sparkline(clicks: Clicks, width: int, *, plain: bool = False) -> str:
    """The clicks as bars on a scale from 0 to the largest, in at most `width` columns; a gap where none are known.

    Where there are more dates than columns, each bar is the mean of the dates that fall into it; the last bar is never
    of more than 7, so that a fall shows that has just begun.
    """
    bars, gap = (PLAIN_BARS, PLAIN_GAP) if plain else (BARS, GAP)
    means = [_mean(part) for part in _parts(clicks, min(width, len(clicks)))]
    highest = max((mean for mean in means if mean is not None), default=0) or 1
    return "".join(gap if mean is None else bars[max(math.ceil(mean / highest * len(bars)) - 1, 0)] for mean in means)


def _parts(clicks: Clicks, columns: int) -> list[Clicks]:
    if columns > 1 and len(clicks) > columns * WEEK:
        return [*_equal_parts(clicks[:-WEEK], columns - 1), clicks[-WEEK:]]
    return _equal_parts(clicks, columns)


def _equal_parts(clicks: Clicks, columns: int) -> list[Clicks]:
    return [clicks[i * len(clicks) // columns : (i + 1) * len(clicks) // columns] for i in range(columns)]


@attrs.frozen
class _ClicksTable:
    summary: Summary

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.cells import cell_len
        from rich.text import Text

        width, series = options.max_width, self.summary.series
        dates = self.summary.dates
        narrow, plain = width < NARROW, not options.encoding.startswith("utf")
        title = f"{self.summary.total:,} clicks, {words.span(dates[0], dates[-1])}" if dates else "no dates"
        yield Text(title, style="bold")
        if not series:
            yield Text("no clicks are known", style="dim")
            return
        numbers = [_numbers(one, dates, narrow=narrow) for one in series]
        heads = ("clicks", "share", "peak", "7 days")
        widths = [max(map(cell_len, column)) + 2 for column in zip(heads, *numbers, strict=True)]
        longest = min(max(cell_len(_label(one)) for one in series), _LONGEST_NAME)
        left = width - sum(widths) - 2
        without_peak = left * 3 // 5 < min(longest, _SHORT_NAME)
        if without_peak:
            left += widths[_PEAK]
        name_width = max(min(longest, max(left * 3 // 5, min(left - _SHORTEST_SPARKLINE, _SHORT_NAME))), 5)
        spark_width = max(min(left - name_width, _LONGEST_SPARKLINE), _SHORTEST_SPARKLINE)
        table = _bare_table()
        table.add_column("group", width=name_width, overflow="ellipsis", no_wrap=True)
        table.add_column("", width=min(spark_width, len(dates)), no_wrap=True)
        columns = [place for place in range(len(heads)) if not (without_peak and place == _PEAK)]
        for place in columns:
            table.add_column(heads[place], justify="right", no_wrap=True)
        for one, row in zip(series, numbers, strict=True):
            style = "dim" if one.groups > 1 else ""
            line = Text(sparkline(one.clicks, spark_width, plain=plain))
            line.highlight_regex(GAP, "dim")
            cells = (*row[:-1], Text(row[-1], _colour(one)))
            table.add_row(Text(_label(one), style), line, *(cells[place] for place in columns))
        yield table


@attrs.frozen
class _Calendar:
    marks: dict[datetime.date, str]
    title: str | None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        plain = not options.encoding.startswith("utf")
        if self.title:
            yield Text(self.title, style="bold")
        months: dict[tuple[int, int], list[datetime.date]] = {}
        for date in sorted(self.marks):
            months.setdefault((date.year, date.month), []).append(date)
        yield Text(" " * 9 + "1      8      15     22     29", style="dim")
        for (year, month), dates in months.items():
            row = Text(f"{year:04}-{month:02}  ", no_wrap=True, overflow="ellipsis")
            days = {date.day: self.marks[date] for date in dates}
            for day in range(1, 32):
                glyphs, style = _MARKS[days[day]] if day in days else ("  ", "")
                row.append(glyphs[plain], style)
            counts = {mark: sum(one == mark for one in days.values()) for mark in ("missing", "failed")}
            lacking = ", ".join(f"{count} {mark}" for mark, count in counts.items() if count)
            row.append(f"  {lacking}" if lacking else "", "dim")
            yield row
        legend = Text()
        for mark, (glyphs, style) in _MARKS.items():
            count = sum(one == mark for one in self.marks.values())
            legend.append(glyphs[plain], style)
            legend.append(f" {count:,} {mark}   ")
        yield legend


_MARKS = {
    "final": ("■#", "green"),
    "provisional": ("□o", "yellow"),
    "missing": ("·.", "dim"),
    "failed": ("×x", "bold red"),
}


def _bare_table() -> Table:
    from rich.table import Table

    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")


def _numbers(series: Series, dates: Sequence[datetime.date], *, narrow: bool) -> tuple[str, str, str, str]:
    peak = "-"
    if series.peak is not None and series.total:
        peak = f"{series.clicks[series.peak]:,}"
        if not narrow:
            peak += f" {dates[series.peak]:%m-%d}" if len(dates) <= 366 else f" {dates[series.peak]}"
    return f"{series.total:,}", words.share(series.share), peak, words.change(series.change)


def _label(series: Series) -> str:
    return f"{series.label} ({series.groups})" if series.groups > 1 else series.label


def _colour(series: Series) -> str:
    ratio = series.change.ratio if series.change else None
    if ratio is None or abs(ratio) < _STEEP:
        return ""
    return "bold red" if ratio < 0 else "green"


def _mean(clicks: Iterable[int | None]) -> float | None:
    known = [count for count in clicks if count is not None]
    return sum(known) / len(known) if known else None


def _needs_rich() -> None:
    try:
        import rich.table  # noqa: F401
    except ImportError as error:
        raise ImportError('charts in the terminal need an extra: pip install "clicksgroup[cli]"') from error
