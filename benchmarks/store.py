"""The store against bare drivers: writing a date, and reading records, CSV, Parquet and Arrow, a year and longer."""

from __future__ import annotations

import asyncio
import os
import tempfile
import uuid

from benchmarks.harness import (
    Measures,
    Options,
    Side,
    in_fresh_process,
    machine,
    median,
    ratio,
    split_by_missing,
    table,
    take_turns,
)

POSTGRES_URL = os.environ.get(
    "CLICKSGROUP_TEST_POSTGRES_URL", "postgresql+asyncpg://postgres@127.0.0.1:5432/test"
).replace("postgresql://", "postgresql+asyncpg://")

ARROW = ("arro3-core", "arro3-io")
BARE = Side("bare sqlite3 loop", "bare_sqlite", ARROW)
SQLITE = Side("ClickStore, SQLite", "click_store", ("sqlalchemy", "aiosqlite", *ARROW))
BARE_POSTGRES = Side("bare asyncpg loop", "bare_asyncpg", ("asyncpg", *ARROW))
POSTGRES = Side("ClickStore, PostgreSQL", "click_store", ("sqlalchemy", "aiosqlite", "asyncpg", *ARROW))
DLT = Side("dlt, DuckDB, one load for all", "dlt_duckdb", ("dlt", "duckdb"))

WAYS = {"read_us": "records", "csv_us": "CSV", "parquet_us": "Parquet", "arrow_us": "Arrow"}
"""The ways to read, each with the title of its column."""


def run(options: Options) -> str:
    """Write and read on each side, and return the tables."""
    sides, left_out = split_by_missing((BARE, SQLITE, BARE_POSTGRES, POSTGRES, DLT))
    if POSTGRES in sides and (reason := asyncio.run(_why_no_postgres())):
        sides = [side for side in sides if side not in (POSTGRES, BARE_POSTGRES)]
        left_out.append(f"- PostgreSQL is left out: {reason}; set CLICKSGROUP_TEST_POSTGRES_URL")
    days, groups = (5, 50) if options.quick else (365, 1000)
    rounds = take_turns(sides, options.rounds, lambda side: _measure(options, side, days, groups))
    rows = []
    for side in sides:
        runs, bare = rounds[side.name], rounds[(BARE_POSTGRES if side in (POSTGRES, BARE_POSTGRES) else BARE).name]
        row = [side.name, f"{median(runs, 'write_ms'):.1f}", f"{ratio(runs, bare, 'write_ms'):.1f}"]
        for way in WAYS:
            known = way in runs[0]
            row += [f"{median(runs, way):.2f}", f"{ratio(runs, bare, way):.1f}"] if known else ["", ""]
        rows.append([*row, f"{median(runs, 'peak_mib'):.0f}" if "peak_mib" in runs[0] else ""])
    titles = [cell for title in WAYS.values() for cell in (f"{title}, µs each", "× bare")]
    head = (f"{days} days, {groups:,} groups", "writing a day, ms", "× bare", *titles, "peak, MiB")
    versions = machine(["sqlalchemy", "aiosqlite", "asyncpg", "arro3-core", "dlt", "duckdb"])
    parts = [versions, *(["\n".join(left_out)] if left_out else []), table(head, rows)]
    if SQLITE in sides:
        parts.append(_growth(options))
    return "\n\n".join(parts)


def _growth(options: Options) -> str:
    """The cost of a record as the store grows."""
    lengths, groups = ((5, 20), 50) if options.quick else ((100, 400, 1600), 1000)
    rows = []
    for days in lengths:
        found = _measure(options, SQLITE, days, groups)
        rows.append(
            [f"{days:,} dates", f"{found['write_ms'] / groups * 1e3:.2f}"]
            + [f"{found[way]:.2f}" for way in WAYS]
            + [f"{found['peak_mib']:.0f}"]
        )
    return table((f"µs a record, {groups:,} groups a date", "writing", *WAYS.values(), "peak, MiB"), rows)


def _measure(options: Options, side: Side, days: int, groups: int) -> Measures:
    url = POSTGRES_URL if side in (POSTGRES, BARE_POSTGRES) else ""
    schema = f"benchmark_{uuid.uuid4().hex}" if url else ""
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        try:
            measures: dict[str, float] = {}
            for step in ("write", "read"):
                measures |= in_fresh_process(
                    "benchmarks.stores",
                    step=step, side=side.module, folder=folder, days=days, groups=groups, url=url, schema=schema,
                )  # fmt: skip
            return measures
        finally:
            if schema:
                asyncio.run(_drop(schema))


async def _drop(schema: str) -> None:
    import sqlalchemy as sa
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine(POSTGRES_URL)
    async with engine.begin() as connection:
        await connection.execute(sa.schema.DropSchema(schema, cascade=True, if_exists=True))
    await engine.dispose()


async def _why_no_postgres() -> str:
    """Why PostgreSQL cannot be used; empty if it can."""
    import sqlalchemy as sa
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine(POSTGRES_URL)
    try:
        async with engine.connect():
            return ""
    except (OSError, sa.exc.SQLAlchemyError) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        await engine.dispose()
