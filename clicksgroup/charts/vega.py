"""The chart of a summary as a Vega-Lite specification: small multiples, the largest group first."""

from __future__ import annotations

import datetime
import html
import unicodedata
from calendar import timegm
from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from clicksgroup.charts.series import (
    WEEK,
    Series,
    Summary,
    coverage_notes,
    date_span,
    percent_change,
    percent_share,
)
from clicksgroup.errors import ConfigurationError

# Hangul first where a system has it: Apple's, Microsoft's and Linux's own fonts, then any other.
FONTS = (
    "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', 'Apple SD Gothic Neo', 'Malgun Gothic', 'Noto Sans CJK KR', "
    "'Noto Sans KR', NanumGothic, 'Noto Sans', 'DejaVu Sans', sans-serif"
)
"""Families of fonts, for the viewer or this machine to choose from."""


@attrs.frozen
class _Palette:
    """The colours of a theme."""

    background: str
    ink: str
    quiet: str
    grid: str
    normal: str
    fallen: str
    other: str
    provisional: str


_PALETTES = {
    "light": _Palette("#ffffff", "#1f2328", "#656d76", "#e4e7eb", "#2f6fde", "#d1242f", "#8b949e", "#bf8700"),
    "dark": _Palette("#15181e", "#e6e9ee", "#98a1ad", "#2b313a", "#6ba4ff", "#ff7b72", "#8b949e", "#d29922"),
}

THEMES = tuple(_PALETTES)


class Specification(dict[str, Any]):
    """A Vega-Lite specification, which a notebook shows as a picture."""

    def svg(self) -> str:
        """The chart as SVG, with a title, which is its accessible name and its tooltip in a browser.

        Raises:
            ImportError: the extra `chart` is missing.
        """
        tag, _, rest = load_vl_convert().vegalite_to_svg(self).partition(">")
        return f'{tag} role="img"><title>{html.escape(self["description"])}</title>{rest}'

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"image/svg+xml": self.svg()}


def specification(summary: Summary, *, theme: str = "light", top: int = 24) -> Specification:
    """The chart as a Vega-Lite specification, which a notebook shows as a picture.

    Raises:
        ConfigurationError: an unknown theme, or a summary without clicks.
    """
    if theme not in THEMES:
        raise ConfigurationError(f"theme: {theme!r} is not a theme; use one of {', '.join(THEMES)}")
    shown = summary.top(top)
    if not shown.series:
        raise ConfigurationError("the summary has no clicks to draw")
    palette = _PALETTES[theme]
    title = f"Clicks by group, {date_span(summary.dates)}"
    return Specification(
        {
            "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
            "description": title,
            "title": {"text": title, "subtitle": _subtitle(summary), "offset": 24},
            "concat": [_chart(series, shown.dates, palette) for series in shown.series],
            "columns": _columns(len(shown.series)),
            "spacing": {"row": 26, "column": 32},
            "config": _config(palette),
            "background": palette.background,
            "padding": 20,
            # Vega-Embed's other actions need a network.
            "usermeta": {
                "embedOptions": {
                    "renderer": "svg",
                    "actions": {"export": True, "source": False, "compiled": False, "editor": False},
                },
            },
        }
    )


# The size of one chart in pixels.
_WIDTH, _HEIGHT = 240, 84

# The ticks of the y axis, about.
_TICKS = 3

# From this many days on, weekends make a sawtooth, so the line is the mean of the last 7 days.
_MANY_DAYS = 90

# A group whose clicks changed by this much or less is drawn in the colour of alarm.
_FALL = -0.5


def _chart(series: Series, dates: Sequence[datetime.date], palette: _Palette) -> dict[str, Any]:
    many = len(dates) >= _MANY_DAYS
    label = f"{series.label} ({series.groups:,} groups)" if series.groups > 1 else series.label
    facts = [f"{series.total:,} clicks", percent_share(series.share)]
    change = series.change
    if change is not None:
        facts.append(f"7 days {percent_change(change)}")
    fallen = change is not None and change.ratio is not None and change.ratio <= _FALL
    y = {
        "field": "clicks",
        "type": "quantitative",
        "scale": {"nice": _TICKS},
        "axis": {"tickCount": _TICKS, "tickMinStep": 1, "labelExpr": "datum.value ? format(datum.value, '~s') : '0'"},
    }
    x = {
        "field": "date",
        "type": "temporal",
        # Given, since charts without a point in one of the layers would warn in the browser's console.
        "scale": {"type": "utc", "domain": [timegm(date.timetuple()) * 1000 for date in (dates[0], dates[-1])]},
        "axis": _date_axis(dates),
    }
    return {
        "title": {
            "text": _shortened(label),
            "subtitle": " · ".join(facts),
            "subtitleColor": palette.fallen if fallen and series.groups == 1 else palette.quiet,
            "frame": "bounds",
            "limit": _WIDTH,
        },
        "width": _WIDTH,
        "height": _HEIGHT,
        "data": {"values": list(_points(series, dates))},
        "encoding": {
            "x": x,
            "y": y,
            "color": {"value": palette.other if series.groups > 1 else palette.fallen if fallen else palette.normal},
            "tooltip": [
                {"field": "date", "timeUnit": "utcyearmonthdate", "title": "date", "format": "%Y-%m-%d"},
                {"field": "clicks", "type": "quantitative", "title": "clicks", "format": ",d"},
            ],
        },
        "layer": [
            {
                "mark": {"type": "area", "opacity": 0.3 if many else 0.16},
                # A group without any clicks gets an axis from 0 to 1.
                "encoding": {"y": y | {"scale": {"domain": {"unionWith": [0, 1]}, "nice": _TICKS}}},
            },
            {
                "mark": {"type": "line", "strokeWidth": 1.6},
                "encoding": {"y": y | {"field": "mean" if many else "clicks"}},
            },
            {
                "transform": [{"filter": "datum.alone"}],
                "mark": {"type": "point", "filled": True, "size": 14},
            },
            {
                "transform": [{"filter": "datum.provisional"}],
                "mark": {"type": "point", "shape": "square", "filled": True, "size": 14, "opacity": 1, "yOffset": 3},
                "encoding": {"y": {"value": "height"}, "color": {"value": palette.provisional}},
            },
        ],
    }


