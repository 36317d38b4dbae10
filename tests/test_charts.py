"""Charts show what happened to each group at a glance, at any width, in any script."""

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
from clicksgroup.charts.vega import _ticks
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


class TestReduction:
    async def test_the_largest_group_comes_first_with_its_share(self) -> None:
        result = await summary({"a": [1] * 14, "b": [3] * 14})
        assert [(one.label, one.total, one.share) for one in result.series] == [("b", 42, 0.75), ("a", 14, 0.25)]
        assert result.total == 56

    async def test_a_group_that_is_not_listed_on_a_known_date_had_no_clicks(self) -> None:
        """On a date that is not known it is not known how many it had."""
        found = [GroupClicks(DATES[0], 1, "a", 5, 5), GroupClicks(DATES[1], 2, "b", 5, 5)]
        result = await charts.summarise(found, DATES[:3], known=[DATES[0]])
        assert [one.clicks for one in result.series] == [(5, None, None), (0, 5, None)]

    async def test_a_stream_is_taken_as_a_list_is(self) -> None:
        async def stream() -> Any:
            for record in records({"a": [1] * 14}):
                yield record

        assert (await charts.summarise(stream(), DATES)).total == 14

    async def test_the_last_week_is_compared_with_the_week_before(self) -> None:
        (one,) = (await summary({"a": FALLING})).series
        assert one.change == Change(70, 700)
        assert one.change.ratio == pytest.approx(-0.9)

    def test_a_day_that_is_not_known_does_not_count_nor_does_its_fellow(self) -> None:
        clicks: Clicks = (100, 100, None, 100, 100, 100, 100, 10, 10, 10, 10, None, 10, 10, None)
        assert Series("a", clicks, 1.0).change == Change(50, 500)
        assert Series("a", (1,) * 13, 1.0).change is None
        assert Series("a", (None,) * 4 + (1,) * 10, 1.0).change is None

    async def test_beyond_the_top_the_rest_is_summed_as_other(self) -> None:
        result = (await summary({"a": [9] * 14, "b": [2] * 14, "c": [1] * 14})).top(1)
        assert [(one.label, one.total, one.groups) for one in result.series] == [("a", 126, 1), ("other", 42, 2)]
        assert sum(one.share for one in result.series) == pytest.approx(1)

    async def test_names_that_several_groups_have_get_the_id(self) -> None:
        twins = [GroupClicks(DATES[0], group, name, 1, 1) for group, name in ((1, "a"), (2, "a"), (3, ""), (4, "b\nc"))]
        result = await charts.summarise(twins, DATES[:1])
        assert [one.label for one in result.series] == ["#3", "a #1", "a #2", "b c"]

    async def test_a_group_goes_by_its_latest_name(self) -> None:
        named = [GroupClicks(DATES[n], 1, name, 1, 1) for n, name in ((2, "new"), (0, "old"))]
        assert (await charts.summarise(named, DATES)).series[0].label == "new"


