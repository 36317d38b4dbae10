"""Charts in a file: small multiples as HTML, SVG or PNG. vl-convert draws them without a network or a browser."""

from __future__ import annotations

import datetime
import html
import itertools
import os
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from clicksgroup.charts.page import page
from clicksgroup.charts.series import (
    WEEK,
    Series,
    Summary,
    coverage_notes,
    date_span,
    percent_change,
    percent_share,
)
from clicksgroup.charts.themes import FONTS, INDENT, PALETTES, THEMES, Palette, config, title_style
from clicksgroup.errors import ConfigurationError

FORMATS = ("html", "svg", "png")


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
    vl_convert = _vl_convert()
    chart = specification(summary, theme=theme, top=top)
    if format == "svg":
        return _titled_svg(vl_convert, chart).encode()
    if format == "html":
        return page(vl_convert, chart).encode()
    if fonts is not None:
        vl_convert.register_font_directory(str(Path(fonts).resolve()))
    if missing := _without_font(vl_convert, "".join(series.label for series in summary.top(top).series)):
        warnings.warn(
            f"no font on this machine has {missing[0]!r}, so the chart shows boxes instead; install a font that has "
            "it, such as Debian's fonts-nanum for Korean, or name a folder of fonts (fonts=); HTML and SVG use the "
            "viewer's fonts",
            stacklevel=2,
        )
    png: bytes = vl_convert.vegalite_to_png(chart, scale=_PNG_SCALE)
    return png


