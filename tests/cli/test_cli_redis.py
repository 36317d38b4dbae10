"""`--redis` and `CLICKSGROUP_REDIS`: the quota of machines that share a key."""

from __future__ import annotations

from pathlib import Path

import pytest

from clicksgroup import Quota
from clicksgroup.quota.file import default_path
from clicksgroup.sandbox import Sandbox
from tests.cli.calls import PointAt, call_beside
from tests.redis_server import URL, connected

pytestmark = pytest.mark.redis

AWAY = "redis://:hunter2@127.0.0.1:1"


@pytest.mark.parametrize("command", [("clicks", "2025-01-03"), ("backfill", "2025-01-03"), ("doctor", "2025-01-03")])
async def test_quota_in_redis(
    point_at: PointAt, command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command that sends requests keeps its quota in Redis, and not in a file."""
    with connected() as connection:
        monkeypatch.setenv("CLICKSGROUP_STORE", str(tmp_path / "clicks.db"))
        monkeypatch.setenv("CLICKSGROUP_REDIS", URL)
        async with Sandbox(groups=1, quota=Quota((9, 60), in_flight=1)) as sandbox:
            point_at(sandbox)
            result = await call_beside(*command, "--quota", "9/60", "--in-flight", "1")
            path = default_path(sandbox.url, sandbox.api_key)
        kept = list(connection.scan_iter(f"{{clicksgroup:{path.stem}}}*"))
        connection.delete(*kept)
    assert result.exit_code == 0, result.stderr
    assert kept
    assert not path.exists()


@pytest.mark.slow
async def test_redis_unavailable(point_at: PointAt, tmp_path: Path) -> None:
    """A Redis that cannot be reached is one line before a request is sent, without its password."""
    async with Sandbox(groups=1) as sandbox:
        point_at(sandbox)
        result = await call_beside("backfill", "2025-01-03", "--redis", AWAY, "--store", str(tmp_path / "clicks.db"))
        assert sandbox.requests == []
    assert (result.exit_code, "run the same command again" in result.stderr) == (1, False)
    assert len(result.stderr.splitlines()) == 1
    assert "127.0.0.1:1" in result.stderr
    assert "hunter2" not in result.output


async def test_not_a_redis_url(point_at: PointAt) -> None:
    """A URL that is not of Redis is wrong usage, and its password is not shown."""
    async with Sandbox(groups=1) as sandbox:
        point_at(sandbox)
        result = await call_beside("clicks", "2025-01-03", "--redis", "http://:hunter2@host")
    assert (result.exit_code, "hunter2" in result.output) == (2, False)
