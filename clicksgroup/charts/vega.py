"""Charts in a file: small multiples as HTML, SVG or PNG. vl-convert draws them without a network or a browser."""

from __future__ import annotations

import datetime
import html
import itertools
import json
import os
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs

from clicksgroup.charts.series import Series, Summary, date_span, percent_change, percent_share
from clicksgroup.errors import ConfigurationError

FORMATS = ("html", "svg", "png")
THEMES = ("light", "dark")


def render(
    summary: Summary,
    format: str,  # noqa: A002
    *,
    theme: str = "light",
    top: int = 24,
    fonts: str | os.PathLike[str] | None = None,
) -> bytes:
    """Draw one chart for each group, the largest group first, each with its own scale from 0.

    The file loads nothing from elsewhere. HTML and SVG use the fonts of the viewer's machine. PNG uses the fonts of
    this machine. If none of them has the characters of a name (Korean on a bare server), a warning says so: install a
    font that has them, such as Debian's `fonts-nanum`, or name a folder with `fonts`.

    Args:
        summary: what to draw.
        format: `html`, `svg` or `png`.
        theme: `light` or `dark`.
        top: how many groups get their own chart; the others are summed as `other`.
        fonts: a folder with more fonts for PNG.

    Raises:
        ConfigurationError: an unknown format or theme, or a summary without clicks.
        ImportError: the extra `chart` is missing.
    """
    if format not in FORMATS:
        raise ConfigurationError(f"format: {format!r} is not supported; use one of {', '.join(FORMATS)}")
    try:
        import vl_convert
    except ImportError as error:
        raise ImportError('charts in a file need an extra: pip install "clicksgroup[chart]"') from error
    chart = specification(summary, theme=theme, top=top)
    if format == "svg":
        return vl_convert.vegalite_to_svg(chart).encode()
    if format == "html":
        safe = json.dumps(chart).replace("<", _LESS_THAN)
        page = vl_convert.vegalite_to_html(safe, bundle=True, renderer="svg").replace(_LESS_THAN, "\\u003c")
        return _with_head(page, _title(summary), _PALETTES[theme]).encode()
    if fonts is not None:
        vl_convert.register_font_directory(str(Path(fonts).resolve()))
    if missing := _without_font(vl_convert, "".join(series.label for series in summary.top(top).series)):
        warnings.warn(
            f"no font on this machine has {missing[0]!r}, so the chart shows boxes instead; install a font that has "
            "it, such as Debian's fonts-nanum for Korean, or name a folder of fonts (fonts=); HTML and SVG use the "
            "viewer's fonts",
            stacklevel=2,
        )
    return vl_convert.vegalite_to_png(chart, scale=_PNG_SCALE)


def specification(summary: Summary, *, theme: str = "light", top: int = 24) -> dict[str, Any]:
    """The chart as a Vega-Lite specification.

    Raises:
        ConfigurationError: an unknown theme, or a summary without clicks.
    """
    if theme not in THEMES:
        raise ConfigurationError(f"theme: {theme!r} is not a theme; use one of {', '.join(THEMES)}")
    shown = summary.top(top)
    if not shown.series:
        raise ConfigurationError("the summary has no clicks to draw")
    palette = _PALETTES[theme]
    groups = [_description(number, series) for number, series in enumerate(shown.series)]
    points = [point for number, series in enumerate(shown.series) for point in _points(number, series, shown.dates)]
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "title": {"text": _title(summary), "subtitle": _subtitle(summary), "anchor": "start", "offset": 12},
        "data": {"values": points},
        "transform": [{"lookup": "group", "from": {"data": {"values": groups}, "key": "group", "fields": [*_FIELDS]}}],
        "facet": {"field": "group", "header": {"title": None, "labelExpr": "''", "labelPadding": 0}},
        "columns": _columns(len(shown.series)),
        "spacing": {"row": 14, "column": 32},
        "spec": {"width": _WIDTH, "height": _HEIGHT, "layer": _layers(len(shown.dates), palette)},
        "resolve": {"scale": {"y": "independent"}, "axis": {"x": "independent"}},
        "config": _config(palette),
        "background": palette.background,
        "padding": 20,
        # Vega-Embed's other actions need a network.
        "usermeta": {
            "embedOptions": {"actions": {"export": True, "source": False, "compiled": False, "editor": False}}
        },
    }