def _points(series: Series, dates: Sequence[datetime.date]) -> Iterator[dict[str, Any]]:
    clicks = [None, *series.clicks, None]
    means = series.weekly_means() if len(dates) >= _MANY_DAYS else None
    for index, date in enumerate(dates):
        before, count, after = clicks[index : index + 3]
        point: dict[str, Any] = {"date": str(date), "clicks": count}
        if means is not None:
            point["mean"] = means[index]
        # A line would not show a date between two gaps.
        if count is not None and before is None and after is None:
            point["alone"] = True
        if index in series.provisional:
            point["provisional"] = True
        yield point


def _shortened(label: str) -> str:
    """A label that fits over its chart. It is cut in the middle, since names of campaigns differ at the end."""
    shown, kept = label, len(label) // 2
    while sum(map(_pixels, shown)) > _WIDTH:
        shown = f"{label[:kept].rstrip()}…{label[-kept:].lstrip()}"
        kept -= 1
    return shown


def _pixels(char: str) -> float:
    """The width of a character of a title in a wide font. The viewer's font is not known; most are narrower."""
    if unicodedata.combining(char):
        return 0.0
    if char == " ":
        return 4.6
    return 13.0 if unicodedata.east_asian_width(char) in "WF" else 10.5 if char.isupper() else 8.8


def _date_axis(dates: Sequence[datetime.date]) -> dict[str, Any]:
    days, one_year = len(dates), dates[0].year == dates[-1].year
    if days > 800:
        return {"format": "%Y", "tickCount": {"interval": "year", "step": 1}}
    if days <= 70:
        axis: dict[str, Any] = {"format": "%-d %b", "tickCount": 4, "labelOverlap": True}
        in_new_year = "true"
    else:
        axis = {"format": "%b", "tickCount": {"interval": "month", "step": 1 if days <= 150 else 2}}
        in_new_year = "datum.index === 0 || utcmonth(datum.value) === 0"
    if not one_year:
        # The year on a second line, of months only where it begins.
        axis["labelExpr"] = f"{in_new_year} ? [datum.label, utcFormat(datum.value, '%Y')] : datum.label"
    return axis


def _config(palette: _Palette) -> dict[str, Any]:
    return {
        "font": FONTS,
        "view": {"stroke": None},
        "axis": {
            "domain": False,
            "ticks": False,
            "title": None,
            "gridColor": palette.grid,
            "labelColor": palette.quiet,
            "labelFontSize": 10,
            "labelPadding": 5,
        },
        "axisX": {"grid": False, "labelFlush": True},
        # Pixels that the labels take, so that all charts are as wide. Titles begin where the labels do.
        "axisY": {"minExtent": 30},
        "line": {"strokeJoin": "round"},
        "title": {
            "anchor": "start",
            "color": palette.ink,
            "fontSize": 13,
            "fontWeight": 600,
            "subtitleColor": palette.quiet,
            "subtitleFontSize": 11,
            "subtitlePadding": 3,
        },
    }


def _columns(charts: int) -> int:
    return charts if charts <= 3 else 2 if charts == 4 else 3 if charts <= 12 else 4


def _subtitle(summary: Summary) -> list[str]:
    groups = sum(series.groups for series in summary.series)
    line = f" Line: mean of {WEEK} days." if len(summary.dates) >= _MANY_DAYS else ""
    ended = ", without provisional dates at the end" if summary.provisional else ""
    dots = " Dots below the axis: provisional dates." if summary.provisional else ""
    return [
        f"{summary.total:,} clicks in {groups:,} group{'' if groups == 1 else 's'}",
        f"Each chart has its own scale. {WEEK} days: the last {WEEK} against the {WEEK} before{ended}.{line}{dots}",
        *coverage_notes(summary),
    ]


def load_vl_convert() -> Any:
    """The module `vl_convert` of the extra `chart`."""
    try:
        import vl_convert
    except ImportError as error:
        raise ImportError('charts in a file need an extra: pip install "clicksgroup[chart]"') from error
    return vl_convert
