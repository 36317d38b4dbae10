"""`status`, `export` and `chart`: they show what is stored, and create nothing."""

from __future__ import annotations

import asyncio
import datetime
import re
import sqlite3
from pathlib import Path

import pytest

from clicksgroup.store import ClickStore
from tests.cli.calls import call, fill


@pytest.mark.parametrize("command", ["status", "export", "chart"])
def test_foreign_database(command: str, tmp_path: Path) -> None:
    """A database without a clicksgroup store is left as it was."""
    path = tmp_path / "theirs.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (id int)")
    connection.close()
    before = path.read_bytes()
    result = call(command, "--store", str(path))
    assert result.exit_code != 0
    assert "holds no clicksgroup store; fill it: clicksgroup backfill START END" in result.stderr
    assert path.read_bytes() == before


@pytest.mark.parametrize("place", ["sqlite:///{}", "{}"])
def test_missing_file(place: str, tmp_path: Path) -> None:
    """A command that reads does not create a store."""
    path = tmp_path / "neverthere.db"
    result = call("status", "--store", place.format(path))
    assert result.exit_code != 0
    assert "clicksgroup backfill START END" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_home_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` is the home folder, as in the store."""
    monkeypatch.setenv("HOME", str(tmp_path))

    async def make() -> None:
        async with ClickStore("~/clicks.db"):
            pass

    asyncio.run(make())
    result = call("status", "2025-01-01", "--store", "~/clicks.db")
    assert (result.exit_code, "1 missing" in result.stdout) == (0, True)


def test_accounts(store: str) -> None:
    """Accounts are kept apart in one store."""
    fill(store, "2025-01-01", "--account", "shop")
    assert "1 final" in call("status", "2025-01-01", "--store", store, "--account", "shop").stdout
    assert "1 missing" in call("status", "2025-01-01", "--store", store).stdout
    other = call("export", "--store", store)
    assert (other.exit_code, "no dates" in other.stderr) == (2, True)


def test_status_without_dates(store: str) -> None:
    """`status` without dates shows all from the first to the last in the store."""
    fill(store, "2025-01-10", "2025-01-12")
    fill(store, "2025-02-03")
    result = call("status", "--store", store)
    assert "2025-01-10 to 2025-02-03" in result.stdout
    assert "4 final" in result.stdout
    assert "21 missing" in result.stdout


def test_export(store: str) -> None:
    """`export` writes the stored records, and warns of missing dates."""
    fill(store, "2025-01-01", "2025-01-03")
    whole = call("export", "--store", store)
    assert (whole.exit_code, whole.stderr) == (0, "")
    assert whole.stdout.count("\n2025-01-0") == 3 * 95
    partly = call("export", "2025-01-03", "2025-01-05", "--store", store, "--groups", "151,207", "--format", "ndjson")
    assert len(partly.stdout.splitlines()) == 2
    assert partly.stderr == (
        "warning: 2 dates are missing: 2025-01-04 to 2025-01-05. clicksgroup backfill fetches them\n"
    )


async def test_provisional_dates(store: str) -> None:
    """`export` and `chart` say which dates are provisional: their counts may still change."""
    today = datetime.datetime.now(datetime.UTC).date()
    await asyncio.to_thread(fill, store, str(today - datetime.timedelta(days=4)), str(today))
    for command in ("export", "chart"):
        result = await asyncio.to_thread(call, command, "--store", store)
        (line,) = result.stderr.splitlines()
        assert re.match(rf"warning: [12] dates? (is|are) provisional and may still change: .*{today}\.", line)
        assert (await asyncio.to_thread(call, command, "--store", store, "--quiet")).stderr == ""


def test_export_format(store: str, tmp_path: Path) -> None:
    """The name of the file says its format."""
    fill(store, "2025-01-01")
    for name, begins in (("x.csv", b"date,"), ("x.jsonl", b'{"date"'), ("x.parquet", b"PAR1"), ("x.txt", b"date ")):
        assert call("export", "--store", store, "-o", str(tmp_path / name)).exit_code == 0
        assert (tmp_path / name).read_bytes().startswith(begins)


def test_chart(store: str) -> None:
    """A chart in the terminal shows the largest groups first, and the sum of the others."""
    fill(store, "2025-01")
    lines = call("chart", "--store", store, "--top", "3").stdout.splitlines()
    assert len(lines) == 2 + 3 + 1
    assert lines[2].startswith("Kitchenware ")
    assert lines[-1].startswith("other (")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "begins"), [("x.svg", b"<svg"), ("x.png", b"\x89PNG"), ("x.html", b"<!DOCTYPE html")])
def test_chart_file(store: str, tmp_path: Path, name: str, begins: bytes) -> None:
    """A chart can be an SVG, PNG or HTML file."""
    pytest.importorskip("vl_convert")
    fill(store, "2025-01")
    result = call("chart", "--store", store, "-o", str(tmp_path / name), "--theme", "dark", "--groups", "151,207")
    assert (result.exit_code, result.stdout) == (0, "")
    assert (tmp_path / name).read_bytes().lstrip().startswith(begins)


@pytest.mark.parametrize("command", ["status", "export", "chart"])
def test_sandbox_without_a_store(command: str) -> None:
    """--sandbox shows made-up clicks without a store."""
    result = call(command, "2025-01-01", "2025-01-14", "--sandbox")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout
