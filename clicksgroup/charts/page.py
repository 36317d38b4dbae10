"""The HTML page of a chart: one file that loads nothing, fits a phone, and uses the width of a desktop."""

from __future__ import annotations

import html
import json
import re
from typing import Any

_DATE = re.compile(r"\d{4}-\d\d-\d\d")

# From this width on, in pixels, charts stand side by side.
_NARROWEST = 270


def page(vl_convert: Any, chart: dict[str, Any]) -> str:
    """The page that draws a Vega-Lite specification of small multiples, with its title and subtitle as text."""
    heading, background = chart["title"], chart["background"]
    lines = heading["text"], *heading["subtitle"]
    title, *notes = (_DATE.sub(r"<time>\g<0></time>", html.escape(line)) for line in lines)
    paragraphs = "".join(f"<p>{note}</p>" for note in notes)
    # Names cannot end the script in which they stand.
    embedded = json.dumps({name: part for name, part in chart.items() if name != "title"}).replace("<", "\\u003c")
    script = vl_convert.javascript_bundle(_SCRIPT.replace("NARROWEST", str(_NARROWEST)))
    style = _STYLE % {"background": background, "ink": heading["color"], "quiet": heading["subtitleColor"]}
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(heading["text"])}</title>
<style>{style}</style>
</head>
<body>
<header><h1>{title}</h1>{paragraphs}</header>
<main id="charts"></main>
<script type="application/json" id="specification">{embedded}</script>
<script>{script}</script>
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
let width = 0, drawn = null;
async function draw() {
  if (place.clientWidth === width) return;
  width = place.clientWidth;
  const columns = Math.min(Math.max(Math.floor((width + gap) / (NARROWEST + gap)), 1), chart.usermeta.charts);
  // A few pixels less, for the half of a dot that is right of the last date.
  const each = Math.floor((width - 4 - gap * (columns - 1)) / columns) - indent;
  const height = Math.min(Math.max(chart.spec.height, Math.round(each / 3)), 240);
  if (drawn) drawn.finalize();
  drawn = await vegaEmbed(place, {...chart, columns, padding: 0, spec: {...chart.spec, width: each, height}});
}
addEventListener("resize", lodashDebounce(draw, 150));
draw();
"""
