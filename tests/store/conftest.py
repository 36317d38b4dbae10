"""Every test of the store runs on SQLite and on PostgreSQL, each in a place of its own."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from clicksgroup.store import ClickStore
from tests.store.places import POSTGRES_URL, Place


@contextlib.asynccontextmanager
async def postgresql() -> AsyncIterator[Place]:
    place = Place("postgresql", POSTGRES_URL, f"test_{uuid.uuid4().hex}")
    try:
        await place.sql("SELECT 1")
    except (OSError, sa.exc.SQLAlchemyError) as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"no PostgreSQL: {error}")
    yield place
    await place.sql(f"DROP SCHEMA IF EXISTS {place.schema} CASCADE")


@pytest.fixture
async def postgres() -> AsyncIterator[Place]:
    """For what only PostgreSQL can show."""
    async with postgresql() as place:
        yield place


@pytest.fixture(params=["sqlite", "postgresql"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    if request.param == "sqlite":
        yield Place("sqlite", f"sqlite+aiosqlite:///{tmp_path / 'clicks.db'}", None)
    else:
        async with postgresql() as place:
            yield place


@pytest.fixture
async def store(place: Place) -> AsyncIterator[ClickStore]:
    async with place.store() as store:
        yield store