class TestTerminal:
    def test_a_sparkline_has_its_own_scale_from_zero_and_shows_gaps(self) -> None:
        assert sparkline((0, 50, None, 100), 10) == f"{BARS[0]}{BARS[3]}{GAP}{BARS[-1]}"

    def test_a_fall_that_has_just_begun_shows_whatever_the_width(self) -> None:
        clicks = (1000,) * 358 + (100,) * 7
        for width in (4, 20, 52, 120):
            line = sparkline(clicks, width)
            assert len(line) == width
            assert line[-1] == BARS[0]
            assert line[0] == BARS[-1]

    @given(clicks=st.lists(st.one_of(st.none(), st.integers(0, 10**12))).map(tuple), width=st.integers(1, 50))
    def test_a_sparkline_never_takes_more_than_its_width(self, clicks: Clicks, width: int) -> None:
        assert len(sparkline(clicks, width)) == min(width, len(clicks))

    @pytest.mark.parametrize("width", [60, 100, 200])
    @pytest.mark.parametrize("days", [1, 14, 365, 3650])
    async def test_the_table_fits_its_width_in_korean_too(self, width: int, days: int) -> None:
        dates = date_range("2020-01-01", datetime.date(2019, 12, 31) + datetime.timedelta(days=days))
        names = ["전자 제품 신규 회원 이벤트와 여름 캠페인을 위한 그룹", "Electronics", "🛒 shop", "x" * 200]
        printed = await self.printed({name: [n + 1234] * days for n, name in enumerate(names)}, dates, width)
        from rich.cells import cell_len

        lines = printed.rstrip("\n").split("\n")
        assert all(cell_len(line) <= width for line in lines)
        assert len({cell_len(line.rstrip()) for line in lines[2:]}) == 1
        assert len(lines) == 6

    async def test_the_table_says_what_each_group_did(self) -> None:
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

    async def test_the_peak_goes_before_names_become_unreadable(self) -> None:
        names = ["Summer campaign", "Winter campaign"]
        wide = (await self.printed({name: [123_456_789] * 14 for name in names}, DATES, 100)).splitlines()
        narrow = (await self.printed({name: [123_456_789] * 14 for name in names}, DATES, 50)).splitlines()
        assert "peak" in wide[1]
        assert "peak" not in narrow[1]
        assert "7 days" in narrow[1]
        assert [line[:11] for line in narrow[2:]] == ["Summer camp", "Winter camp"]
        assert all(len(line) <= 50 for line in narrow)

    async def test_without_clicks_it_says_so(self) -> None:
        assert "no clicks are known" in await self.printed({}, DATES, 80)

    async def test_a_terminal_without_unicode_gets_ascii(self) -> None:
        from rich.console import Console

        file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        coverage = Coverage([DATES[0]], [DATES[1]], list(DATES[2:]))
        console = Console(file=file, width=100)
        console.print(charts.table(await summary({"falling": FALLING})))
        console.print(charts.calendar(coverage))
        file.flush()

    def test_the_calendar_has_a_mark_for_every_day(self) -> None:
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
    async def test_each_chart_is_titled_with_name_total_and_share_largest_first(self) -> None:
        specified = charts.specification(await summary({"steady": [100] * 14, "한국어": FALLING}))
        titles = [(chart["title"]["text"], chart["title"]["subtitle"]) for chart in specified["concat"]]
        assert titles == [
            ("steady", "1,400 clicks · 65% · 7 days +0%"),
            ("한국어", "770 clicks · 35% · 7 days -90%"),
        ]
        assert "2025-01-01 to 2025-01-14" in specified["title"]["text"]

    async def test_long_titles_keep_their_ends(self) -> None:
        names = [
            f"{name}{end}" for name in ("Newsletter of spring " * 3, "봄맞이 신규 회원 이벤트 " * 3) for end in "AB"
        ]
        specified = charts.specification(await summary({name: [100] * 14 for name in names}))
        titles = {chart["title"]["text"] for chart in specified["concat"]}
        assert len(titles) == 4
        assert {(title[:5], title[-1]) for title in titles} == {(name[:5], name[-1]) for name in names}
        assert all("…" in title and len(title) < 36 for title in titles)

    async def test_a_group_that_falls_has_another_colour(self) -> None:
        specified = charts.specification(await summary({"steady": [100] * 14, "falling": FALLING}))
        colours = [chart["layer"][0]["mark"]["color"] for chart in specified["concat"]]
        assert colours[0] != colours[1]

    async def test_each_chart_has_its_own_scale_and_missing_dates_are_gaps(self) -> None:
        gappy = [1000, None, 3000, *[None] * 11]
        found = records({"a": gappy, "b": [n and n // 1000 for n in gappy]})
        specified = charts.specification(await charts.summarise(found, DATES))
        charts_ = specified["concat"]
        assert [chart["layer"][0]["encoding"]["y"]["scale"]["domain"] for chart in charts_] == [[0, 3000], [0, 3]]
        assert [value["c"] for value in charts_[0]["data"]["values"]] == gappy
        assert [bool(value.get("alone")) for value in charts_[0]["data"]["values"]][:3] == [True, False, True]

    @given(highest=st.integers(0, 2**63))
    def test_ticks_are_few_and_hold_the_highest(self, highest: int) -> None:
        ticks = _ticks(highest)
        assert ticks[0] == 0
        assert ticks[-1] >= max(highest, 1)
        assert 2 <= len(ticks) <= 5

    @pytest.mark.parametrize("theme", charts.THEMES)
    async def test_files_hold_all_they_need(self, theme: str) -> None:
        """No address is loaded from; the background is the theme's."""
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

    async def test_a_name_cannot_break_out_of_the_page(self) -> None:
        pytest.importorskip("vl_convert")
        html = charts.render(await summary({"</script><script>alert(1)</script>": [5] * 14}), "html").decode()
        assert "</script><script>alert(1)" not in html

    async def test_png_is_a_picture(self) -> None:
        pytest.importorskip("vl_convert")
        png = charts.render(await summary({"a": FALLING}), "png")
        assert png.startswith(b"\x89PNG")

    async def test_names_that_no_font_here_can_show_are_warned_about(self) -> None:
        """The end of the private use area is in no font; a warning says what to do."""
        pytest.importorskip("vl_convert")
        result = await summary({"\U0010fffd": FALLING})
        with pytest.warns(UserWarning, match="no font here has"):
            charts.render(result, "png")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            charts.render(await summary({"plain – é": FALLING}), "png")

    async def test_what_cannot_be_drawn_is_refused(self) -> None:
        one = await summary({"a": FALLING})
        with pytest.raises(ConfigurationError, match="pdf"):
            charts.render(one, "pdf")
        with pytest.raises(ConfigurationError, match="theme"):
            charts.specification(one, theme="pink")
        with pytest.raises(ConfigurationError, match="no clicks"):
            charts.specification(await summary({}))

    async def test_the_specification_is_json(self) -> None:
        json.dumps(charts.specification(await summary({f"g{n}": [n + 1] * 14 for n in range(40)}, DATES)))


@pytest.mark.parametrize(
    ("module", "extra"), [("rich.table", "cli"), ("vl_convert", "chart")], ids=lambda value: str(value)
)
async def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, module: str, extra: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    one = await summary({"a": FALLING})
    with pytest.raises(ImportError, match=rf"clicksgroup\[{extra}\]"):
        charts.table(one) if extra == "cli" else charts.render(one, "svg")


async def test_a_name_cannot_command_the_terminal() -> None:
    """Control characters of a name are blanks in a chart."""
    record = GroupClicks(datetime.date(2025, 1, 1), 7, "a\x1b]0;title\x07\x1b[31mred\x9b", 5, 5)
    summary = await charts.summarise([record], date_range("2025-01-01", "2025-01-02"))
    assert summary.series[0].label == "a ]0;title [31mred"


@pytest.mark.parametrize("name", ["Headphones Partner blog 2025-03", "Headphones Search ads 2025-06"])
async def test_a_title_in_a_wide_font_keeps_the_end_that_tells_it_from_others(name: str) -> None:
    """These two were cut at the end by the renderer, in bold DejaVu Sans."""
    record = GroupClicks(datetime.date(2025, 1, 1), 7, name, 5, 5)
    summary = await charts.summarise([record], date_range("2025-01-01", "2025-01-14"))
    drawn = json.dumps(charts.specification(summary), ensure_ascii=False)
    assert name not in drawn
    assert name[-7:] in drawn.partition("…")[2]
