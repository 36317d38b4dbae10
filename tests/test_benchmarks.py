"""The benchmarks run, and calculate what they say."""

from __future__ import annotations

import datetime
import importlib.util
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks.decoders.malformed import BODIES, PAGE
from benchmarks.harness import Side, median, ratio, split_by_missing, table, take_turns
from benchmarks.page_server import page_body, page_server
from clicksgroup import DecodeError, RequestError
from clicksgroup.protocol import Decoder, PageRequest, Paginator, Query

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", BODIES)
def test_malformed_bodies(name: str) -> None:
    """The decoding alone refuses each malformed body, with an error of the package."""
    with pytest.raises(RequestError):
        Decoder("strict").read(BODIES[name], _request())


def test_thirty_bodies() -> None:
    """There are thirty, and the page they were made from is accepted, so each is refused for what is wrong in it."""
    assert len(BODIES) == len(set(BODIES.values())) == 30
    paginator = Paginator([_request().query], None, "strict")
    request = paginator.next_request()
    assert request is not None
    paginator.receive(request, Decoder("strict").read(PAGE, request))
    assert [len(response.records) for response in paginator.accepted()] == [30]


def test_wrong_field_is_named() -> None:
    """The error names the field that the body is about."""
    with pytest.raises(DecodeError) as caught:
        Decoder("strict").read(BODIES["clicks 181.7"], _request())
    assert caught.value.field == "result.list[3].acesCnt"


@pytest.mark.slow
@pytest.mark.parametrize("part", benchmarks.PARTS)
def test_parts(part: str, tmp_path: Path) -> None:
    """`--quick` runs a part to its end, prints a table, and writes only where it is told to."""
    if importlib.util.find_spec(f"benchmarks.{part}") is None:
        pytest.skip("this part is not there")
    command = [sys.executable, "-m", "benchmarks", part, "--quick", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"## {part}: ")
    assert "| --- |" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == [f"{part}.md"]


def test_turns() -> None:
    """Sides run A B A B, so that other load on the machine affects all of them alike."""
    turns: list[str] = []

    def measure(side: Side) -> dict[str, float]:
        turns.append(side.name)
        return {"cpu_us": float(len(turns))}

    rounds = take_turns([Side("a", "a"), Side("b", "b")], 3, measure)
    assert turns == ["a", "b"] * 3
    assert median(rounds["a"], "cpu_us") == 3.0


def test_close_sides() -> None:
    """Close sides run more often, also in turns, and the median counts, so that one disturbed run decides nothing."""
    turns: list[str] = []

    def measure(side: Side) -> dict[str, float]:
        turns.append(side.name)
        return {"cpu_us": 100.0 if len(turns) == 1 else 1.0}

    a, b, c = (Side(name, name) for name in "abc")
    rounds = take_turns([a, b, c], 2, measure, close=[a, b], close_runs=3)
    assert turns == ["a", "b", "c", "a", "b", "a", "b"] * 2
    assert rounds == {name: [{"cpu_us": 1.0}] * 2 for name in "abc"}


def test_ratio() -> None:
    """A round in which everything was slow changes no ratio."""
    base = [{"cpu_us": 1.0}, {"cpu_us": 10.0}, {"cpu_us": 1.0}]
    mine = [{"cpu_us": 2.0}, {"cpu_us": 20.0}, {"cpu_us": 2.0}]
    assert ratio(mine, base, "cpu_us") == 2.0


def test_missing_packages() -> None:
    """A side whose packages are missing is left out, and the reader learns what to install."""
    here, words = split_by_missing([Side("ours", "ours"), Side("other", "other", ("no-such-package",))])
    assert [side.name for side in here] == ["ours"]
    assert "pip install no-such-package" in words[0]


def test_refresh(tmp_path: Path) -> None:
    """Only the text between the marks is replaced, and a second time changes nothing."""
    file = tmp_path / "README.md"
    file.write_text("before\n<!-- walk -->\nold\n<!-- /walk -->\nafter <!-- scale -->\n")
    for _ in range(2):
        benchmarks.refresh(file, "walk", r"a \1 table")
        assert file.read_text() == "before\n<!-- walk -->\n\na \\1 table\n\n<!-- /walk -->\nafter <!-- scale -->\n"


def test_table() -> None:
    """Tables are Markdown as GitHub reads it."""
    assert table(("", "µs"), [("ours", 1)]).splitlines() == ["|  | µs |", "| --- | ---: |", "| ours | 1 |"]


def test_page_server() -> None:
    """The server of the benchmarks records when requests arrive, for the first part of each path."""
    with page_server(pages=1, latency=0.001, jitter=0.001) as server:
        for name in ("a", "b", "a"):
            with urllib.request.urlopen(f"{server.url}/{name}/?pages=1") as response:
                assert response.read() == page_body(1, 1)
    assert {name: len(times) for name, times in server.arrivals.items()} == {"a": 2, "b": 1}
    assert server.arrivals["a"][0] < server.arrivals["b"][0] < server.arrivals["a"][1]


def _request() -> PageRequest:
    date = datetime.date(2025, 1, 31)
    return Query(date, date).page(1)
