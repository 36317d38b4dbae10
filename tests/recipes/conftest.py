"""A sandbox, and the environment and folder in which the recipes find it."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]
import pytest

from clicksgroup import Quota
from clicksgroup.sandbox import Sandbox

POSTGRES = os.environ.get("CLICKSGROUP_TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/test").replace(
    "+asyncpg", ""
)


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An empty folder to work in, from which nothing is sent to anybody but the sandbox."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "dlt"))
    monkeypatch.setenv("RUNTIME__DLTHUB_TELEMETRY", "false")
    monkeypatch.setenv("CLICKSGROUP_PLAN", "enterprise")
    monkeypatch.setenv("CLICKSGROUP_USER_AGENT", "Example Inc.")
    return monkeypatch


@pytest.fixture
async def sandbox(environment: pytest.MonkeyPatch) -> AsyncIterator[Sandbox]:
    async with Sandbox(groups=40, plan="enterprise", quota=Quota(in_flight=10), api_key="my-secret-key") as sandbox:
        environment.setenv("CLICKSGROUP_API_KEY", sandbox.api_key)
        environment.setenv("CLICKSGROUP_BASE_URL", sandbox.url)
        yield sandbox


@pytest.fixture
async def postgres() -> AsyncIterator[str]:
    """The URL of an empty database."""
    name = f"recipes_{uuid.uuid4().hex}"
    try:
        server = await asyncpg.connect(POSTGRES)
    except (OSError, asyncpg.PostgresError) as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"no PostgreSQL: {error}")
    try:
        await server.execute(f"CREATE DATABASE {name}")
        yield f"{POSTGRES.replace('postgresql', 'postgresql+asyncpg').rpartition('/')[0]}/{name}"
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await server.close()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'clicks.db'}"
    url: str = request.getfixturevalue("postgres")
    return url
