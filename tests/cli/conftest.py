"""No test uses the key, quota or store of the user who runs it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clicksgroup.sandbox import Sandbox
from tests.cli.calls import PointAt


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("CLICKSGROUP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def point_at(monkeypatch: pytest.MonkeyPatch) -> PointAt:
    """Makes a sandbox the API that the environment describes."""

    def point(sandbox: Sandbox) -> None:
        monkeypatch.setenv("CLICKSGROUP_BASE_URL", sandbox.url)
        monkeypatch.setenv("CLICKSGROUP_API_KEY", sandbox.api_key)
        monkeypatch.setenv("CLICKSGROUP_PLAN", sandbox.plan.value)

    return point


@pytest.fixture
def store(tmp_path: Path) -> str:
    """The file of a store that does not exist yet."""
    return str(tmp_path / "clicks.db")
