"""Charts in a file: small multiples as HTML, SVG or PNG, made by vl-convert without a network or a browser."""

from __future__ import annotations

import html
import itertools
import json
import os
import unicodedata
import warnings
from pathlib import Path
from typing import Any

import attrs

from clicksgroup.charts import words
from clicksgroup.charts.series import Series, Summary
from clicksgroup.errors import ConfigurationError

FORMATS = ("html", "svg", "png")
THEMES = ("light", "dark")

# Hangul first where a system has it: each of Apple's, Microsoft's and Linux's own, then whatever there is.
_FONTS = (
    "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', 'Apple SD Gothic Neo', 'Malgun Gothic', 'Noto Sans CJK KR', "
    "'Noto Sans KR', NanumGothic, 'Noto Sans', 'DejaVu Sans', sans-serif"
)


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

# Stands for "<" until the page is made: vl-convert puts names into a script as they are, "</script>" included.
_LESS_THAN = "\ue03c"

_WIDTH, _HEIGHT = 240, 84  # of one chart, in pixels
_MANY_DAYS = 90  # from here on days are a sawtooth of weeks, and the line is the mean of the last 7
_FALL = -0.5  # a change that gives a chart the colour of alarm
_PNG_SCALE = 2.0  # pixels of a screen that has two for each


def render(
    summary: Summary,
    format: str,  # noqa: A002 - what everybody calls it
    *,
    theme: str = "light",
    top: int = 24,
    fonts: str | os.PathLike[str] | None = None,
) -> bytes:
    """Small multiples, the largest first, each on a scale of its own from 0.

    The file holds all it needs. HTML and SVG use the fonts of whoever looks at them. PNG uses those of this machine:
    where none has the characters of a name (Korean on a bare server), a warning says so; install one, such as
    Debian's `fonts-nanum`, or name a folder with `fonts`.

    Args:
        summary: what to draw.
        format: `html`, `svg` or `png`.
        theme: `light` or `dark`.
        top: how many groups get a chart of their own; the others are summed as `other`.
        fonts: a folder of fonts to use besides the system's, for PNG.

    Raises:
        ConfigurationError: a format or theme that does not exist, nothing to draw.
        ImportError: the extra `chart` is missing.
    """
    if format not in FORMATS:
        raise ConfigurationError(f"format: {format!r} is none of {', '.join(FORMATS)}")
    try:
        import vl_convert
    except ImportError as error:
        raise ImportError('charts in a file need an extra: pip install "clicksgroup[chart]"') from error
    specified = specification(summary, theme=theme, top=top)
    if format == "svg":
        return vl_convert.vegalite_to_svg(specified).encode()
    if format == "html":
        disarmed = json.dumps(specified).replace("<", _LESS_THAN)
        page = vl_convert.vegalite_to_html(disarmed, bundle=True, renderer="svg").replace(_LESS_THAN, "\\u003c")
        return _titled(page, _title(summary), _PALETTES[theme]).encode()
    if fonts is not None:
        vl_convert.register_font_directory(str(Path(fonts).resolve()))
    if missing := _without_font(vl_convert, "".join(series.label for series in summary.top(top).series)):
        warnings.warn(
            f"no font here has {missing[0]!r}, so the chart shows boxes instead: install one that has it, such as "
            "Debian's fonts-nanum for Korean, or name a folder of fonts; HTML and SVG use the viewer's fonts",
            stacklevel=2,
        )
    return vl_convert.vegalite_to_png(specified, scale=_PNG_SCALE)


def specification(summary: Summary, *, theme: str = "light", top: int = 24) -> dict[str, Any]:
    """The chart as Vega-Lite.

    Raises:
        ConfigurationError: a theme that does not exist, nothing to draw.
    """
    if theme not in THEMES:
        raise ConfigurationError(f"theme: {theme!r} is none of {', '.join(THEMES)}")
    shown = summary.top(top)
    if not shown.series:
        raise ConfigurationError("there are no clicks to draw")
    palette = _PALETTES[theme]
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "title": {"text": _title(summary), "subtitle": _subtitle(summary), "anchor": "start", "offset": 18},
        "columns": _columns(len(shown.series)),
        "spacing": {"row": 28, "column": 32},
        "concat": [_chart(series, shown, palette) for series in shown.series],
        "config": _config(palette),
        "background": palette.background,
        "padding": 20,
        # Of what Vega-Embed offers beside the chart, only saving it works without a network.
        "usermeta": {
            "embedOptions": {"actions": {"export": True, "source": False, "compiled": False, "editor": False}}
        },
    }


