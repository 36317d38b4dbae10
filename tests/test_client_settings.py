"""Settings, opening, closing."""

from __future__ import annotations

import subprocess
import sys

import aiohttp
import pytest

from clicksgroup import (
    ClicksClient,
    ClientClosedError,
    ConfigurationError,
    Plan,
    date_range,
)
from clicksgroup.sandbox import Sandbox
from clicksgroup.settings import origin_of


async def test_environment(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment counts where no argument is given."""
    monkeypatch.setenv("CLICKSGROUP_API_KEY", sandbox.api_key)
    monkeypatch.setenv("CLICKSGROUP_PLAN", "Business")
    monkeypatch.setenv("CLICKSGROUP_BASE_URL", sandbox.url)
    monkeypatch.setenv("CLICKSGROUP_USER_AGENT", "Acme Shop")
    async with ClicksClient() as client:
        assert await client.page("2025-01-01")
        assert "Business" in repr(client)
    async with ClicksClient(user_agent="Other Shop", plan=Plan.BUSINESS) as client:
        assert await client.page("2025-01-01")
    assert [request.user_agent for request in sandbox.requests] == ["Acme Shop", "Other Shop"]


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without either the defaults are safe; an empty variable is none."""
    for name in ("PLAN", "BASE_URL", "USER_AGENT"):
        monkeypatch.setenv(f"CLICKSGROUP_{name}", "")
    client = ClicksClient("key")
    assert repr(client) == "<ClicksClient https://vivoldi.com, Personal: not opened>"
    assert client.estimate(date_range("2025-01-01", "2025-01-10")).seconds == 60


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "api.localhost", "127.9.9.9:8080"])
def test_plain_http(host: str) -> None:
    """Plain http is for this machine."""
    assert ClicksClient("key", base_url=f"http://{host}/")
    assert ClicksClient("key", base_url="http://example.com", allow_http=True)


def test_base_url_with_path() -> None:
    """A base URL may have a path."""
    assert "https://proxy.example/vivoldi," in repr(ClicksClient("key", base_url="https://proxy.example/vivoldi/"))


def test_origin() -> None:
    """An origin is scheme, host and port."""
    assert origin_of("https://Vivoldi.com/a") == origin_of("https://vivoldi.com:443") == "https://vivoldi.com:443"
    assert origin_of("http://127.0.0.1:80") == origin_of("http://127.0.0.1")
    assert origin_of("http://127.0.0.1:81") != origin_of("http://127.0.0.1")


async def test_opened_once(sandbox: Sandbox) -> None:
    """A client is opened once, and used in between."""
    client = sandbox.client()
    with pytest.raises(ClientClosedError, match="not open"):
        await client.day("2025-01-01")
    async with client:
        await client.day("2025-01-01")
        with pytest.raises(ClientClosedError, match="opened once"):
            await client.__aenter__()
    assert "closed" in repr(client)
    for ask in (client.day, client.page):
        with pytest.raises(ClientClosedError, match="closed"):
            await ask("2025-01-01")
    with pytest.raises(ClientClosedError, match="opened once"):
        await client.__aenter__()


async def test_borrowed_session(sandbox: Sandbox) -> None:
    """A borrowed session is left open, and our headers win."""
    headers = {"User-Agent": "Mozilla/5.0", "Authorization": "APIKey wrong"}
    async with aiohttp.ClientSession(headers=headers, raise_for_status=True) as session:
        async with sandbox.client(session=session, user_agent="Acme Shop") as client:
            await client.page("2025-01-01")
        assert not session.closed
    assert [request.user_agent for request in sandbox.requests] == ["Acme Shop"]
    with pytest.raises(ConfigurationError, match="session: it is closed"):
        await sandbox.client(session=session).__aenter__()


def test_import() -> None:
    """Nor anything heavy that only some need."""
    program = (
        "import sys, clicksgroup; clicksgroup.ClicksClient; print(*{name.partition('.')[0] for name in sys.modules})"
    )
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    assert {"aiohttp", "attr", "cattrs", "orjson"} <= set(loaded)
    extras = {
        "click", "rich", "sqlalchemy", "aiosqlite", "sqlite3", "asyncpg", "redis", "arro3", "pyarrow", "pandas",
        "vl_convert", "hypothesis", "pytest", "numpy",
    }  # fmt: skip
    assert not extras & set(loaded)
