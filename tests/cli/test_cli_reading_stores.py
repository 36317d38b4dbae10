"""A command that reads makes nothing, and finds the file that the store would."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from clicksgroup.store import ClickStore
from tests.cli.calls import call


@pytest.mark.parametrize("command", ["status", "export", "chart"])
def test_somebody_elses_database_is_left_alone(command: str, tmp_path: Path) -> None:
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
def test_a_file_that_is_not_there_is_not_made(place: str, tmp_path: Path) -> None:
    path = tmp_path / "neverthere.db"
    result = call("status", "--store", place.format(path))
    assert result.exit_code != 0
    assert "clicksgroup backfill START END" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_path_from_home_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    async def make() -> None:
        async with ClickStore("~/clicks.db"):
            pass

    asyncio.run(make())
    result = call("status", "2025-01-01", "--store", "~/clicks.db")
    assert (result.exit_code, "1 missing" in result.stdout) == (0, True)