def _chart(series: Series, summary: Summary, palette: _Palette) -> dict[str, Any]:
    change = series.change
    ratio = change.ratio if change else None
    fallen = ratio is not None and ratio <= _FALL
    colour = palette.other if series.groups > 1 else palette.fallen if fallen else palette.normal
    facts = [f"{series.total:,} clicks", words.share(series.share)]
    if change is not None:
        facts.append(f"7 days {words.change(change)}")
    x = {
        "field": "d",
        "type": "temporal",
        "scale": {"type": "utc", "domain": [str(summary.dates[0]), str(summary.dates[-1])]},
        "axis": _date_axis(len(summary.dates)),
    }
    ticks = _ticks(max((count for count in series.clicks if count is not None), default=0))
    y = {
        "field": "c",
        "type": "quantitative",
        "scale": {"domain": [0, ticks[-1]]},
        "axis": {"values": ticks, "labelExpr": "datum.value ? format(datum.value, '~s') : '0'"},
    }
    tooltip = [
        {"field": "d", "type": "temporal", "timeUnit": "utcyearmonthdate", "title": "date", "format": "%Y-%m-%d"},
        {"field": "c", "type": "quantitative", "title": "clicks", "format": ",d"},
    ]
    shape = {"x": x, "y": y, "tooltip": tooltip}
    smooth = len(summary.dates) >= _MANY_DAYS
    line = shape | {"y": y | {"field": "m"}} if smooth else shape
    layers: list[dict[str, Any]] = [
        {"mark": {"type": "area", "color": colour, "opacity": 0.3 if smooth else 0.16}, "encoding": shape},
        {"mark": {"type": "line", "color": colour, "strokeWidth": 1.6}, "encoding": line},
    ]
    values = _values(series, summary)
    if any("alone" in value for value in values):
        layers.append(
            {
                "transform": [{"filter": "datum.alone"}],
                "mark": {"type": "point", "color": colour, "filled": True, "size": 14},
                "encoding": shape,
            }
        )
    label = f"{series.label} ({series.groups:,} groups)" if series.groups > 1 else series.label
    return {
        "title": {
            "text": _shortened(label),
            "subtitle": " · ".join(facts),
            "subtitleColor": palette.fallen if fallen else palette.quiet,
            "limit": _WIDTH,
        },
        "width": _WIDTH,
        "height": _HEIGHT,
        "data": {"values": values},
        "layer": layers,
    }


def _shortened(label: str) -> str:
    """A label as wide as its chart at most, cut in the middle: names of campaigns differ at the end."""
    if sum(map(_pixels, label)) <= _WIDTH:
        return label
    room = (_WIDTH - _pixels("…")) / 2
    head, tail = _fitting(label, room), _fitting(label[::-1], room)[::-1]
    return f"{head.rstrip()}…{tail.lstrip()}"


def _fitting(text: str, room: float) -> str:
    widths = itertools.accumulate(map(_pixels, text))
    return text[: sum(width <= room for width in widths)]


def _pixels(char: str) -> float:
    """About as wide as a character of a title is in a wide font: no font is at hand, and one wider than was thought
    would have its titles cut at the end after all.
    """
    if unicodedata.combining(char):
        return 0.0
    if char == " ":
        return 4.6
    return 13.0 if unicodedata.east_asian_width(char) in "WF" else 10.5 if char.isupper() else 8.8


def _values(series: Series, summary: Summary) -> list[dict[str, Any]]:
    """The points: clicks, and their mean of a week; one is alone where a line would not show it, between two gaps."""
    known = [None, *series.clicks, None]
    values: list[dict[str, Any]] = []
    for i, date in enumerate(summary.dates, 1):
        value: dict[str, Any] = {"d": str(date), "c": known[i]}
        if len(summary.dates) >= _MANY_DAYS:
            mean = series.weekly_mean(i - 1)
            value["m"] = None if mean is None else round(mean, 1)
        if known[i] is not None and known[i - 1] is None and known[i + 1] is None:
            value["alone"] = True
        values.append(value)
    return values


def _date_axis(days: int) -> dict[str, Any]:
    if days <= 70:
        return {"format": "%-d %b", "tickCount": 4, "labelOverlap": True}
    if days <= 800:
        return {"format": "%b", "tickCount": {"interval": "month", "step": 1 if days <= 150 else 2}}
    return {"format": "%Y", "tickCount": {"interval": "year", "step": 1}}


def _ticks(highest: int) -> list[int]:
    """Two to five round numbers from 0 that hold the highest; the topmost is the top, so that all charts line up."""
    power = 10 ** max(len(str(highest)) - 2, 0)
    step = next(step for n in (1, 2, 5, 10, 20, 50) if (step := n * power) * 4 >= highest)
    return [i * step for i in range(max(-(-highest // step), 1) + 1)]


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
        "axisY": {"minExtent": 30},
        "line": {"strokeJoin": "round"},
        "title": {
            "anchor": "start",
            "color": palette.ink,
            "subtitleColor": palette.quiet,
            "fontSize": 13,
            "fontWeight": 600,
            "subtitleFontSize": 11,
            "subtitlePadding": 3,
            "offset": 8,
        },
    }


def _columns(charts: int) -> int:
    return charts if charts <= 3 else 2 if charts == 4 else 3 if charts <= 12 else 4


def _title(summary: Summary) -> str:
    return f"Clicks by group, {words.span(summary.dates[0], summary.dates[-1])}"


def _subtitle(summary: Summary) -> list[str]:
    groups = sum(series.groups for series in summary.series)
    line = " Line: mean of 7 days." if len(summary.dates) >= _MANY_DAYS else ""
    gaps = " Gaps: not fetched." if any(None in series.clicks for series in summary.series) else ""
    return [
        f"{summary.total:,} clicks in {groups:,} groups",
        f"Each chart has a scale of its own. 7 days: the last 7 against the 7 before.{line}{gaps}",
    ]


def _titled(page: str, title: str, palette: _Palette) -> str:
    style = f"<style>body{{background:{palette.background};margin:0}}</style>"
    return page.replace("<title>Chart</title>", f"<title>{html.escape(title)}</title>{style}", 1)


def _without_font(vl_convert: Any, text: str) -> list[str]:
    """Characters that no font has: they are drawn as a code point is that never has a glyph. One of each script."""
    of_script = {unicodedata.name(char, "?").split()[0]: char for char in text if ord(char) > 0x24F}
    return [char for char in of_script.values() if _drawn(vl_convert, char) == _drawn(vl_convert, "\U000ffffd")]


def _drawn(vl_convert: Any, char: str) -> bytes:
    text = f'<text y="30" font-size="24" font-family="{_FONTS}">{html.escape(char)}</text>'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40">{text}</svg>'
    drawn: bytes = vl_convert.svg_to_png(svg)
    return drawn
