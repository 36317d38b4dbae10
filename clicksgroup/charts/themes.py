"""Colours and fonts of charts in a file."""

from __future__ import annotations

from typing import Any

import attrs

# Hangul first where a system has it: Apple's, Microsoft's and Linux's own fonts, then any other.
FONTS = (
    "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', 'Apple SD Gothic Neo', 'Malgun Gothic', 'Noto Sans CJK KR', "
    "'Noto Sans KR', NanumGothic, 'Noto Sans', 'DejaVu Sans', sans-serif"
)
"""Families of fonts, for the viewer or this machine to choose from."""

INDENT = 30
"""Pixels that the labels of the y axis take. Titles begin where they do."""


@attrs.frozen
class Palette:
    """The colours of a theme."""

    background: str
    ink: str
    quiet: str
    grid: str
    normal: str
    fallen: str
    other: str
    provisional: str


PALETTES = {
    "light": Palette("#ffffff", "#1f2328", "#656d76", "#e4e7eb", "#2f6fde", "#d1242f", "#8b949e", "#bf8700"),
    "dark": Palette("#15181e", "#e6e9ee", "#98a1ad", "#2b313a", "#6ba4ff", "#ff7b72", "#8b949e", "#d29922"),
}

THEMES = tuple(PALETTES)


def config(palette: Palette) -> dict[str, Any]:
    """The configuration of a Vega-Lite specification."""
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
        "axisY": {"minExtent": INDENT},
        "line": {"strokeJoin": "round"},
    }


def title_style(palette: Palette) -> dict[str, Any]:
    """How its title and subtitle look."""
    return {
        "color": palette.ink,
        "fontSize": 13,
        "fontWeight": 600,
        "subtitleColor": palette.quiet,
        "subtitleFontSize": 11,
        "subtitlePadding": 3,
    }
