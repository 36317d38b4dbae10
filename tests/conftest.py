"""What holds for all tests."""

from __future__ import annotations

import gc

import pytest


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Run files that are named on the command line in this process, without the start of workers; else leave it."""
    return 0 if any(".py" in argument for argument in config.args) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use the fixture `postgres`, or its variant of a fixture with several databases."""
    for item in items:
        values = item.callspec.params.values() if hasattr(item, "callspec") else ()
        if "postgres" in getattr(item, "fixturenames", ()) or "postgresql" in values:
            item.add_marker(pytest.mark.postgres)


def pytest_collection_finish() -> None:
    """Exempt the collected tests from garbage collection: tests that collect garbage would go through all of them."""
    gc.collect()
    gc.freeze()
