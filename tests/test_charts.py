"""Charts show what happened to each group, at any width and in any script."""

from __future__ import annotations

import datetime
import io
import json
import re
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clicksgroup import charts
from clicksgroup.charts.series import Change, Clicks, Series
from clicksgroup.charts.terminal import BARS, GAP, sparkline
from clicksgroup.dates import date_range
from clicksgroup.errors import ConfigurationError
from clicksgroup.models import GroupClicks
from clicksgroup.store import Coverage

DATES = date_range("2025-01-01", "2025-01-14")


def records(clicks: dict[str, Sequence[int | None]], dates: Sequence[datetime.date] = DATES) -> list[GroupClicks]:
    return [
        GroupClicks(date, group, name, count, 0)
        for group, (name, counts) in enumerate(clicks.items(), 1)
        for date, count in zip(dates, counts, strict=True)
        if count is not None
    ]


async def summary(clicks: dict[str, Sequence[int | None]], dates: Sequence[datetime.date] = DATES) -> charts.Summary:
    return await charts.summarise(records(clicks, dates), dates, known=dates)


FALLING = [100] * 7 + [10] * 7


def described(specification: dict[str, Any]) -> list[dict[str, Any]]:
    """What a specification says of each group."""
    rows: list[dict[str, Any]] = specification["transform"][0]["from"]["data"]["values"]
    return rows


def drawn(specification: dict[str, Any]) -> list[dict[str, Any]]:
    """The points of a specification."""
    points: list[dict[str, Any]] = specification["data"]["values"]
    return points


class TestReduction:
    async def test_largest_group_first(self) -> None:
        """The group with the most clicks comes first; each has its share."""
        result = await summary({"a": [1] * 14, "b": [3] * 14})
        assert [(one.label, one.total, one.share) for one in result.series] == [("b", 42, 0.75), ("a", 14, 0.25)]
        assert result.total == 56

    async def test_unlisted_group(self) -> None:
        """A group that a known date does not list had no clicks then; on other dates its clicks are not known."""
        found = [GroupClicks(DATES[0], 1, "a", 5, 5), GroupClicks(DATES[1], 2, "b", 5, 5)]
        result = await charts.summarise(found, DATES[:3], known=[DATES[0]])
        assert [one.clicks for one in result.series] == [(5, None, None), (0, 5, None)]

    async def test_stream_of_records(self) -> None:
        """Records may come from an asynchronous iterable."""

        async def stream() -> Any:
            for record in records({"a": [1] * 14}):
                yield record

        assert (await charts.summarise(stream(), DATES)).total == 14

    async def test_change(self) -> None:
        """The last 7 days are compared with the 7 days before."""
        (one,) = (await summary({"a": FALLING})).series
        assert one.change == Change(70, 700)
        assert one.change.ratio == pytest.approx(-0.9)

    def test_change_with_unknown_dates(self) -> None:
        """A day counts only together with its weekday before, and four such pairs are needed."""
        clicks: Clicks = (100, 100, None, 100, 100, 100, 100, 10, 10, 10, 10, None, 10, 10, None)
        assert Series("a", clicks, 1.0).change == Change(50, 500)
        assert Series("a", (1,) * 13, 1.0).change is None
        assert Series("a", (None,) * 4 + (1,) * 10, 1.0).change is None

    async def test_other(self) -> None:
        """Groups beyond the largest are summed as `other`."""
        result = (await summary({"a": [9] * 14, "b": [2] * 14, "c": [1] * 14})).top(1)
        assert [(one.label, one.total, one.groups) for one in result.series] == [("a", 126, 1), ("other", 42, 2)]
        assert sum(one.share for one in result.series) == pytest.approx(1)

    async def test_labels(self) -> None:
        """A label is one line, and has the id where a name is empty or not unique."""
        twins = [GroupClicks(DATES[0], group, name, 1, 1) for group, name in ((1, "a"), (2, "a"), (3, ""), (4, "b\nc"))]
        result = await charts.summarise(twins, DATES[:1])
        assert [one.label for one in result.series] == ["#3", "a #1", "a #2", "b c"]

    async def test_renamed_group(self) -> None:
        """A group is shown by its latest name."""
        named = [GroupClicks(DATES[n], 1, name, 1, 1) for n, name in ((2, "new"), (0, "old"))]
        assert (await charts.summarise(named, DATES)).series[0].label == "new"


