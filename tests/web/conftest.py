"""The web backends behind real servers, before a sandbox whose answers the test can hold back."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from clicksgroup import ClicksClient, Quota
from clicksgroup.sandbox import Fault, Sandbox, SeenRequest
from tests.web import aiohttp_app, fastapi_app, fastapi_small
from tests.web.servers import SERVERS, TIMEOUT, Ask, Gate, RequestCounter, Server


@pytest.fixture(params=SERVERS.values(), ids=list(SERVERS))
def server(request: pytest.FixtureRequest) -> Server:
    """What serves the backend under test."""
    server: Server = request.param
    return server


@pytest.fixture
def faults() -> list[Fault]:
    """What goes wrong in the service, from the moment that it is appended."""
    return []


@pytest.fixture
async def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faults: list[Fault]) -> AsyncIterator[Sandbox]:
    """A sandbox, and the environment in which the backends find it and a store."""

    def fault_for(seen: SeenRequest) -> Fault | None:
        return next((fault for fault in faults if fault.hits(seen)), None)

    async with Sandbox(plan="enterprise", quota=Quota(in_flight=50), faults=fault_for) as sandbox:
        monkeypatch.setenv("CLICKSGROUP_API_KEY", sandbox.api_key)
        monkeypatch.setenv("CLICKSGROUP_BASE_URL", sandbox.url)
        monkeypatch.setenv("CLICKSGROUP_PLAN", "enterprise")
        monkeypatch.setenv("CLICKSGROUP_STORE", str(tmp_path / "clicks.db"))
        # The smallest backend keeps its store here.
        monkeypatch.chdir(tmp_path)
        yield sandbox


@pytest.fixture
async def gate(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gate]:
    """The backends' client sends one request at a time, and through this gate."""
    gate = Gate()
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), middlewares=[gate]) as session:
        gated_client = functools.partial(ClicksClient, session=session, quota=Quota(in_flight=1))
        for module in (fastapi_app, fastapi_small, aiohttp_app):
            monkeypatch.setattr(module, "ClicksClient", gated_client)
        yield gate


@pytest.fixture
def counter() -> RequestCounter:
    return RequestCounter()


@pytest.fixture
async def browser() -> AsyncIterator[aiohttp.ClientSession]:
    """A caller of the backend, with any number of connections."""
    timeout = aiohttp.ClientTimeout(TIMEOUT)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        yield session


@pytest.fixture
async def url(server: Server, counter: RequestCounter, sandbox: Sandbox) -> AsyncIterator[str]:
    """Where the backend under test is."""
    async with server(counter) as url:
        yield url


@pytest.fixture
def ask(browser: aiohttp.ClientSession, url: str) -> Ask:
    async def ask(path: str) -> Any:
        async with browser.get(url + path, raise_for_status=True) as response:
            return await response.json()

    return ask
