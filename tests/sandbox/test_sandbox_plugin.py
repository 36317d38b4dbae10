"""The pytest plugin, in separate runs of pytest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import aiohttp, asyncio, pytest
{mark}

async def ask(sandbox, page=1):
    headers = {{"User-Agent": "Acme", "Authorization": "APIKey " + sandbox.api_key}}
    query = {{"ymd": "2025-01-03", "pages": str(page), "grpIdxList": "151,207"}}
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.get(sandbox.url + "/api/link/v1/clicks-by-group", params=query) as response:
            return response.status

async def test_plain(clicks_sandbox):
    assert {{await ask(clicks_sandbox) for _ in range(60)}} == {{200}}
    assert clicks_sandbox.plan.value == "business"
    assert clicks_sandbox.quota.in_flight == 2

@pytest.mark.clicks_sandbox(groups=40, plan="premium")
async def test_marked(clicks_sandbox):
    assert len(clicks_sandbox.truth("2025-01-03")) == 40
    assert clicks_sandbox.plan.value == "premium"
    assert clicks_sandbox.quota.in_flight == 1
    assert await ask(clicks_sandbox) == 200
"""


def run(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "pytest", "-W", "error", "--strict-markers", "-p", "no:cacheprovider", *arguments]
    finished = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return finished.stdout + finished.stderr


def run_with_asyncio(folder: Path, mode: str, *arguments: str) -> str:
    # Releases of pytest-asyncio before 1.0 warn where this is not set.
    return run(folder, f"--asyncio-mode={mode}", "-o", "asyncio_default_fixture_loop_scope=function", *arguments)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_fixture(tmp_path: Path, mode: str) -> None:
    """The fixture and its marker work in both modes of pytest-asyncio, without a warning."""
    mark = "pytestmark = pytest.mark.asyncio" if mode == "strict" else ""
    (tmp_path / "test_it.py").write_text(TESTS.format(mark=mark), encoding="utf-8")
    output = run_with_asyncio(tmp_path, mode)
    assert "2 passed" in output
    assert "warning" not in output


@pytest.mark.slow
def test_missing_pytest_asyncio(tmp_path: Path) -> None:
    """Without pytest-asyncio the fixture says what to install."""
    (tmp_path / "pytest_asyncio.py").write_text("raise ImportError('not installed')", encoding="utf-8")
    (tmp_path / "test_it.py").write_text("def test_it(clicks_sandbox): ...", encoding="utf-8")
    assert "needs pytest-asyncio: pip install pytest-asyncio" in run(tmp_path, "-p", "no:asyncio")


@pytest.mark.slow
def test_marker(tmp_path: Path) -> None:
    """The marker takes keyword arguments only, and is listed."""
    source = "import pytest\n@pytest.mark.clicks_sandbox(40)\nasync def test_it(clicks_sandbox): ..."
    (tmp_path / "test_it.py").write_text(source, encoding="utf-8")
    assert "the marker takes keyword arguments only" in run_with_asyncio(tmp_path, "auto")
    assert "clicks_sandbox(**kwargs)" in run_with_asyncio(tmp_path, "auto", "--markers")
