"""Tests of the store run on SQLite and on PostgreSQL, each in a database of its own."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from clicksgroup.store import ClickStore
from tests.store.databases import POSTGRES_URL, TempDatabase


@contextlib.asynccontextmanager
async def postgresql() -> AsyncIterator[TempDatabase]:
    database = TempDatabase("postgresql", POSTGRES_URL, f"test_{uuid.uuid4().hex}")
    try:
        await database.sql("SELECT 1")
    except (OSError, sa.exc.SQLAlchemyError) as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"no PostgreSQL: {error}")
    yield database
    await database.sql(f"DROP SCHEMA IF EXISTS {database.schema} CASCADE")


@pytest.fixture
async def postgres() -> AsyncIterator[TempDatabase]:
    """PostgreSQL, for tests that make no sense on SQLite. Mark them with `pytest.mark.postgres`."""
    async with postgresql() as database:
        yield database


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[TempDatabase]:
    if request.param == "sqlite":
        yield TempDatabase("sqlite", f"sqlite+aiosqlite:///{tmp_path / 'clicks.db'}", None)
    else:
        async with postgresql() as database:
            yield database


@pytest.fixture
async def store(database: TempDatabase) -> AsyncIterator[ClickStore]:
    async with database.store() as store:
        yield store