class TestTerminal:
    def test_sparkline(self) -> None:
        """A sparkline has its own scale from 0, and shows gaps."""
        assert sparkline((0, 50, None, 100), 10) == f"{BARS[0]}{BARS[3]}{GAP}{BARS[-1]}"

    def test_sparkline_shows_recent_fall(self) -> None:
        """A fall that has just begun can be seen at any width."""
        clicks = (1000,) * 358 + (100,) * 7
        for width in (4, 20, 52, 120):
            line = sparkline(clicks, width)
            assert len(line) == width
            assert line[-1] == BARS[0]
            assert line[0] == BARS[-1]

    @given(clicks=st.lists(st.one_of(st.none(), st.integers(0, 10**12))).map(tuple), width=st.integers(1, 50))
    def test_sparkline_width(self, clicks: Clicks, width: int) -> None:
        """A sparkline takes a column for each date, and at most its width."""
        assert len(sparkline(clicks, width)) == min(width, len(clicks))

    @pytest.mark.parametrize("width", [60, 100, 200])
    @pytest.mark.parametrize("days", [1, 14, 365, 3650])
    async def test_table_width(self, width: int, days: int) -> None:
        """The table fits its width with Korean names too, and its rows have one width."""
        dates = date_range("2020-01-01", datetime.date(2019, 12, 31) + datetime.timedelta(days=days))
        names = ["전자 제품 신규 회원 이벤트와 여름 캠페인을 위한 그룹", "Electronics", "🛒 shop", "x" * 200]
        printed = await self.printed({name: [n + 1234] * days for n, name in enumerate(names)}, dates, width)
        from rich.cells import cell_len

        lines = printed.rstrip("\n").split("\n")
        assert all(cell_len(line) <= width for line in lines)
        assert len({cell_len(line.rstrip()) for line in lines[2:]}) == 1
        assert len(lines) == 6

    async def test_table_rows(self) -> None:
        """A row shows name, sparkline, clicks, share, peak and change."""
        printed = await self.printed({"steady": [100] * 14, "falling": FALLING}, DATES, 100)
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

    async def test_narrow_table(self) -> None:
        """The peak is left out before names become unreadable."""
        names = ["Summer campaign", "Winter campaign"]
        wide = (await self.printed({name: [123_456_789] * 14 for name in names}, DATES, 100)).splitlines()
        narrow = (await self.printed({name: [123_456_789] * 14 for name in names}, DATES, 50)).splitlines()
        assert "peak" in wide[1]
        assert "peak" not in narrow[1]
        assert "7 days" in narrow[1]
        assert [line[:11] for line in narrow[2:]] == ["Summer camp", "Winter camp"]
        assert all(len(line) <= 50 for line in narrow)

    async def test_table_without_clicks(self) -> None:
        """A summary without groups says that no clicks are known."""
        assert "no clicks are known" in await self.printed({}, DATES, 80)

    async def test_ascii_terminal(self) -> None:
        """A terminal without Unicode gets ASCII; any other character would fail to encode."""
        from rich.console import Console

        file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        coverage = Coverage([DATES[0]], [DATES[1]], list(DATES[2:]))
        console = Console(file=file, width=100)
        console.print(charts.table(await summary({"falling": FALLING})))
        console.print(charts.calendar(coverage))
        file.flush()

    def test_calendar(self) -> None:
        """Every day has a mark, and the marks are counted."""
        dates = date_range("2025-01-30", "2025-02-03")
        coverage = Coverage([dates[0]], [dates[1], dates[2]], [dates[3], dates[4]])
        printed = self.captured(charts.calendar(coverage, {dates[0], dates[3]}, title="default"), 80)
        assert [line.rstrip() for line in printed.splitlines()] == [
            "default",
            "         1      8      15     22     29",
            "2025-01" + " " * 31 + "■□",
            "2025-02  □×·" + " " * 28 + "  1 missing, 1 failed",
            "■ 1 final   □ 2 provisional   · 1 missing   × 1 failed",
        ]

    async def printed(self, clicks: dict[str, Any], dates: Sequence[datetime.date], width: int) -> str:
        return self.captured(charts.table(await summary(clicks, dates)), width)

    def captured(self, renderable: Any, width: int) -> str:
        from rich.console import Console

        file = io.StringIO()
        Console(file=file, width=width).print(renderable)
        return file.getvalue()


