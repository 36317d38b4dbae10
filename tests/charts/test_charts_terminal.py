"""Charts in a terminal fit its width, in any script."""

from __future__ import annotations

import datetime
import io
import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clicksgroup import charts
from clicksgroup.charts.series import Clicks
from clicksgroup.charts.terminal import BARS, GAP, sparkline
from clicksgroup.dates import date_range
from clicksgroup.store import Coverage
from tests.charts.data import DATES, FALLING, records, summary


def test_sparkline() -> None:
    """A sparkline has its own scale from 0, and shows gaps."""
    assert sparkline((0, 50, None, 100), 10) == f"{BARS[0]}{BARS[3]}{GAP}{BARS[-1]}"


def test_sparkline_shows_recent_fall() -> None:
    """A fall that has just begun can be seen at any width."""
    clicks = (1000,) * 358 + (100,) * 7
    for width in (4, 20, 52, 120):
        line = sparkline(clicks, width)
        assert len(line) == width
        assert line[-1] == BARS[0]
        assert line[0] == BARS[-1]


@given(clicks=st.lists(st.one_of(st.none(), st.integers(0, 10**12))).map(tuple), width=st.integers(1, 50))
def test_sparkline_width(clicks: Clicks, width: int) -> None:
    """A sparkline takes a column for each date, and at most its width."""
    assert len(sparkline(clicks, width)) == min(width, len(clicks))


@pytest.mark.parametrize("width", [60, 100, 200])
@pytest.mark.parametrize("days", [1, 14, 365, 3650])
async def test_table_width(width: int, days: int) -> None:
    """The table fits its width with Korean names too, and its rows have one width."""
    dates = date_range("2020-01-01", datetime.date(2019, 12, 31) + datetime.timedelta(days=days))
    names = ["전자 제품 신규 회원 이벤트와 여름 캠페인을 위한 그룹", "Electronics", "🛒 shop", "x" * 200]
    printed = await print_table({name: [n + 1234] * days for n, name in enumerate(names)}, dates, width)
    from rich.cells import cell_len

    lines = printed.rstrip("\n").split("\n")
    assert all(cell_len(line) <= width for line in lines)
    assert len({cell_len(line.rstrip()) for line in lines[2:]}) == 1
    assert len(lines) == 6


async def test_table_rows() -> None:
    """A row shows name, sparkline, clicks, share, peak and change."""
    printed = await print_table({"steady": [100] * 14, "falling": FALLING}, DATES, 100)
    lines = printed.splitlines()
    assert lines[0].strip() == "2,170 clicks, 2025-01-01 to 2025-01-14"
    assert re.split(r"  +", lines[2].strip()) == ["steady", BARS[-1] * 14, "1,400", "65%", "100 01-01", "+0%"]
    assert re.split(r"  +", lines[3].strip()) == [
        "falling",
        BARS[-1] * 7 + BARS[0] * 7,
        "770",
        "35%",
        "100 01-01",
        "-90%",
    ]


async def test_narrow_table() -> None:
    """The peak is left out before names become unreadable."""
    names = ["Summer campaign", "Winter campaign"]
    wide = (await print_table({name: [123_456_789] * 14 for name in names}, DATES, 100)).splitlines()
    narrow = (await print_table({name: [123_456_789] * 14 for name in names}, DATES, 50)).splitlines()
    assert "peak" in wide[1]
    assert "peak" not in narrow[1]
    assert "7 days" in narrow[1]
    assert [line[:11] for line in narrow[2:]] == ["Summer camp", "Winter camp"]
    assert all(len(line) <= 50 for line in narrow)


async def test_table_without_clicks() -> None:
    """A summary without groups says that no clicks are known."""
    assert "no clicks are known" in await print_table({}, DATES, 80)


async def test_ascii_terminal() -> None:
    """A terminal without Unicode gets ASCII; any other character would fail to encode."""
    from rich.console import Console

    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    coverage = Coverage([DATES[0]], [DATES[1]], list(DATES[2:]))
    console = Console(file=file, width=100)
    console.print(charts.table(await summary({"falling": FALLING})))
    console.print(charts.calendar(coverage))
    file.flush()


def test_calendar() -> None:
    """Every day has a mark, and the marks are counted."""
    dates = date_range("2025-01-30", "2025-02-03")
    coverage = Coverage([dates[0]], [dates[1], dates[2]], [dates[3], dates[4]])
    printed = print_wide(charts.calendar(coverage, {dates[0], dates[3]}, title="default"), 80)
    assert [line.rstrip() for line in printed.splitlines()] == [
        "default",
        "         1      8      15     22     29",
        "2025-01" + " " * 31 + "■□",
        "2025-02  □×·" + " " * 28 + "  1 missing, 1 failed",
        "■ 1 final   □ 2 provisional   · 1 missing   × 1 failed",
    ]


async def print_table(clicks: dict[str, Any], dates: Sequence[datetime.date], width: int) -> str:
    return print_wide(charts.table(await summary(clicks, dates)), width)


def print_wide(renderable: Any, width: int) -> str:
    from rich.console import Console

    file = io.StringIO()
    Console(file=file, width=width).print(renderable)
    return file.getvalue()


async def test_provisional_bars() -> None:
    """The bars of provisional dates are dim."""
    from rich.console import Console

    result = await charts.summarise(records({"a": [5] * 13 + [1]}), DATES, provisional=DATES[13:])
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system="standard")
    console.print(charts.table(result))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert f"{BARS[-1]}\x1b[2m{BARS[1]}\x1b[0m" in lines[2]


def test_narrow_calendar() -> None:
    """At 40 columns each day has its mark; what does not fit is left out, not cut."""
    dates = date_range("2025-01-01", "2025-01-31")
    printed = print_wide(charts.calendar(Coverage([], [], list(dates))), 40).splitlines()
    assert printed[1].rstrip() == "2025-01  " + "·" * 31


async def test_notebook() -> None:
    """A table and a calendar show themselves in a notebook, and print nothing."""
    for shown in (charts.table(await summary({"<b>a</b>": FALLING})), charts.calendar(Coverage([], [], list(DATES)))):
        bundle = shown._repr_mimebundle_(include=None, exclude=None)  # type: ignore[union-attr]
        assert bundle["text/html"].startswith("<pre")
        assert "<b>" not in bundle["text/html"]
        assert bundle["text/plain"].strip()
