"""Charts of clicks: a table with sparklines, small multiples in a file, a calendar of a store's dates. Provisional.

`summarise` reduces records to a `Summary`. `table` (extra `cli`) and `render` (extra `chart`) draw it. `calendar`
(extra `cli`) draws a `Coverage`. All of them count clicks: unique users do not add up over days or groups.
"""

from clicksgroup.charts.series import Change, Series, Summary, summarise
from clicksgroup.charts.terminal import calendar, table
from clicksgroup.charts.vega import FORMATS, THEMES, render, specification

__all__ = [
    "FORMATS",
    "THEMES",
    "Change",
    "Series",
    "Summary",
    "calendar",
    "render",
    "specification",
    "summarise",
    "table",
]
