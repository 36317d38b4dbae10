"""Databases in which tests keep their stores, days to put into them, and what their errors look like."""

from __future__ import annotations

import datetime
import os
from typing import Any

import attrs
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from clicksgroup.errors import StoreError
from clicksgroup.models import Day, GroupClicks
from clicksgroup.store import ClickStore

POSTGRES_URL = os.environ.get(
    "CLICKSGROUP_TEST_POSTGRES_URL", "postgresql+asyncpg://postgres@127.0.0.1:5432/test"
).replace("postgresql://", "postgresql+asyncpg://")

# Long after the dates of the tests, which are final then.
LONG_AFTER = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


@attrs.frozen
class TempDatabase:
    """A SQLite file, or a schema in PostgreSQL."""

    dialect: str
    url: str
    schema: str | None

    def store(self, **options: Any) -> ClickStore:
        return ClickStore(self.url, schema=self.schema, **options)

    def table(self, name: str) -> str:
        return f"{self.schema}.{name}" if self.schema else name

    async def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement as a user does: through an engine of their own, not the store's."""
        engine = create_async_engine(self.url, poolclass=NullPool)
        try:
            async with engine.begin() as connection:
                result = await connection.exec_driver_sql(statement)
                return [tuple(row) for row in result] if result.returns_rows else []
        finally:
            await engine.dispose()


def make_day(
    date: str | datetime.date,
    clicks: dict[int, int],
    *,
    groups: tuple[int, ...] | None = None,
    fetched_at: datetime.datetime = LONG_AFTER,
    problems: tuple[str, ...] = (),
) -> Day:
    """A day on which group `n` is called `group n` and one visitor in ten came twice."""
    date = datetime.date.fromisoformat(date) if isinstance(date, str) else date
    records = tuple(
        GroupClicks(date, group, f"group {group}", count, count * 9 // 10) for group, count in clicks.items()
    )
    return Day(date, len(records), records, fetched_at, groups, problems)


def assert_one_line(error: StoreError, *words: str) -> None:
    assert "\n" not in str(error)
    for word in words:
        assert word in str(error)
