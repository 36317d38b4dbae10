"""Numbers, shares and dates as charts write them."""

from __future__ import annotations

import datetime

from clicksgroup.charts.series import Change


def share(value: float) -> str:
    """A share in percent."""
    return f"{value:.0%}" if value >= 0.0995 or value == 0 else f"{value:.1%}" if value >= 0.0005 else "<0.1%"


def change(value: Change | None) -> str:
    """How much more or less, in percent; a dash where it is not known."""
    if value is None:
        return "-"
    if value.ratio is None:
        return "new" if value.last else "0%"
    return f"{value.ratio:+.0%}" if value.ratio < 9.995 else f"x{value.ratio + 1:,.0f}"


def span(start: datetime.date, end: datetime.date) -> str:
    """Two dates, both included."""
    return f"{start}" if start == end else f"{start} to {end}"
