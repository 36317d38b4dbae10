"""Behind a company's proxy: --proxy is used, other variables are not, and an error says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from clicksgroup.sandbox import Sandbox
from tests.cli.calls import PointAt, call, call_beside

NOBODY = "http://127.0.0.1:1"


@asynccontextmanager
async def http_proxy() -> AsyncIterator[tuple[str, list[str]]]:
    """A proxy for plain HTTP; gives its URL and the request lines that it saw."""
    seen: list[str] = []

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        line, rest = head.split("\r\n", 1)
        seen.append(line)
        method, target, version = line.split(" ")
        url = urlsplit(target)
        upstream, sender = await asyncio.open_connection(url.hostname, url.port)
        sender.write(f"{method} {url.path}?{url.query} {version}\r\nConnection: close\r\n{rest}".encode())
        writer.write(await upstream.read())
        for stream in (sender, writer):
            stream.close()

    async with await asyncio.start_server(forward, "127.0.0.1", 0) as server:
        yield f"http://user:word@127.0.0.1:{server.sockets[0].getsockname()[1]}", seen


@pytest.mark.parametrize("command", ["clicks", "doctor", "backfill"])
@pytest.mark.parametrize("how", ["option", "environment"])
async def test_proxy(command: str, how: str, point_at: PointAt, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All requests go through the proxy that --proxy or CLICKSGROUP_PROXY names."""
    async with Sandbox(groups=3) as sandbox, http_proxy() as (url, seen):
        point_at(sandbox)
        args = [command, "2025-01-03", *(["--store", store] if command == "backfill" else [])]
        if how == "environment":
            monkeypatch.setenv("CLICKSGROUP_PROXY", url)
        else:
            args += ["--proxy", url]
        result = await call_beside(*args)
        assert result.exit_code == 0
        assert len(seen) == len(sandbox.requests) > 0


async def test_sandbox_needs_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """--sandbox ignores the proxy of the environment."""
    monkeypatch.setenv("CLICKSGROUP_PROXY", NOBODY)
    assert (await call_beside("clicks", "2025-01-03", "--sandbox")).exit_code == 0


@pytest.mark.parametrize("url", ["proxy.example:3128", "socks5://proxy.example", "http://", "http://[x", "http://a:x"])
def test_not_a_proxy(url: str) -> None:
    """A value that is not the URL of an HTTP proxy is refused."""
    result = call("clicks", "2025-01-03", "--sandbox", "--proxy", url)
    assert (result.exit_code, "http://proxy.example:3128" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("variables", "hint"),
    [
        ({"http_proxy": "http://user:word@proxy.example:3128"}, "http_proxy names a proxy, and is ignored"),
        ({"http_proxy": "http://proxy.example", "no_proxy": "127.0.0.1"}, None),
        ({"https_proxy": "http://proxy.example"}, None),
        ({}, None),
        ({"CLICKSGROUP_PROXY": "http://user:word@127.0.0.1:1"}, "went through the proxy 127.0.0.1:1"),
    ],
)
def test_proxy_hint(variables: dict[str, str], hint: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed connection names the proxy that was used, or the variable that was ignored, without its password."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in {"CLICKSGROUP_API_KEY": "a-key", "CLICKSGROUP_BASE_URL": NOBODY, **variables}.items():
        monkeypatch.setenv(name, value)
    result = call("doctor", "2025-01-03", "--quiet")
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert (hint or "no connection") in result.stderr
    assert ("proxy" in result.stderr) == (hint is not None)
    assert "word" not in result.stderr
