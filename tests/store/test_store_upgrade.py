"""A store of an older version is read as it is, and upgraded in place by the next backfill."""

from __future__ import annotations

import pytest

from clicksgroup.errors import StoreError
from tests.store.databases import TempDatabase, make_day
from tests.store.fake_client import FakeClient

VERSION_1 = {
    "sqlite": """
CREATE TABLE group_clicks (account TEXT NOT NULL, date DATE NOT NULL, group_id BIGINT NOT NULL,
    group_name TEXT NOT NULL, clicks BIGINT NOT NULL, unique_users BIGINT NOT NULL,
    PRIMARY KEY (account, date, group_id));
CREATE TABLE click_dates (account TEXT NOT NULL, date DATE NOT NULL, total_count BIGINT NOT NULL,
    fetched_at TEXT NOT NULL, problems TEXT, PRIMARY KEY (account, date));
CREATE TABLE click_date_groups (account TEXT NOT NULL, date DATE NOT NULL, group_id BIGINT NOT NULL,
    fetched_at TEXT NOT NULL, problems TEXT, PRIMARY KEY (account, date, group_id));
CREATE TABLE click_date_failures (account TEXT NOT NULL, date DATE NOT NULL, failed_at TEXT NOT NULL,
    error TEXT NOT NULL, PRIMARY KEY (account, date));
CREATE TABLE clicksgroup_schema (version INTEGER NOT NULL, PRIMARY KEY (version));
INSERT INTO clicksgroup_schema VALUES (1);
INSERT INTO click_dates VALUES ('default', '2025-01-01', 2, '2026-01-01T00:00:00.000000Z', NULL);
INSERT INTO group_clicks VALUES ('default', '2025-01-01', 1, 'group 1', 10, 9);
INSERT INTO group_clicks VALUES ('default', '2025-01-01', 2, 'group 2', 20, 18)
""",
}
VERSION_1["postgresql"] = (
    VERSION_1["sqlite"]
    .replace("fetched_at TEXT", "fetched_at TIMESTAMP WITH TIME ZONE")
    .replace("failed_at TEXT", "failed_at TIMESTAMP WITH TIME ZONE")
)
"""The tables as version 1 made them, with a date."""

JAN_1 = make_day("2025-01-01", {1: 10, 2: 20})


async def fill_version_1(database: TempDatabase) -> None:
    script = VERSION_1[database.dialect]
    if database.schema:
        await database.sql(f"CREATE SCHEMA {database.schema}")
        for words in ("CREATE TABLE ", "INSERT INTO "):
            script = script.replace(words, f"{words}{database.schema}.")
    for statement in script.split(";"):
        await database.sql(statement)


async def version_of(database: TempDatabase) -> int:
    ((version,),) = await database.sql(f"SELECT version FROM {database.table('clicksgroup_schema')}")
    return int(version)


@pytest.mark.parametrize("read_only", [True, False])
async def test_read(database: TempDatabase, read_only: bool) -> None:
    """To read it needs no right to change it."""
    await fill_version_1(database)
    async with database.store(read_only=read_only) as store:
        assert [day async for day in store.days("2025-01-01", "2025-01-02")] == [JAN_1]
    assert await version_of(database) == 1


async def test_upgrade(database: TempDatabase) -> None:
    """A backfill keeps its dates, sets the origin of its account, and upgrades it."""
    await fill_version_1(database)
    async with database.store() as store:
        client = FakeClient()
        report = await store.backfill(client, ["2025-01-01", "2025-01-02"])
        assert (report.skipped, report.fetched) == (1, 1)
        assert await version_of(database) == 2
        assert [day async for day in store.days("2025-01-01", "2025-01-01")] == [JAN_1]
        client.origin = "a sandbox"
        with pytest.raises(StoreError, match=r"come from https://vivoldi\.com:443"):
            await store.backfill(client, "2025-01-03")


async def test_upgrade_fails(database: TempDatabase) -> None:
    """The upgrade is one transaction: where it fails, the store is as it was."""
    await fill_version_1(database)
    await database.sql(f"CREATE TABLE {database.table('click_accounts')} (id int)")
    async with database.store() as store:
        client = FakeClient()
        with pytest.raises(StoreError):
            await store.backfill(client, "2025-01-02")
    assert await version_of(database) == 1
    assert client.asked == []
