"""What the benchmarks say can be repeated, and they do what they say."""

from __future__ import annotations

import datetime
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks import walk
from benchmarks.decoders.malformed import BODIES, PAGE
from benchmarks.harness import Side, median, ratio, split_by_missing, table, take_turns
from clicksgroup import DecodeError, RequestError
from clicksgroup.protocol import Decoder, PageRequest, Paginator, Query

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", BODIES)
def test_no_malformed_body_is_taken_for_a_page(name: str) -> None:
    """Each of the thirty is refused by the decoding alone, with an error of the tree."""
    with pytest.raises(RequestError):
        Decoder("strict").read(BODIES[name], _request())


def test_there_are_thirty_and_each_differs_from_a_good_page() -> None:
    """The page that they were made from is accepted, so each is refused for what is wrong with it."""
    assert len(BODIES) == len(set(BODIES.values())) == 30
    paginator = Paginator([_request().query], None, "strict")
    request = paginator.next_request()
    assert request is not None
    paginator.receive(request, Decoder("strict").read(PAGE, request))
    assert [len(response.rows) for response in paginator.accepted()] == [30]


def test_what_is_wrong_in_a_record_is_named() -> None:
    """The bodies are wrong where their names say."""
    with pytest.raises(DecodeError) as caught:
        Decoder("strict").read(BODIES["clicks 181.7"], _request())
    assert caught.value.field == "result.list[3].acesCnt"


@pytest.mark.parametrize("part", benchmarks.PARTS)
def test_every_part_runs(part: str, tmp_path: Path) -> None:
    """`--quick` runs a part to its end, prints a table, and writes only where it is told to."""
    if importlib.util.find_spec(f"benchmarks.{part}") is None:
        pytest.skip("this part is not there")
    command = [sys.executable, "-m", "benchmarks", part, "--quick", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"## {part}: ")
    assert "| --- |" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == [f"{part}.md"]


def test_sides_take_turns() -> None:
    """A B A B: whatever the machine does besides meets all sides alike."""
    turns: list[str] = []

    def measure(side: Side) -> dict[str, float]:
        turns.append(side.name)
        return {"cpu_us": float(len(turns))}

    rounds = take_turns([Side("a", "a"), Side("b", "b")], 3, measure)
    assert turns == ["a", "b"] * 3
    assert median(rounds["a"], "cpu_us") == 3.0


def test_close_sides_run_more_often_and_the_median_counts() -> None:
    """In turns too, so that a run which was disturbed decides nothing."""
    turns: list[str] = []

    def measure(side: Side) -> dict[str, float]:
        turns.append(side.name)
        return {"cpu_us": 100.0 if len(turns) == 1 else 1.0}

    a, b, c = (Side(name, name) for name in "abc")
    rounds = take_turns([a, b, c], 2, measure, close=[a, b], times=3)
    assert turns == ["a", "b", "c", "a", "b", "a", "b"] * 2
    assert rounds == {name: [{"cpu_us": 1.0}] * 2 for name in "abc"}


def test_ratios_are_paired() -> None:
    """A round in which everything was slow changes no ratio."""
    base = [{"cpu_us": 1.0}, {"cpu_us": 10.0}, {"cpu_us": 1.0}]
    mine = [{"cpu_us": 2.0}, {"cpu_us": 20.0}, {"cpu_us": 2.0}]
    assert ratio(mine, base, "cpu_us") == 2.0


def test_a_side_that_is_not_installed_is_left_out_and_said_so() -> None:
    """The rest runs, and the reader learns what to install."""
    here, words = split_by_missing([Side("ours", "ours"), Side("other", "other", ("no-such-package",))])
    assert [side.name for side in here] == ["ours"]
    assert "pip install no-such-package" in words[0]


def test_the_readme_quotes_the_first_cases() -> None:
    """Those with targets, under the line that says on which machine."""
    tables = "machine\n\n**1 in flight**\n\ntable\n\n- held\n\n**8 in flight**\n\ntable\n\n**32 in flight**\n\ntable"
    assert walk.brief(tables) == tables.removesuffix("\n\n**32 in flight**\n\ntable")


def test_refresh_replaces_what_stands_between_the_marks(tmp_path: Path) -> None:
    """Text around the tables is left as it is, and a second time changes nothing."""
    file = tmp_path / "README.md"
    file.write_text("before\n<!-- walk -->\nold\n<!-- /walk -->\nafter <!-- scale -->\n")
    for _ in range(2):
        benchmarks.refresh(file, "walk", r"a \1 table")
        assert file.read_text() == "before\n<!-- walk -->\n\na \\1 table\n\n<!-- /walk -->\nafter <!-- scale -->\n"


def test_tables_are_markdown() -> None:
    """As GitHub reads it."""
    assert table(("", "µs"), [("ours", 1)]).splitlines() == ["|  | µs |", "| --- | ---: |", "| ours | 1 |"]


def _request() -> PageRequest:
    date = datetime.date(2025, 1, 31)
    return Query(date, date).page(1)