class TestFiles:
    async def test_titles(self) -> None:
        """Each chart names its group, clicks, share and change, the largest group first; the whole names the dates."""
        specified = charts.specification(await summary({"steady": [100] * 14, "한국어": FALLING}))
        assert [(group["title"], group["facts"]) for group in described(specified)] == [
            ("steady", "1,400 clicks · 65% · 7 days +0%"),
            ("한국어", "770 clicks · 35% · 7 days -90%"),
        ]
        assert "2025-01-01 to 2025-01-14" in specified["title"]["text"]

    async def test_long_titles(self) -> None:
        """Long titles are cut in the middle, so that they still differ at their ends."""
        names = [
            f"{name}{end}" for name in ("Newsletter of spring " * 3, "봄맞이 신규 회원 이벤트 " * 3) for end in "AB"
        ]
        specified = charts.specification(await summary({name: [100] * 14 for name in names}))
        titles = {group["title"] for group in described(specified)}
        assert len(titles) == 4
        assert {(title[:5], title[-1]) for title in titles} == {(name[:5], name[-1]) for name in names}
        assert all("…" in title and len(title) < 36 for title in titles)

    @pytest.mark.parametrize("name", ["Headphones Partner blog 2025-03", "Headphones Search ads 2025-06"])
    async def test_title_in_wide_font(self, name: str) -> None:
        """A title is short enough for a wide font: the renderer cut the ends of these two in bold DejaVu Sans."""
        (group,) = described(charts.specification(await summary({name: [5] * 14})))
        assert name not in group["title"]
        assert group["title"].partition("…")[2].endswith(name[-7:])

    async def test_colours(self) -> None:
        """A group that fell is red, facts and line; `other` is grey."""
        pytest.importorskip("vl_convert")
        three = await summary({"falling": [n * 9 for n in FALLING], "steady": [10] * 14, "small": [1] * 14})
        svg = charts.render(three, "svg", top=1).decode()
        lines = re.findall(
            r'kind: (\w+)" role="graphics-symbol" aria-roledescription="line mark"[^>]*stroke="(#\w+)"', svg
        )
        assert lines == [("fallen", "#d1242f"), ("other", "#8b949e")]
        facts = re.findall(r'aria-label="facts: ([\d,]+) [^>]*fill="(#\w+)"', svg)
        assert facts == [("6,930", "#d1242f"), ("154", "#656d76")]

    async def test_gaps(self) -> None:
        """Unknown dates are gaps, and a date between two gaps is marked as alone."""
        gappy = [1000, None, 3000, 2000, *[None] * 10]
        points = drawn(charts.specification(await charts.summarise(records({"a": gappy}), DATES)))
        assert [point["clicks"] for point in points] == gappy
        assert [point.get("alone", False) for point in points] == [True, *[False] * 13]

    async def test_weekly_mean(self) -> None:
        """From 90 dates on, the line is the mean of each date and the 6 before, as far as they are known."""
        dates = date_range("2025-01-01", "2025-03-31")
        specified = charts.specification(await summary({"a": [10, 20, *[6] * 88]}, dates))
        assert [point["mean"] for point in drawn(specified)][:10] == [10, 15, 12, 10.5, 9.6, 9, 8.6, 8, 6, 6]
        assert specified["title"]["subtitle"][0] == "558 clicks in 1 group"
        assert "Line: mean of 7 days" in specified["title"]["subtitle"][1]
        assert Series("a", (None, 8, 5), 1).weekly_mean(2) == 6.5
        assert Series("a", (8, None), 1).weekly_mean(1) is None

    async def test_own_scale(self) -> None:
        """Each chart has its own scale from 0 to a round number, with two to five ticks; all charts span all dates."""
        pytest.importorskip("vl_convert")
        tops = {0: 1, 1: 1, 5: 6, 12: 15, 99: 100, 1000: 1000, 35_570: 40_000, 10**9: 10**9, 2**62: 6 * 10**18}
        found = records({str(n): [None, n, *[None] * 12] for n in tops})
        svg = charts.render(await charts.summarise(found, DATES), "svg").decode()
        axes = re.findall(r'linear scale with values from 0[.0]* to ([\d,.]+)"(.*?)aria-label', svg, re.DOTALL)
        assert [float(top.replace(",", "")) for top, _ in axes] == list(tops.values())[::-1]
        assert all(2 <= drawn_axis.count("<text") <= 5 for _, drawn_axis in axes)
        assert svg.count("values from 1 January to 14 January") == len(tops)

    @pytest.mark.slow
    @pytest.mark.parametrize("theme", charts.THEMES)
    async def test_files_load_nothing(self, theme: str) -> None:
        """SVG and HTML load nothing from elsewhere; the page has a title and the theme's background."""
        pytest.importorskip("vl_convert")
        result = await summary({"</script><b>": [5] * 14, "한국어": FALLING})
        svg = charts.render(result, "svg", theme=theme).decode()
        assert "한국어" in svg
        assert "&lt;/script&gt;" in svg
        assert set(re.findall(r'(?:href|src)="([^"]*)', svg)) == set()
        html = charts.render(result, "html", theme=theme).decode()
        assert "\\ud55c" in html or "한국어" in html
        assert re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=", html.split("<body>")[0].split("<script")[0]) == []
        assert re.search(r"<script[^>]*src=", html) is None
        assert "<title>Clicks by group, 2025-01-01 to 2025-01-14</title>" in html
        background = charts.specification(result, theme=theme)["background"]
        assert f"body{{background:{background}" in html

    async def test_name_with_markup(self) -> None:
        """A name cannot break out of the page."""
        pytest.importorskip("vl_convert")
        html = charts.render(await summary({"</script><script>alert(1)</script>": [5] * 14}), "html").decode()
        assert "</script><script>alert(1)" not in html

    async def test_png(self) -> None:
        """A PNG file begins as such files do."""
        pytest.importorskip("vl_convert")
        png = charts.render(await summary({"a": FALLING}), "png")
        assert png.startswith(b"\x89PNG")

    async def test_missing_font(self) -> None:
        """A character that no font has is warned about; the end of the private use area is in none."""
        pytest.importorskip("vl_convert")
        result = await summary({"\U0010fffd": FALLING})
        with pytest.warns(UserWarning, match="no font on this machine has"):
            charts.render(result, "png")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            charts.render(await summary({"plain – é": FALLING}), "png")

    async def test_refused(self) -> None:
        """An unknown format or theme, and a summary without clicks, are refused."""
        one = await summary({"a": FALLING})
        with pytest.raises(ConfigurationError, match="pdf"):
            charts.render(one, "pdf")
        with pytest.raises(ConfigurationError, match="theme"):
            charts.specification(one, theme="pink")
        with pytest.raises(ConfigurationError, match="no clicks"):
            charts.specification(await summary({}))

    async def test_specification_is_json(self) -> None:
        """The specification can be written as JSON."""
        json.dumps(charts.specification(await summary({f"g{n}": [n + 1] * 14 for n in range(40)}, DATES)))


@pytest.mark.parametrize(
    ("module", "extra"), [("rich.table", "cli"), ("vl_convert", "chart")], ids=lambda value: str(value)
)
async def test_missing_extra(monkeypatch: pytest.MonkeyPatch, module: str, extra: str) -> None:
    """The error names the extra to install."""
    monkeypatch.setitem(sys.modules, module, None)
    one = await summary({"a": FALLING})
    with pytest.raises(ImportError, match=rf"clicksgroup\[{extra}\]"):
        charts.table(one) if extra == "cli" else charts.render(one, "svg")


async def test_control_characters() -> None:
    """Control characters of a name become blanks, so that it cannot command the terminal."""
    record = GroupClicks(datetime.date(2025, 1, 1), 7, "a\x1b]0;title\x07\x1b[31mred\x9b", 5, 5)
    summary = await charts.summarise([record], date_range("2025-01-01", "2025-01-02"))
    assert summary.series[0].label == "a ]0;title [31mred"
