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

    impl = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
    cache_ok = True

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


def _key(name: str, type_: type[sa.types.TypeEngine[Any]]) -> sa.Column[Any]:
    return sa.Column(name, type_, primary_key=True, autoincrement=False)


# In the database's default schema: for another one, a connection translates their names.
_metadata = sa.MetaData()

group_clicks = sa.Table(
    "group_clicks",
    _metadata,
    _key("account", sa.Text),
    _key("date", sa.Date),
    _key("group_id", sa.BigInteger),
    sa.Column("group_name", sa.Text, nullable=False),
    sa.Column("clicks", sa.BigInteger, nullable=False),
    sa.Column("unique_users", sa.BigInteger, nullable=False),
    # SQLite keeps the rows in the order of the key: a third less to store, and quicker to read.
    sqlite_with_rowid=False,
)

click_dates = sa.Table(
    "click_dates",
    _metadata,
    _key("account", sa.Text),
    _key("date", sa.Date),
    sa.Column("total_count", sa.BigInteger, nullable=False),
    sa.Column("fetched_at", UTCDateTime, nullable=False),
    sa.Column("problems", Problems),
)

click_date_groups = sa.Table(
    "click_date_groups",
    _metadata,
    _key("account", sa.Text),
    _key("date", sa.Date),
    _key("group_id", sa.BigInteger),
    sa.Column("fetched_at", UTCDateTime, nullable=False),
    sa.Column("problems", Problems),
)

click_date_failures = sa.Table(
    "click_date_failures",
    _metadata,
    _key("account", sa.Text),
    _key("date", sa.Date),
    sa.Column("failed_at", UTCDateTime, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
)

click_accounts = sa.Table(
    "click_accounts",
    _metadata,
    _key("account", sa.Text),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("backfill_process", sa.Text),
)

_version = sa.Table("clicksgroup_schema", _metadata, _key("version", sa.Integer))


async def read_version(connection: AsyncConnection) -> int | None:
    """Return the version of the tables, or None where there are none."""
    if not await _exists(connection, _version):
        return None
    version: int | None = (await connection.execute(sa.select(sa.func.max(_version.c.version)))).scalar()
    return version


async def create_tables(connection: AsyncConnection) -> int:
    """Create the tables, unless another process has done so meanwhile, and return their version."""
    if (version := await read_version(connection)) is not None:
        return version
    schema = await connection.run_sync(_schema)
    for table in (group_clicks, click_dates):
        if await _exists(connection, table):
            name = f"{schema}.{table.name}" if schema else table.name
            raise StoreError(
                f"the table {name} exists already and is not clicksgroup's; use another database or schema"
            )
    if schema is not None and not await connection.run_sync(lambda c: sa.inspect(c).has_schema(schema)):
        await connection.execute(sa.schema.CreateSchema(schema))
    await connection.run_sync(_metadata.create_all)
    await connection.execute(_version.insert(), {"version": SCHEMA_VERSION})
    return SCHEMA_VERSION


async def upgrade_tables(connection: AsyncConnection) -> None:
    """Bring tables of an older version up to date. No two transactions may do it at once."""
    if await read_version(connection) == 1:
        await connection.run_sync(click_accounts.create)
        await connection.execute(_version.update().values(version=SCHEMA_VERSION))


async def _exists(connection: AsyncConnection, table: sa.Table) -> bool:
    return await connection.run_sync(lambda c: sa.inspect(c).has_table(table.name, schema=_schema(c)))


def _schema(connection: sa.Connection) -> str | None:
    return connection.schema_for_object(_version)
