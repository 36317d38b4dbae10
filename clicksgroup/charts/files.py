"""Charts in a file: HTML, SVG or PNG. vl-convert draws them without a network or a browser."""

from __future__ import annotations

import html
import json
import re
import unicodedata
import warnings
from typing import Any

from clicksgroup.charts.series import Summary
from clicksgroup.charts.vega import FONTS, Specification, load_vl_convert, specification
from clicksgroup.errors import ConfigurationError

FORMATS = ("html", "svg", "png")


def render(summary: Summary, format: str, *, theme: str = "light", top: int = 24) -> bytes:  # noqa: A002
    """Draw one chart for each group, the largest group first, each with its own scale from 0.

    The file loads nothing from elsewhere. HTML and SVG use the fonts of the viewer's machine. PNG uses the fonts of
    this machine. If none of them has the characters of a name (Korean on a bare server), a warning says so: install a
    font that has them, such as Debian's `fonts-nanum`, or give `vl_convert.register_font_directory` a folder with one.

    Args:
        summary: what to draw.
        format: `html`, `svg` or `png`.
        theme: `light` or `dark`.
        top: how many groups get their own chart; the others are summed as `other`.

    Raises:
        ConfigurationError: an unknown format or theme, or a summary without clicks.
        ImportError: the extra `chart` is missing.
    """
    if format not in FORMATS:
        raise ConfigurationError(f"format: {format!r} is not supported; use one of {', '.join(FORMATS)}")
    vl_convert = load_vl_convert()
    chart = specification(summary, theme=theme, top=top)
    if format == "svg":
        return chart.svg().encode()
    if format == "html":
        return _page(vl_convert, chart).encode()
    if missing := _without_font(vl_convert, "".join(series.label for series in summary.top(top).series)):
        warnings.warn(
            f"no font on this machine has {missing[0]!r}, so the chart shows boxes instead; install a font that has "
            "it, such as Debian's fonts-nanum for Korean; HTML and SVG use the viewer's fonts",
            stacklevel=2,
        )
    # For screens with two pixels to the point.
    png: bytes = vl_convert.vegalite_to_png(chart, scale=2.0)
    return png


def _without_font(vl_convert: Any, text: str) -> list[str]:
    """The characters, one of each script, that look like a code point for which no font has a glyph."""
    by_script = {unicodedata.name(char, "?").split()[0]: char for char in text if ord(char) > 0x24F}
    return [char for char in by_script.values() if _drawn(vl_convert, char) == _drawn(vl_convert, "\U000ffffd")]


def _drawn(vl_convert: Any, char: str) -> bytes:
    text = f'<text y="30" font-size="24" font-family="{FONTS}">{html.escape(char)}</text>'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40">{text}</svg>'
    drawn: bytes = vl_convert.svg_to_png(svg)
    return drawn


def _page(vl_convert: Any, chart: Specification) -> str:
    """A page that loads nothing, fits a phone, and uses the width of a desktop. Title and subtitle are text."""
    heading, style = chart["title"], chart["config"]["title"]
    lines = heading["text"], *heading["subtitle"]
    title, *notes = (re.sub(r"\d{4}-\d\d-\d\d", r"<time>\g<0></time>", html.escape(line)) for line in lines)
    paragraphs = "".join(f"<p>{note}</p>" for note in notes)
    # Names cannot end the script in which they stand.
    embedded = json.dumps({name: part for name, part in chart.items() if name != "title"}).replace("<", "\\u003c")
    css = _STYLE % {"background": chart["background"], "ink": style["color"], "quiet": style["subtitleColor"]}
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(heading["text"])}</title>
<style>{css}</style>
</head>
<body>
<header><h1>{title}</h1>{paragraphs}</header>
<main id="charts"></main>
<script type="application/json" id="specification">{embedded}</script>
<script>{vl_convert.javascript_bundle(_SCRIPT)}</script>
</body>
</html>
"""


_STYLE = """
html{overflow-y:scroll}
body{background:%(background)s;color:%(ink)s;margin:0;padding:16px;font:14px/1.4 system-ui,sans-serif}
h1{font-size:17px;margin:0 0 4px}
p{color:%(quiet)s;font-size:12px;margin:0}
time{white-space:nowrap}
header{margin-bottom:20px;padding-right:40px}
#charts{display:block}
#charts.vega-embed,#charts .vega-embed{padding:0;position:static}
"""

# vl-convert puts Vega's libraries before it.
_SCRIPT = """
const place = document.getElementById("charts");
const chart = JSON.parse(document.getElementById("specification").textContent);
const gap = chart.spacing.column, indent = chart.config.axisY.minExtent;
// From this width on, in pixels, charts stand side by side.
const narrowest = 270;
let width = 0, drawn = null;
async function draw() {
  if (place.clientWidth === width) return;
  width = place.clientWidth;
  const columns = Math.min(Math.max(Math.floor((width + gap) / (narrowest + gap)), 1), chart.concat.length);
  // A few pixels less, for the half of a dot that is right of the last date.
  const each = Math.floor((width - 4 - gap * (columns - 1)) / columns) - indent;
  const height = Math.min(Math.max(chart.concat[0].height, Math.round(each / 3)), 240);
  const concat = chart.concat.map(one => ({...one, width: each, height}));
  if (drawn) drawn.finalize();
  drawn = await vegaEmbed(place, {...chart, concat, columns, padding: 0});
}
addEventListener("resize", lodashDebounce(draw, 150));
draw();
"""
