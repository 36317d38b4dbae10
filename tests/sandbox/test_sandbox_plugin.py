"""The pytest plugin, in separate runs of pytest."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from clicksgroup.sandbox import Sandbox
from clicksgroup.sandbox.server import run_in_thread

HELPERS = """
import asyncio, urllib.request
import pytest
from clicksgroup.sandbox import Fault

DATE = "2025-01-03"

def status(sandbox, page=1):
    headers = {"User-Agent": "Acme", "Authorization": "APIKey " + sandbox.api_key}
    url = f"{sandbox.url}/api/link/v1/clicks-by-group?ymd={DATE}&pages={page}&grpIdxList=151,207"
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as response:
        return response.status

async def day(sandbox, **kwargs):
    async with sandbox.client() as client:
        return list(await client.day(DATE, **kwargs))
"""

SYNCHRONOUS = """
def test_plain(clicks_sandbox):
    assert {status(clicks_sandbox) for _ in range(60)} == {200}
    assert clicks_sandbox.plan.value == "business"
    assert clicks_sandbox.quota.in_flight == 2

def test_own_loops(clicks_sandbox):
    for _ in range(2):
        assert asyncio.run(day(clicks_sandbox)) == clicks_sandbox.truth(DATE)

@pytest.mark.clicks_sandbox(groups=40, plan="premium", faults=[Fault(status=503)])
def test_marked(clicks_sandbox):
    assert len(clicks_sandbox.truth(DATE)) == 40
    assert clicks_sandbox.plan.value == "premium"
    assert clicks_sandbox.quota.in_flight == 1
    assert asyncio.run(day(clicks_sandbox, groups=[151])) == clicks_sandbox.truth(DATE)[:1]
    assert [request.status for request in clicks_sandbox.requests] == [503, 200]
"""

ASYNCHRONOUS = """
@MARK
async def test_day(clicks_sandbox):
    assert await day(clicks_sandbox) == clicks_sandbox.truth(DATE)

@MARK
@pytest.mark.clicks_sandbox(latency=3600)
async def test_waiting(clicks_sandbox):
    asking = asyncio.create_task(day(clicks_sandbox))
    await clicks_sandbox.wait_for_requests(1)
    assert clicks_sandbox.in_flight == 1
    asking.cancel()
    await asyncio.wait([asking])

@MARK
async def test_blocked_loop(clicks_sandbox):
    assert status(clicks_sandbox) == 200
"""


# Releases of pytest-asyncio before 1.0 warn where this is not set.
ASYNCIO = ["-o", "asyncio_default_fixture_loop_scope=function"]
NO_ASYNCIO = ["-p", "no:asyncio"]


def run(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "pytest", "-W", "error", "--strict-markers", "-p", "no:cacheprovider", *arguments]
    finished = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return finished.stdout + finished.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mark", "options", "passed"),
    [
        ("", [*NO_ASYNCIO, "-p", "no:anyio"], 3),
        ("pytest.mark.asyncio", ["--asyncio-mode=strict", *ASYNCIO], 6),
        ("pytest.mark.filterwarnings('error')", ["--asyncio-mode=auto", *ASYNCIO], 6),
        ("pytest.mark.anyio", NO_ASYNCIO, 6),
    ],
    ids=["synchronous", "strict", "auto", "anyio"],
)
def test_fixture(tmp_path: Path, mark: str, options: list[str], passed: int) -> None:
    """The fixture and its marker work in tests of each kind, without a warning."""
    source = HELPERS + SYNCHRONOUS + (ASYNCHRONOUS.replace("MARK", mark) if mark else "")
    if "anyio" in mark:
        source += "\n@pytest.fixture\ndef anyio_backend(): return 'asyncio'\n"
    (tmp_path / "test_it.py").write_text(source, encoding="utf-8")
    output = run(tmp_path, *options)
    assert f"{passed} passed" in output, output
    assert "warning" not in output


@pytest.mark.slow
def test_xdist(tmp_path: Path) -> None:
    """The fixture works in parallel processes."""
    (tmp_path / "test_it.py").write_text(HELPERS + SYNCHRONOUS, encoding="utf-8")
    output = run(tmp_path, "-n", "2", *NO_ASYNCIO)
    assert "3 passed" in output, output


def test_unused(tmp_path: Path) -> None:
    """A run that does not use the fixture loads nothing of the package but the plugin."""
    source = "import sys\ndef test_it(): assert not {'aiohttp', 'attrs', 'orjson'} & set(sys.modules); print(LOADED)"
    loaded = "sorted(name for name in sys.modules if name.startswith('clicksgroup'))"
    (tmp_path / "test_it.py").write_text(source.replace("LOADED", loaded), encoding="utf-8")
    output = run(tmp_path, "-s", *NO_ASYNCIO, "-p", "no:anyio")
    assert "1 passed" in output, output
    assert "['clicksgroup', 'clicksgroup.sandbox', 'clicksgroup.sandbox.pytest_plugin']" in output


@pytest.mark.slow
def test_marker(tmp_path: Path) -> None:
    """The marker takes keyword arguments only, and is listed."""
    source = "import pytest\n@pytest.mark.clicks_sandbox(40)\ndef test_it(clicks_sandbox): ..."
    (tmp_path / "test_it.py").write_text(source, encoding="utf-8")
    assert "the marker takes keyword arguments only" in run(tmp_path, *NO_ASYNCIO)
    assert "clicks_sandbox(**kwargs)" in run(tmp_path, "--markers", *NO_ASYNCIO)


def test_failed_start() -> None:
    """A port in use is an error before the block begins, and no thread is left."""
    with run_in_thread(Sandbox()) as sandbox:
        port = int(sandbox.url.rpartition(":")[2])
        with pytest.raises(OSError, match="address"), run_in_thread(Sandbox(port=port)):
            pytest.fail("it began")
        with pytest.raises(RuntimeError, match="already running"), run_in_thread(sandbox):
            pytest.fail("it began twice")
        assert "http://127.0.0.1" in repr(sandbox)
    assert "clicks_sandbox" not in [thread.name for thread in threading.enumerate()]


def test_import() -> None:
    """Importing the plugin loads nothing of the package but itself; each public name loads when it is used."""
    code = """
import sys, clicksgroup.sandbox.pytest_plugin
print(*sorted(name for name in sys.modules if name.startswith("clicksgroup")))
import clicksgroup
assert clicksgroup.errors.APIError is clicksgroup.APIError
assert {*clicksgroup.__all__} <= {*dir(clicksgroup)}
assert all(getattr(clicksgroup, name) is not None for name in clicksgroup.__all__)
assert not hasattr(clicksgroup, "Client")
"""
    loaded = subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True)
    assert loaded.stdout.split() == ["clicksgroup", "clicksgroup.sandbox", "clicksgroup.sandbox.pytest_plugin"]
