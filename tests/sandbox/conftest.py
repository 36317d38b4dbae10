"""How the tests ask a sandbox without the client, which is tested against it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import aiohttp
import attrs
import pytest

from clicksgroup.sandbox import Sandbox

V1 = "/api/link/v1/clicks-by-group"
V2 = "/api/link/v2/clicks-by-group"
GROUPS = "/api/link-group/v2/list"


@attrs.frozen
class Response:
    status: int
    headers: Any
    body: bytes
    json: Any


Ask: TypeAlias = Callable[..., Awaitable[Response]]


@pytest.fixture
async def ask() -> AsyncIterator[Ask]:
    """Send one request with the right key and User-Agent; keyword arguments are its parameters."""
    async with aiohttp.ClientSession() as session:

        async def ask(
            sandbox: Sandbox, *, path: str | None = None, headers: dict[str, str | None] | None = None, **query: object
        ) -> Response:
            path = path or (V2 if "startYmd" in query else V1)
            sent = {"User-Agent": "Acme Shop/1.0", "Authorization": f"APIKey {sandbox.api_key}", **(headers or {})}
            async with session.get(
                sandbox.url + path,
                params={name: str(value) for name, value in query.items()},
                headers={name: value for name, value in sent.items() if value is not None},
                skip_auto_headers=[name for name, value in sent.items() if value is None],
                allow_redirects=False,
            ) as response:
                body = await response.read()
                try:
                    parsed = json.loads(body)
                except ValueError:
                    parsed = None
                return Response(response.status, response.headers, body, parsed)

        yield ask