# Hangul first where a system has it: Apple's, Microsoft's and Linux's own fonts, then any other.
_FONTS = (
    "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', 'Apple SD Gothic Neo', 'Malgun Gothic', 'Noto Sans CJK KR', "
    "'Noto Sans KR', NanumGothic, 'Noto Sans', 'DejaVu Sans', sans-serif"
)

# Stands for "<" until the page is made: vl-convert copies names into a script as they are, "</script>" included.
_LESS_THAN = "\ue03c"

# The size of one chart in pixels.
_WIDTH, _HEIGHT = 240, 84

# Pixels that the labels of the y axis take. Titles begin where they do.
_INDENT = 30

# The ticks of the y axis, about.
_TICKS = 3

# For screens with two pixels to the point.
_PNG_SCALE = 2.0

# From this many days on, weekends make a sawtooth, so the line is the mean of the last 7 days.
_MANY_DAYS = 90

# A group whose clicks changed by this much or less is drawn in the colour of alarm.
_FALL = -0.5


@attrs.frozen
class _Palette:
    background: str
    ink: str
    quiet: str
    grid: str
    normal: str
    fallen: str
    other: str


_PALETTES = {
    "light": _Palette("#ffffff", "#1f2328", "#656d76", "#e4e7eb", "#2f6fde", "#d1242f", "#8b949e"),
    "dark": _Palette("#15181e", "#e6e9ee", "#98a1ad", "#2b313a", "#6ba4ff", "#ff7b72", "#8b949e"),
}


def _points(number: int, series: Series, dates: Sequence[datetime.date]) -> Iterator[dict[str, Any]]:
    clicks = [None, *series.clicks, None]
    for index, date in enumerate(dates):
        before, count, after = clicks[index : index + 3]
        point: dict[str, Any] = {"group": number, "date": str(date), "clicks": count}
        if len(dates) >= _MANY_DAYS:
            point["mean"] = series.weekly_mean(index)
        # A line would not show a date between two gaps.
        if count is not None and before is None and after is None:
            point["alone"] = True
        yield point


_FIELDS = ("title", "facts", "kind")


def _description(number: int, series: Series) -> dict[str, Any]:
    change = series.change
    facts = [f"{series.total:,} clicks", percent_share(series.share)]
    if change is not None:
        facts.append(f"7 days {percent_change(change)}")
    fallen = change is not None and change.ratio is not None and change.ratio <= _FALL
    label = f"{series.label} ({series.groups:,} groups)" if series.groups > 1 else series.label
    kind = "other" if series.groups > 1 else "fallen" if fallen else "normal"
    return {"group": number, "title": _shortened(label), "facts": " · ".join(facts), "kind": kind}


def _layers(days: int, palette: _Palette) -> list[dict[str, Any]]:
    many = days >= _MANY_DAYS
    colours = {"normal": palette.normal, "fallen": palette.fallen, "other": palette.other}
    y = {
        "field": "clicks",
        "type": "quantitative",
        # A group without any clicks gets an axis from 0 to 1.
        "scale": {"domain": {"unionWith": [0, 1]}, "nice": _TICKS},
        "axis": {"tickCount": _TICKS, "tickMinStep": 1, "labelExpr": "datum.value ? format(datum.value, '~s') : '0'"},
    }
    shape = {
        "x": {"field": "date", "type": "temporal", "scale": {"type": "utc"}, "axis": _date_axis(days)},
        "y": y,
        "color": {"field": "kind", "scale": {"domain": [*colours], "range": [*colours.values()]}, "legend": None},
        "tooltip": [
            {"field": "date", "timeUnit": "utcyearmonthdate", "title": "date", "format": "%Y-%m-%d"},
            {"field": "clicks", "type": "quantitative", "title": "clicks", "format": ",d"},
        ],
    }
    alarm = {"condition": {"test": "datum.kind === 'fallen'", "value": palette.fallen}, "value": palette.quiet}
    return [
        {"mark": {"type": "area", "opacity": 0.3 if many else 0.16}, "encoding": shape},
        {
            "mark": {"type": "line", "strokeWidth": 1.6},
            "encoding": shape | {"y": y | {"field": "mean" if many else "clicks"}},
        },
        {
            "transform": [{"filter": "datum.alone"}],
            "mark": {"type": "point", "filled": True, "size": 14},
            "encoding": shape,
        },
        _heading("title", 28, {"value": palette.ink}, fontSize=13, fontWeight=600),
        _heading("facts", 12, alarm, fontSize=11),
    ]