class Specification(dict[str, Any]):
    """A Vega-Lite specification, which a notebook shows as a picture."""

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"image/svg+xml": _titled_svg(_vl_convert(), self)}


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
    palette = PALETTES[theme]
    groups = [_description(number, series) for number, series in enumerate(shown.series)]
    points = [point for number, series in enumerate(shown.series) for point in _points(number, series, shown.dates)]
    return Specification(
        {
            "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
            "description": _title(summary),
            "title": {"text": _title(summary), "subtitle": _subtitle(summary), "anchor": "start", "offset": 12}
            | title_style(palette),
            "data": {"values": points},
            "transform": [
                {"lookup": "group", "from": {"data": {"values": groups}, "key": "group", "fields": [*_FIELDS]}}
            ],
            "facet": {"field": "group", "header": {"title": None, "labelExpr": "''", "labelPadding": 0}},
            "columns": _columns(len(shown.series)),
            "spacing": {"row": 14, "column": 32},
            "spec": {"width": _WIDTH, "height": _HEIGHT, "layer": _layers(shown.dates, palette)},
            "resolve": {"scale": {"y": "independent"}, "axis": {"x": "independent"}},
            "config": config(palette),
            "background": palette.background,
            "padding": 20,
            # Vega-Embed's other actions need a network.
            "usermeta": {
                "charts": len(shown.series),
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

# For screens with two pixels to the point.
_PNG_SCALE = 2.0

# From this many days on, weekends make a sawtooth, so the line is the mean of the last 7 days.
_MANY_DAYS = 90

# A group whose clicks changed by this much or less is drawn in the colour of alarm.
_FALL = -0.5


def _points(number: int, series: Series, dates: Sequence[datetime.date]) -> Iterator[dict[str, Any]]:
    clicks = [None, *series.clicks, None]
    means = series.weekly_means() if len(dates) >= _MANY_DAYS else None
    for index, date in enumerate(dates):
        before, count, after = clicks[index : index + 3]
        point: dict[str, Any] = {"group": number, "date": str(date), "clicks": count}
        if means is not None:
            point["mean"] = means[index]
        # A line would not show a date between two gaps.
        if count is not None and before is None and after is None:
            point["alone"] = True
        if index in series.provisional:
            point["provisional"] = True
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


def _layers(dates: Sequence[datetime.date], palette: Palette) -> list[dict[str, Any]]:
    many = len(dates) >= _MANY_DAYS
    colours = {"normal": palette.normal, "fallen": palette.fallen, "other": palette.other}
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
        "scale": {"type": "utc", "domain": [_milliseconds(dates[0]), _milliseconds(dates[-1])]},
        "axis": _date_axis(dates),
    }
    shape = {
        "x": x,
        "y": y,
        "color": {"field": "kind", "scale": {"domain": [*colours], "range": [*colours.values()]}, "legend": None},
        "tooltip": [
            {"field": "date", "timeUnit": "utcyearmonthdate", "title": "date", "format": "%Y-%m-%d"},
            {"field": "clicks", "type": "quantitative", "title": "clicks", "format": ",d"},
        ],
    }
    alarm = {"condition": {"test": "datum.kind === 'fallen'", "value": palette.fallen}, "value": palette.quiet}
    return [
        {
            "mark": {"type": "area", "opacity": 0.3 if many else 0.16},
            # A group without any clicks gets an axis from 0 to 1.
            "encoding": shape | {"y": y | {"scale": {"domain": {"unionWith": [0, 1]}, "nice": _TICKS}}},
        },
        {
            "mark": {"type": "line", "strokeWidth": 1.6},
            "encoding": shape | {"y": y | {"field": "mean" if many else "clicks"}},
        },
        {
            "transform": [{"filter": "datum.alone"}],
            "mark": {"type": "point", "filled": True, "size": 14},
            "encoding": shape,
        },
        {
            "transform": [{"filter": "datum.provisional"}],
            "mark": {"type": "point", "shape": "square", "filled": True, "size": 14, "opacity": 1, "yOffset": 3},
            "encoding": shape | {"y": {"value": "height"}, "color": {"value": palette.provisional}},
        },
        _heading("title", 28, {"value": palette.ink}, fontSize=13, fontWeight=600),
        _heading("facts", 12, alarm, fontSize=11),
    ]


def _milliseconds(date: datetime.date) -> int:
    return int(datetime.datetime.combine(date, datetime.time(), datetime.UTC).timestamp() * 1000)


def _heading(field: str, height: int, color: dict[str, Any], **font: float) -> dict[str, Any]:
    """A line of text above a chart: Vega-Lite's own headers have one style, and one colour for all charts."""
    return {
        "transform": [{"aggregate": [], "groupby": [field, "kind"]}],
        "mark": {"type": "text", "align": "left", "baseline": "bottom", "limit": _WIDTH, **font},
        "encoding": {"text": {"field": field}, "color": color, "x": {"value": -INDENT}, "y": {"value": -height}},
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


def _columns(charts: int) -> int:
    return charts if charts <= 3 else 2 if charts == 4 else 3 if charts <= 12 else 4


def _title(summary: Summary) -> str:
    return f"Clicks by group, {date_span(summary.dates)}"


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


def _vl_convert() -> Any:
    try:
        import vl_convert
    except ImportError as error:
        raise ImportError('charts in a file need an extra: pip install "clicksgroup[chart]"') from error
    return vl_convert


def _titled_svg(vl_convert: Any, chart: Specification) -> str:
    """An SVG with a title, which is its accessible name and its tooltip in a browser."""
    svg: str = vl_convert.vegalite_to_svg(chart)
    tag, _, rest = svg.partition(">")
    return f'{tag} role="img"><title>{html.escape(chart["description"])}</title>{rest}'


def _without_font(vl_convert: Any, text: str) -> list[str]:
    """The characters, one of each script, that look like a code point for which no font has a glyph."""
    by_script = {unicodedata.name(char, "?").split()[0]: char for char in text if ord(char) > 0x24F}
    return [char for char in by_script.values() if _drawn(vl_convert, char) == _drawn(vl_convert, "\U000ffffd")]


def _drawn(vl_convert: Any, char: str) -> bytes:
    text = f'<text y="30" font-size="24" font-family="{FONTS}">{html.escape(char)}</text>'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40">{text}</svg>'
    drawn: bytes = vl_convert.svg_to_png(svg)
    return drawn
