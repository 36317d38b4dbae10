"""Charts in a file, on a page and in a notebook."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import pytest

from clicksgroup import charts
from clicksgroup.charts.series import Series
from clicksgroup.dates import date_range
from clicksgroup.errors import ConfigurationError
from tests.charts.data import DATES, FALLING, described, drawn, records, summary


async def test_titles() -> None:
    """Each chart names its group, clicks, share and change, the largest group first; the whole names the dates."""
    specified = charts.specification(await summary({"steady": [100] * 14, "한국어": FALLING}))
    assert described(specified) == [
        ("steady", "1,400 clicks · 65% · 7 days +0%"),
        ("한국어", "770 clicks · 35% · 7 days -90%"),
    ]
    assert "2025-01-01 to 2025-01-14" in specified["title"]["text"]


async def test_long_titles() -> None:
    """Long titles are cut in the middle, so that they still differ at their ends."""
    names = [f"{name}{end}" for name in ("Newsletter of spring " * 3, "봄맞이 신규 회원 이벤트 " * 3) for end in "AB"]
    specified = charts.specification(await summary({name: [100] * 14 for name in names}))
    titles = {title for title, _ in described(specified)}
    assert len(titles) == 4
    assert {(title[:5], title[-1]) for title in titles} == {(name[:5], name[-1]) for name in names}
    assert all("…" in title and len(title) < 36 for title in titles)


@pytest.mark.parametrize("name", ["Headphones Partner blog 2025-03", "Headphones Search ads 2025-06"])
async def test_title_in_wide_font(name: str) -> None:
    """A title is short enough for a wide font: the renderer cut the ends of these two in bold DejaVu Sans."""
    ((title, _),) = described(charts.specification(await summary({name: [5] * 14})))
    assert name not in title
    assert title.partition("…")[2].endswith(name[-7:])


async def test_colours() -> None:
    """A group that fell is red, facts and line; `other` is grey."""
    pytest.importorskip("vl_convert")
    three = await summary({"falling": [n * 9 for n in FALLING], "steady": [10] * 14, "small": [1] * 14})
    svg = charts.render(three, "svg", top=1).decode()
    lines = re.findall(r'aria-roledescription="line mark"[^>]*stroke="(#\w+)"', svg)
    assert lines == ["#d1242f", "#8b949e"]
    facts = re.findall(r"Subtitle text '([\d,]+) clicks · [^>]*><text[^>]*fill=\"(#\w+)\"", svg)
    assert facts == [("6,930", "#d1242f"), ("154", "#656d76")]


async def test_gaps() -> None:
    """Unknown dates are gaps, and a date between two gaps is marked as alone."""
    gappy = [1000, None, 3000, 2000, *[None] * 10]
    points = drawn(charts.specification(await charts.summarise(records({"a": gappy}), DATES)))
    assert [point["clicks"] for point in points] == gappy
    assert [point.get("alone", False) for point in points] == [True, *[False] * 13]


async def test_weekly_mean() -> None:
    """From 90 dates on, the line is the mean of each date and the 6 before, as far as they are known."""
    dates = date_range("2025-01-01", "2025-03-31")
    specified = charts.specification(await summary({"a": [10, 20, *[6] * 88]}, dates))
    assert [point["mean"] for point in drawn(specified)][:10] == [10, 15, 12, 10.5, 9.6, 9, 8.6, 8, 6, 6]
    assert specified["title"]["subtitle"][0] == "558 clicks in 1 group"
    assert "Line: mean of 7 days" in specified["title"]["subtitle"][1]
    assert Series("a", (None, 8, 5, None), 1).weekly_means() == [None, 8, 6.5, None]


async def test_own_scale() -> None:
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
async def test_files_load_nothing(theme: str) -> None:
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


async def test_name_with_markup() -> None:
    """A name cannot break out of the page."""
    pytest.importorskip("vl_convert")
    html = charts.render(await summary({"</script><script>alert(1)</script>": [5] * 14}), "html").decode()
    assert "</script><script>alert(1)" not in html


async def test_png() -> None:
    """A PNG file begins as such files do."""
    pytest.importorskip("vl_convert")
    png = charts.render(await summary({"a": FALLING}), "png")
    assert png.startswith(b"\x89PNG")


async def test_missing_font() -> None:
    """A character that no font has is warned about; the end of the private use area is in none."""
    pytest.importorskip("vl_convert")
    result = await summary({"\U0010fffd": FALLING})
    with pytest.warns(UserWarning, match="no font on this machine has"):
        charts.render(result, "png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        charts.render(await summary({"plain – é": FALLING}), "png")


async def test_refused() -> None:
    """An unknown format or theme, and a summary without clicks, are refused."""
    one = await summary({"a": FALLING})
    with pytest.raises(ConfigurationError, match="pdf"):
        charts.render(one, "pdf")
    with pytest.raises(ConfigurationError, match="theme"):
        charts.specification(one, theme="pink")
    with pytest.raises(ConfigurationError, match="no clicks"):
        charts.specification(await summary({}))


async def test_specification_is_json() -> None:
    """The specification can be written as JSON."""
    json.dumps(charts.specification(await summary({f"g{n}": [n + 1] * 14 for n in range(40)}, DATES)))


@pytest.mark.parametrize(
    ("module", "extra"), [("rich.constrain", "cli"), ("vl_convert", "chart")], ids=lambda value: str(value)
)
async def test_missing_extra(monkeypatch: pytest.MonkeyPatch, module: str, extra: str) -> None:
    """The error names the extra to install."""
    monkeypatch.setitem(sys.modules, module, None)
    one = await summary({"a": FALLING})
    with pytest.raises(ImportError, match=rf"clicksgroup\[{extra}\]"):
        charts.table(one) if extra == "cli" else charts.render(one, "svg")


async def test_provisional_dates() -> None:
    """A chart marks provisional dates below the axis, and names them and the missing ones."""
    result = await charts.summarise(records({"a": FALLING}), DATES, known=DATES[1:], provisional=[DATES[13]])
    specified = charts.specification(result)
    assert [point["date"] for point in drawn(specified) if point.get("provisional")] == ["2025-01-14"]
    assert specified["title"]["subtitle"][1].endswith("Dots below the axis: provisional dates.")
    assert specified["title"]["subtitle"][2:] == charts.coverage_notes(result)
    pytest.importorskip("vl_convert")
    for form in ("svg", "html"):
        text = re.sub("<[^>]*>", "", charts.render(result, form).decode())
        for note in charts.coverage_notes(result):
            assert note in text


@pytest.mark.parametrize(
    ("start", "end", "labels"),
    [
        ("2024-12-20", "2025-01-14", ["22 Dec", "2024", "29 Dec", "2024", "5 Jan", "2025", "12 Jan", "2025"]),
        ("2025-01-01", "2025-01-14", ["2 Jan", "4 Jan", "6 Jan", "8 Jan", "10 Jan", "12 Jan", "14 Jan"]),
        ("2024-10-15", "2025-03-05", ["Nov", "2024", "Dec", "Jan", "2025", "Feb", "Mar"]),
        ("2024-01-01", "2026-12-31", ["2024", "2025", "2026"]),
    ],
)
async def test_years(start: str, end: str, labels: list[str]) -> None:
    """An axis that crosses a year names the years."""
    pytest.importorskip("vl_convert")
    dates = date_range(start, end)
    svg = charts.render(await summary({"a": [5] * len(dates)}, dates), "svg").decode()
    axis = next(part for part in svg.split('aria-roledescription="axis"') if part.startswith(' aria-label="X-axis'))
    axis = axis.partition('class="mark-group')[0]
    shown = re.findall(r">(\d* ?[A-Z][a-z]{2}|\d{4})</t", axis)
    assert [label for label in shown if label] == labels


async def test_names_for_screen_readers() -> None:
    """A page has a language and a title, and fits a phone; an SVG has a title."""
    pytest.importorskip("vl_convert")
    result = await summary({"a": FALLING})
    title = "Clicks by group, 2025-01-01 to 2025-01-14"
    assert re.match(rf'<svg [^>]*role="img"><title>{title}</title>', charts.render(result, "svg").decode())
    html = charts.render(result, "html").decode()
    assert '<html lang="en">' in html
    assert '<meta name="viewport" content="width=device-width' in html
    assert charts.specification(result)["description"] == title


async def test_versions() -> None:
    """The schema of a specification is that of the library which draws it."""
    vl_convert = pytest.importorskip("vl_convert")
    major = vl_convert.get_vegalite_versions()[-1].partition(".")[0]
    assert charts.specification(await summary({"a": FALLING}))["$schema"].endswith(f"/vega-lite/v{major}.json")


async def test_notebook() -> None:
    """A specification shows itself as a picture in a notebook, and is a plain dict for everybody else."""
    pytest.importorskip("vl_convert")
    specified = charts.specification(await summary({"a": FALLING}), theme="dark")
    assert specified == json.loads(json.dumps(specified))
    bundle = specified._repr_mimebundle_(include=None, exclude=None)
    assert bundle["image/svg+xml"].startswith("<svg")
    assert specified["background"] in bundle["image/svg+xml"]


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FRAME = """
<body><iframe src="chart.html" style="width:{width}px;height:900px;border:0"></iframe><script>
onload = () => setTimeout(() => {{
  const page = document.querySelector("iframe").contentDocument;
  const drawn = page.querySelector("svg.marks").getBoundingClientRect();
  const name = page.querySelector("[role=graphics-document]").ariaLabel;
  const {{scrollWidth, clientWidth}} = page.documentElement;
  document.title = [scrollWidth - clientWidth, Math.round(drawn.right), name].join(";");
}}, 3000);
</script></body>
"""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
@pytest.mark.parametrize(("width", "groups"), [(380, 25), (1280, 1), (1920, 25)])
async def test_browser(tmp_path: Path, width: int, groups: int) -> None:
    """In a browser the charts take the width there is and no more, have a name, and warn of nothing."""
    pytest.importorskip("vl_convert")
    assert BROWSER is not None
    clicks: dict[str, Sequence[int | None]] = {
        f"group {n}": [n, None, n, *[None, 3] * 4, *[n] * 3] for n in range(groups)
    }
    result = await charts.summarise(records(clicks), DATES, provisional=[DATES[-1]])
    (tmp_path / "chart.html").write_bytes(charts.render(result, "html"))
    (tmp_path / "frame.html").write_text(FRAME.format(width=width), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    options += ["--disable-background-networking", "--disable-component-update", "--allow-file-access-from-files"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--virtual-time-budget=9000"]
    run = await asyncio.create_subprocess_exec(
        BROWSER, *options, "--window-size=2000,1000", "--dump-dom", (tmp_path / "frame.html").as_uri(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    dom, log = await run.communicate()
    found = re.search(r"<title>(\d+);(\d+);(.*)</title>", dom.decode())
    assert found is not None, log.decode()
    assert "CONSOLE" not in log.decode()
    assert int(found[1]) == 0, "it can be scrolled sideways"
    assert 0.85 * width < int(found[2]) <= width
    assert found[3] == "Clicks by group, 2025-01-01 to 2025-01-14"
