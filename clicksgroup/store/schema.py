"""The tables. `group_clicks` and `click_dates` are public: read them with your own SQL.

- `group_clicks(account, date, group_id, group_name, clicks, unique_users)`: one row for each group of each date.
- `click_dates(account, date, total_count, fetched_at, problems)`: one row for each date that was fetched whole.

The others are internal and may change: `click_date_groups` (groups that were asked for by id, listed or not),
`click_date_failures` (the last failure of a date that could not be fetched), `click_accounts` (where the clicks of an
account come from, and the process that fetches them), `clicksgroup_schema` (the version).
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Collection
from typing import Any

import attrs
import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from clicksgroup.errors import StoreError

SCHEMA_LOCK = "clicksgroup schema"
"""The lock of a transaction that creates or upgrades the tables."""

SCHEMA_VERSION = 2
"""Goes up when the tables change. A store of a newer version than the code's is refused.

Version 1 had no `click_accounts`. Such a store can be read as it is; the next backfill upgrades it.
"""

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def storable(text: str) -> str:
    """Replace NUL, which PostgreSQL cannot hold, and lone surrogates, which UTF-8 cannot, by U+FFFD."""
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def any_of(column: sa.ColumnElement[int], ids: Collection[int]) -> sa.ColumnElement[bool]:
    """Return `column IN (...)` with the ids in the text of the statement: databases limit the number of parameters."""
    return column.in_(sa.bindparam(None, ids, expanding=True, literal_execute=True))


class UTCDateTime(sa.TypeDecorator[datetime.datetime]):
    """An aware datetime in UTC.

    PostgreSQL holds it as `timestamptz`. SQLite holds it as text of fixed width, such as
    `2025-02-01T12:00:00.000000Z`, which sorts as time does and which SQLite's own date functions understand.
    """

    impl = sa.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        kind = sa.Text() if dialect.name == "sqlite" else sa.DateTime(timezone=True)
        return dialect.type_descriptor(kind)

    def process_bind_param(self, value: datetime.datetime | None, dialect: sa.Dialect) -> Any:
        if value is None:
            return None
        value = value.astimezone(datetime.UTC)
        if dialect.name == "sqlite":
            return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
        return value

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> datetime.datetime | None:  # noqa: ARG002
        if isinstance(value, str):
            value = datetime.datetime.fromisoformat(value)
        return None if value is None else value.astimezone(datetime.UTC)


class Problems(sa.TypeDecorator[tuple[str, ...]]):
    """The problems of a date, held as a JSON array of strings; NULL where there are none."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: tuple[str, ...] | None, dialect: sa.Dialect) -> str | None:  # noqa: ARG002
        return orjson.dumps([storable(problem) for problem in value]).decode() if value else None

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> tuple[str, ...]:  # noqa: ARG002
        return tuple(orjson.loads(value)) if value else ()


@attrs.frozen
class Tables:
    """The tables, in a PostgreSQL schema or in the database's default one."""

    metadata: sa.MetaData
    group_clicks: sa.Table
    click_dates: sa.Table
    click_date_groups: sa.Table
    click_date_failures: sa.Table
    click_accounts: sa.Table
    version: sa.Table

    @classmethod
    def of(cls, schema: str | None) -> Tables:
        metadata = sa.MetaData(schema=schema)
        return cls(
            metadata,
            group_clicks=sa.Table(
                "group_clicks",
                metadata,
                *_key("account", "date", "group_id"),
                sa.Column("group_name", sa.Text, nullable=False),
                sa.Column("clicks", sa.BigInteger, nullable=False),
                sa.Column("unique_users", sa.BigInteger, nullable=False),
                # SQLite keeps the rows in the order of the key: a third less to store, and quicker to read.
                sqlite_with_rowid=False,
            ),
            click_dates=sa.Table(
                "click_dates",
                metadata,
                *_key("account", "date"),
                sa.Column("total_count", sa.BigInteger, nullable=False),
                sa.Column("fetched_at", UTCDateTime, nullable=False),
                sa.Column("problems", Problems),
            ),
            click_date_groups=sa.Table(
                "click_date_groups",
                metadata,
                *_key("account", "date", "group_id"),
                sa.Column("fetched_at", UTCDateTime, nullable=False),
                sa.Column("problems", Problems),
            ),
            click_date_failures=sa.Table(
                "click_date_failures",
                metadata,
                *_key("account", "date"),
                sa.Column("failed_at", UTCDateTime, nullable=False),
                sa.Column("error", sa.Text, nullable=False),
            ),
            click_accounts=sa.Table(
                "click_accounts",
                metadata,
                *_key("account"),
                sa.Column("origin", sa.Text, nullable=False),
                sa.Column("backfill_process", sa.Text),
            ),
            version=sa.Table(
                "clicksgroup_schema", metadata, sa.Column("version", sa.Integer, primary_key=True, autoincrement=False)
            ),
        )


async def read_version(connection: AsyncConnection, tables: Tables) -> int | None:
    """Return the version of the tables, or None where there are none."""
    if not await _exists(connection, tables.version):
        return None
    version: int | None = (await connection.execute(sa.select(sa.func.max(tables.version.c.version)))).scalar()
    return version


async def create_tables(connection: AsyncConnection, tables: Tables) -> int:
    """Create the tables, unless another process has done so meanwhile, and return their version.

    Raises:
        StoreError: there is another table of the same name.
    """
    if (version := await read_version(connection, tables)) is not None:
        return version
    for table in (tables.group_clicks, tables.click_dates):
        if await _exists(connection, table):
            raise StoreError(
                f"the table {table.fullname} exists already and is not clicksgroup's; use another database or schema"
            )
    schema = tables.metadata.schema
    if schema is not None and not await connection.run_sync(lambda c: sa.inspect(c).has_schema(schema)):
        await connection.execute(sa.schema.CreateSchema(schema))
    await connection.run_sync(tables.metadata.create_all)
    await connection.execute(tables.version.insert(), {"version": SCHEMA_VERSION})
    return SCHEMA_VERSION


async def upgrade_tables(connection: AsyncConnection, tables: Tables) -> None:
    """Bring tables of an older version up to date. No two transactions may do it at once."""
    if await read_version(connection, tables) == 1:
        await connection.run_sync(tables.click_accounts.create)
        await connection.execute(tables.version.update().values(version=SCHEMA_VERSION))


async def _exists(connection: AsyncConnection, table: sa.Table) -> bool:
    return await connection.run_sync(lambda c: sa.inspect(c).has_table(table.name, schema=table.schema))


_KEY_TYPES: dict[str, sa.types.TypeEngine[Any]] = {
    "account": sa.Text(),
    "date": sa.Date(),
    "group_id": sa.BigInteger(),
}


def _key(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, _KEY_TYPES[name], primary_key=True, autoincrement=False) for name in names]