def _heading(field: str, height: int, color: dict[str, Any], **font: float) -> dict[str, Any]:
    """A line of text above a chart: Vega-Lite's own headers have one style, and one colour for all charts."""
    return {
        "transform": [{"aggregate": [], "groupby": [field, "kind"]}],
        "mark": {"type": "text", "align": "left", "baseline": "bottom", "limit": _WIDTH, **font},
        "encoding": {"text": {"field": field}, "color": color, "x": {"value": -_INDENT}, "y": {"value": -height}},
    }


def _shortened(label: str) -> str:
    """A label that fits over its chart. It is cut in the middle, since names of campaigns differ at the end."""
    if sum(map(_pixels, label)) <= _WIDTH:
        return label
    room = (_WIDTH - _pixels("…")) / 2
    head, tail = _fitting(label, room), _fitting(label[::-1], room)[::-1]
    return f"{head.rstrip()}…{tail.lstrip()}"


def _fitting(text: str, room: float) -> str:
    widths = itertools.accumulate(map(_pixels, text))
    return text[: sum(width <= room for width in widths)]


def _pixels(char: str) -> float:
    """The width of a character of a title in a wide font. The viewer's font is not known; most are narrower."""
    if unicodedata.combining(char):
        return 0.0
    if char == " ":
        return 4.6
    return 13.0 if unicodedata.east_asian_width(char) in "WF" else 10.5 if char.isupper() else 8.8


def _date_axis(days: int) -> dict[str, Any]:
    if days <= 70:
        return {"format": "%-d %b", "tickCount": 4, "labelOverlap": True}
    if days <= 800:
        return {"format": "%b", "tickCount": {"interval": "month", "step": 1 if days <= 150 else 2}}
    return {"format": "%Y", "tickCount": {"interval": "year", "step": 1}}


def _config(palette: _Palette) -> dict[str, Any]:
    return {
        "font": _FONTS,
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
        "axisY": {"minExtent": _INDENT},
        "line": {"strokeJoin": "round"},
        "title": {
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


def _title(summary: Summary) -> str:
    return f"Clicks by group, {date_span(summary.dates)}"


def _subtitle(summary: Summary) -> list[str]:
    groups = sum(series.groups for series in summary.series)
    line = " Line: mean of 7 days." if len(summary.dates) >= _MANY_DAYS else ""
    gaps = " Gaps: not fetched." if any(None in series.clicks for series in summary.series) else ""
    return [
        f"{summary.total:,} clicks in {groups:,} group{'' if groups == 1 else 's'}",
        f"Each chart has its own scale. 7 days: the last 7 against the 7 before.{line}{gaps}",
    ]


def _with_head(page: str, title: str, palette: _Palette) -> str:
    style = f"<style>body{{background:{palette.background};margin:0}}</style>"
    return page.replace("<title>Chart</title>", f"<title>{html.escape(title)}</title>{style}", 1)


def _without_font(vl_convert: Any, text: str) -> list[str]:
    """The characters, one of each script, that look like a code point for which no font has a glyph."""
    by_script = {unicodedata.name(char, "?").split()[0]: char for char in text if ord(char) > 0x24F}
    return [char for char in by_script.values() if _drawn(vl_convert, char) == _drawn(vl_convert, "\U000ffffd")]


def _drawn(vl_convert: Any, char: str) -> bytes:
    text = f'<text y="30" font-size="24" font-family="{_FONTS}">{html.escape(char)}</text>'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40">{text}</svg>'
    drawn: bytes = vl_convert.svg_to_png(svg)
    return drawn
