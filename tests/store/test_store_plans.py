"""Each query reads a range of a primary key, so that its cost grows with what it gives and not with the table."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from clicksgroup.dates import date_range
from clicksgroup.store import ClickStore
from clicksgroup.store.database import Database
from tests.store.databases import LONG_AFTER, TempDatabase, make_day
from tests.store.fake_client import FakeClient

DATES = date_range("2025-01-01", "2025-01-20")
TABLES = ("group_clicks", "click_dates", "click_date_groups", "click_date_failures")


async def use_everything(store: ClickStore) -> None:
    """Run each statement that the store knows."""
    moments = [LONG_AFTER + datetime.timedelta(days=n) for n in (1, 2, 0)]
    for groups in (None, [1, 2]):
        for at in moments:
            await store.put(make_day(DATES[5], {1: 1, 2: 2}, groups=(1, 2) if groups else None, fetched_at=at))
            await store.put(make_day(DATES[5], {1: 1, 3: 3}, groups=(1, 3), fetched_at=at))
        assert [record async for record in store.clicks(DATES[2], DATES[-2], groups=groups)]
        assert [day async for day in store.days(DATES[2], DATES[-2], groups=groups)]
        await store.coverage(DATES[2], DATES[-2], groups=groups)
    await store.failures(DATES[2], DATES[-2])
    await store.span()
    await store.backfill(FakeClient(), DATES[2:5], refresh=True)


@pytest.mark.parametrize("chunk_rows", [5, 10_000])
async def test_plans(database: TempDatabase, chunk_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """No statement reads a whole table: each has the account and bounds of the date in its index condition."""
    monkeypatch.setattr("clicksgroup.store.reading.CHUNK_ROWS", chunk_rows)
    # PostgreSQL would read small tables whole.
    options: dict[str, Any] = {}
    if database.dialect == "postgresql":
        options["connect_args"] = {"server_settings": {"enable_seqscan": "off"}}
    engine = create_async_engine(database.url, **options)
    statements: dict[str, Any] = {}

    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def remember(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        if statement.startswith(("SELECT", "DELETE", "UPDATE")) and any(name in statement for name in TABLES):
            statements[statement] = parameters

    async with ClickStore(engine, schema=database.schema) as store:
        for date in DATES:
            await store.put(make_day(date, dict.fromkeys(range(1, 5), 1)))
        await use_everything(store)
    assert len(statements) >= 20
    for statement, parameters in list(statements.items()):
        for condition in [condition async for condition in _conditions(engine, statement, parameters)]:
            assert "account" in condition, (condition, statement)
            assert "date" in condition or "min(" in statement, (condition, statement)
    await engine.dispose()


async def _conditions(engine: AsyncEngine, statement: str, parameters: Any) -> Any:
    """How each of the tables is read: the condition on its index, or words without one."""
    async with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            for row in await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters):
                if any(name in row.detail for name in TABLES) and row.detail.startswith(("SCAN", "SEARCH")):
                    yield row.detail
            return
        for node in _nodes(await _plan(connection, statement, parameters)):
            if node.get("Relation Name") in TABLES and node["Node Type"] not in ("ModifyTable", "Bitmap Heap Scan"):
                yield node.get("Index Cond", node["Node Type"])
            elif node["Node Type"] == "Bitmap Index Scan":
                yield node["Index Cond"]


async def _plan(connection: AsyncConnection, statement: str, parameters: Any) -> dict[str, Any]:
    """How PostgreSQL executes a statement."""
    found = (await connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters)).scalar_one()
    plan: dict[str, Any] = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
    return plan


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


@pytest.mark.postgres
async def test_no_statistics(postgres: TempDatabase) -> None:
    """A chunk is read in the order of the key, and nothing is sorted, though the table was filled a moment ago."""
    engine = create_async_engine(postgres.url)
    chunks: dict[str, Any] = {}

    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def remember(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        if statement.startswith("SELECT") and "group_clicks" in statement and "LIMIT" in statement:
            chunks[statement] = parameters

    async with ClickStore(engine, schema=postgres.schema) as store:
        # With fewer rows PostgreSQL would choose right by luck.
        await postgres.sql(
            f"INSERT INTO {postgres.schema}.group_clicks SELECT 'default', date '2025-01-01' + day, id, 'name', 1, 1 "
            "FROM generate_series(0, 199) day, generate_series(1, 500) id"
        )
        assert await anext(store.clicks("2025-01-01", "2026-12-31"))
    ((statement, parameters),) = chunks.items()
    database = Database(engine, postgres.schema)
    await database.open()
    plan = await database.read(partial(_plan, statement=statement, parameters=parameters))
    await engine.dispose()
    assert {"Limit", "Index Scan"} <= {node["Node Type"] for node in _nodes(plan)}
    assert not [node for node in _nodes(plan) if "Sort" in node["Node Type"]]


async def test_linear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four times the dates take four times the steps of SQLite's machine, not sixteen times."""
    monkeypatch.setattr("clicksgroup.store.reading.CHUNK_ROWS", 20)
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'clicks.db'}")
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    @event.listens_for(engine.sync_engine, "connect")
    def watch(connection: Any, _: object) -> None:
        connection.run_async(lambda driver: driver.set_progress_handler(count, 10))

    taken = []
    async with ClickStore(engine) as store:
        dates = date_range("2025-01-01", "2025-07-19")
        for date in dates:
            await store.put(make_day(date, {1: 1, 2: 2, 3: 3}))
        for length in (50, 200):
            for stream in (store.clicks(dates[0], dates[length - 1]), store.days(dates[0], dates[length - 1])):
                steps = 0
                assert [item async for item in stream]
                taken.append(steps)
    await engine.dispose()
    assert taken[2] < 5 * taken[0]
    assert taken[3] < 5 * taken[1]
