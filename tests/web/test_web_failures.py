"""What a caller of the web backends gets when the service fails, and what a server does when it is told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from clicksgroup.sandbox import Fault, Sandbox
from tests.web.servers import ALL_SERVERS, SERVERS, TIMEOUT, RequestCounter, Server

ROOT = Path(__file__).parent.parent.parent

DAY = "/days/2025-01-06"
STREAM = "/clicks/2025-01-06/2025-01-06"

every_route = pytest.mark.parametrize(
    ("server", "path"),
    [
        *(pytest.param(server, DAY, id=f"{name}-day") for name, server in ALL_SERVERS.items()),
        *(pytest.param(server, STREAM, id=f"{name}-stream") for name, server in SERVERS.items()),
    ],
)


@pytest.fixture
def wrong_key(monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> str:
    monkeypatch.setenv("CLICKSGROUP_API_KEY", "wrong-key")
    return "wrong-key"


@pytest.fixture
def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
    return port


@pytest.fixture
def dead_service(monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox, unused_port: int) -> None:
    monkeypatch.setenv("CLICKSGROUP_BASE_URL", f"http://127.0.0.1:{unused_port}")


async def answer(browser: aiohttp.ClientSession, url: str) -> tuple[aiohttp.ClientResponse, str]:
    async with browser.get(url) as response:
        assert response.content_type == "application/json"
        body = await response.json()
        assert set(body) == {"error"}
        return response, body["error"]


class TestStatus:
    """An error before the first record has a status of its own."""

    pytestmark = every_route

    async def test_wrong_key(
        self, wrong_key: str, url: str, path: str, browser: aiohttp.ClientSession, sandbox: Sandbox
    ) -> None:
        """A key that the service refuses is a 502 after one request, and the answer does not show the key."""
        response, error = await answer(browser, url + path)
        assert response.status == 502
        assert "401" in error
        assert wrong_key not in error
        assert len(sandbox.requests) == 1

    @pytest.mark.slow
    async def test_dead_service(self, dead_service: None, url: str, path: str, browser: aiohttp.ClientSession) -> None:
        """A service that cannot be reached is a 502 after the three attempts of the policy for callers who wait."""
        response, error = await answer(browser, url + path)
        assert response.status == 502
        assert "3 attempts" in error

    async def test_used_up(
        self, url: str, path: str, browser: aiohttp.ClientSession, faults: list[Fault], sandbox: Sandbox
    ) -> None:
        """A quota that another program has used up is a 503 that says how long to wait; the next costs no request."""
        faults.append(Fault(retry_after=40, attempts=None))
        for _ in range(2):
            response, _ = await answer(browser, url + path)
            assert response.status == 503
            assert 0 < int(response.headers["Retry-After"]) <= 40
        assert len(sandbox.requests) == 1

    async def test_configuration(
        self,
        monkeypatch: pytest.MonkeyPatch,
        sandbox: Sandbox,
        server: Server,
        path: str,
        browser: aiohttp.ClientSession,
    ) -> None:
        """A refused configuration, here a plan that must name groups, is a 400."""
        monkeypatch.setenv("CLICKSGROUP_PLAN", "premium")
        async with server(RequestCounter()) as url:
            response, error = await answer(browser, url + path)
        assert response.status == 400
        assert "groups" in error


async def test_health(url: str, browser: aiohttp.ClientSession, sandbox: Sandbox) -> None:
    """The health route answers without a request to the service."""
    async with browser.get(url + "/health") as response:
        assert response.status == 200
        assert (await response.json())["requests"] == 0
    assert not sandbox.requests


@pytest.mark.parametrize("server", [SERVERS["fastapi"]], ids=["fastapi"])
async def test_openapi(url: str, browser: aiohttp.ClientSession) -> None:
    """The OpenAPI page types what is sent: a day, records as JSON lines, and failures as JSON."""
    async with browser.get(url + "/openapi.json") as response:
        page = await response.json()
    schemas = page["components"]["schemas"]
    assert schemas["RecordBody"]["properties"]["date"]["format"] == "date"
    assert schemas["RecordBody"]["properties"]["clicks"]["type"] == "integer"

    def content(path: str, status: str) -> Any:
        return page["paths"][path]["get"]["responses"][status]["content"]

    def reference(name: str) -> dict[str, Any]:
        return {"schema": {"$ref": f"#/components/schemas/{name}"}}

    assert content("/days/{date}", "200") == {"application/json": reference("DayBody")}
    assert content("/clicks/{start}/{end}", "200") == {"application/x-ndjson": reference("RecordBody")}
    for path in ("/days/{date}", "/clicks/{start}/{end}"):
        for status in ("400", "502", "503"):
            assert content(path, status) == {"application/json": reference("FailureBody")}


# Without the option, uvicorn waits until the stream ends.
FASTAPI = ["-m", "uvicorn", "tests.web.fastapi_app:app", "--timeout-graceful-shutdown", "1", "--port"]
AIOHTTP = ["-c", "from tests.web import aiohttp_app as a; a.SHUTDOWN_TIMEOUT = 1; a.main()"]


@asynccontextmanager
async def process(command: list[str], port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """A backend in a process of its own, once it accepts connections."""
    arguments = [*command, str(port)] if "uvicorn" in command else command
    environment = {**os.environ, "PORT": str(port), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    running = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    assert running.stdout is not None
    try:
        async with asyncio.timeout(TIMEOUT):
            while b"unning on http" not in (line := await running.stdout.readline()):
                assert line, "the server has ended"
        yield running
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that a process can handle")
@pytest.mark.parametrize(("command", "status"), [(FASTAPI, -signal.SIGTERM), (AIOHTTP, 0)], ids=["fastapi", "aiohttp"])
async def test_sigterm(
    sandbox: Sandbox,
    browser: aiohttp.ClientSession,
    unused_port: int,
    command: list[str],
    status: int,
) -> None:
    """A server that is told to stop ends, though a stream is open whose caller does not read on."""
    async with (
        process(command, unused_port) as running,
        browser.get(f"http://127.0.0.1:{unused_port}/clicks/1990-01-01/2024-12-31") as response,
    ):
        assert response.status == 200
        await response.content.readline()
        running.send_signal(signal.SIGTERM)
        async with asyncio.timeout(TIMEOUT):
            output, _ = await running.communicate()
        assert running.returncode == status, output.decode()
        assert sandbox.api_key not in output.decode()
        # The caller does not take this for the end of the records.
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.content.read()
