"""The store: the time to write 365 days of 1,000 groups, one transaction a date, and to read them."""

from __future__ import annotations

import asyncio
import os
import tempfile

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

BARE = Side("bare sqlite3 loop", "bare_sqlite")
SQLITE = Side("ClickStore, SQLite", "click_store", ("sqlalchemy", "aiosqlite"))
POSTGRES = Side("ClickStore, PostgreSQL", "click_store", ("sqlalchemy", "aiosqlite", "asyncpg"))
DLT = Side("dlt, DuckDB, one load for all", "dlt_duckdb", ("dlt", "duckdb"))


def run(options: Options) -> str:
    """Write and read on each side, and return the table."""
    sides, left_out = split_by_missing((BARE, SQLITE, POSTGRES, DLT))
    if POSTGRES in sides and (reason := asyncio.run(_why_no_postgres())):
        sides.remove(POSTGRES)
        left_out.append(f"- {POSTGRES.name} is left out: {reason}; set CLICKSGROUP_TEST_POSTGRES_URL")
    days, groups = (5, 50) if options.quick else (365, 1000)

    def measure(side: Side) -> Measures:
        url = POSTGRES_URL if side is POSTGRES else ""
        with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
            return in_fresh_process(
                "benchmarks.stores", side=side.module, folder=folder, days=days, groups=groups, url=url
            )

    rounds = take_turns(sides, options.rounds, measure)
    rows = [
        (
            side.name,
            f"{median(runs, 'write_ms'):.1f}",
            f"{ratio(runs, rounds[BARE.name], 'write_ms'):.1f}",
            f"{median(runs, 'cpu_ms'):.1f}",
            f"{median(runs, 'read_s'):.2f}",
            f"{ratio(runs, rounds[BARE.name], 'read_s'):.1f}",
        )
        for side in sides
        for runs in [rounds[side.name]]
    ]
    head = (f"{days} days, {groups:,} groups", "writing a day, ms", "× bare", "CPU, ms", "reading all, s", "× bare")
    versions = machine(["sqlalchemy", "aiosqlite", "asyncpg", "dlt", "duckdb"])
    return "\n\n".join([versions, *(["\n".join(left_out)] if left_out else []), table(head, rows)])


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
