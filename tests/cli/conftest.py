"""No test meets the user's own key, quota or store."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from clicksgroup.sandbox import Sandbox


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("CLICKSGROUP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def point_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sandbox], None]:
    """Makes a sandbox the service in use."""

    def point(sandbox: Sandbox) -> None:
        monkeypatch.setenv("CLICKSGROUP_BASE_URL", sandbox.url)
        monkeypatch.setenv("CLICKSGROUP_API_KEY", sandbox.api_key)
        monkeypatch.setenv("CLICKSGROUP_PLAN", sandbox.plan.value)

    return point
