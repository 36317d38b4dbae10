"""Both apps behind a real server each, before a sandbox whose answers the test holds back as it likes."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from clicksgroup import ClicksClient, Quota
from clicksgroup.sandbox import Fault, Sandbox, SeenRequest
from tests.web import aiohttp_app, fastapi_app
from tests.web.servers import PATIENCE, Ask, Gate, Server, Watch, aiohttp_server, fastapi_server


@pytest.fixture(params=[fastapi_server, aiohttp_server], ids=["fastapi", "aiohttp"])
def server(request: pytest.FixtureRequest) -> Server:
    made: Server = request.param
    return made


@pytest.fixture
def faults() -> list[Fault]:
    """What goes wrong upstream, from the moment that it is appended."""
    return []


@pytest.fixture
async def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faults: list[Fault]) -> AsyncIterator[Sandbox]:
    """A sandbox, and the environment in which the apps find it, and a store."""

    def fault_for(seen: SeenRequest) -> Fault | None:
        return next((fault for fault in faults if fault.hits(seen)), None)

    async with Sandbox(plan="enterprise", quota=Quota(in_flight=50), faults=fault_for) as sandbox:
        monkeypatch.setenv("CLICKSGROUP_API_KEY", sandbox.api_key)
        monkeypatch.setenv("CLICKSGROUP_BASE_URL", sandbox.url)
        monkeypatch.setenv("CLICKSGROUP_PLAN", "enterprise")
        monkeypatch.setenv("CLICKSGROUP_STORE", str(tmp_path / "clicks.db"))
        yield sandbox


@pytest.fixture
async def gate(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gate]:
    """The apps' client sends one request at a time, and through this gate."""
    gate = Gate()
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), middlewares=[gate]) as session:
        held = functools.partial(ClicksClient, session=session, quota=Quota(in_flight=1))
        monkeypatch.setattr(fastapi_app, "ClicksClient", held)
        monkeypatch.setattr(aiohttp_app, "ClicksClient", held)
        yield gate


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
async def browser() -> AsyncIterator[aiohttp.ClientSession]:
    """As many connections as it likes."""
    timeout = aiohttp.ClientTimeout(PATIENCE)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        yield session


@pytest.fixture
async def url(server: Server, watch: Watch, sandbox: Sandbox) -> AsyncIterator[str]:
    async with server(watch) as url:
        yield url


@pytest.fixture
def ask(browser: aiohttp.ClientSession, url: str) -> Ask:
    async def ask(path: str) -> Any:
        async with browser.get(url + path, raise_for_status=True) as response:
            return await response.json()

    return ask
