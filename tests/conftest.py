"""What holds for all tests."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator

import pytest

from clicksgroup import ClicksClient
from clicksgroup.sandbox import Sandbox
from tests.dates_of_all_sizes import FAST, size


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Start no workers where files are named on the command line, since that takes longer than most of them."""
    return 0 if any(".py" in argument for argument in config.args) else None


def pytest_collection_finish() -> None:
    """Exempt the collected tests from garbage collection: tests that collect garbage would go through all of them."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _no_quota_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server may get the port of another test's server: its quota is not remembered."""
    monkeypatch.setattr("clicksgroup.quota.local._memories", {})


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A server whose dates list all numbers of groups around the sizes of pages."""
    async with Sandbox(size, quota=FAST) as sandbox:
        yield sandbox


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[ClicksClient]:
    async with sandbox.client() as client:
        yield client
