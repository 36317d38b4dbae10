"""Charts of clicks: a table with sparklines, small multiples in a file, a calendar of a store's dates. Provisional.

`summarise` reduces records to a `Summary`. `table` (extra `cli`) and `render` (extra `chart`) draw it. `calendar`
(extra `cli`) draws a `Coverage`. All of them count clicks: unique users do not add up over days or groups.

What `specification`, `table` and `calendar` return shows itself where it is the last line of a notebook's cell.
"""

from clicksgroup.charts.files import FORMATS, render
from clicksgroup.charts.series import Change, Series, Summary, coverage_notes, summarise
from clicksgroup.charts.terminal import calendar, table
from clicksgroup.charts.vega import THEMES, Specification, specification

__all__ = [
    "FORMATS",
    "THEMES",
    "Change",
    "Series",
    "Specification",
    "Summary",
    "calendar",
    "coverage_notes",
    "render",
    "specification",
    "summarise",
    "table",
]
