"""Both apps behind a real server each, and what lets a test say when something goes on."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, TypeAlias

import aiohttp
import pytest
import uvicorn
from aiohttp import web
from aiohttp.typedefs import Handler

from tests.web import aiohttp_app, fastapi_app

PATIENCE = 20.0
"""Seconds after which a test that waits for what will never come is told so."""


class Watch:
    """How many requests have reached the app's handlers, and how many of them have ended, in whichever way."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended = 0
        self._changed = asyncio.Event()

    @contextmanager
    def request(self) -> Iterator[None]:
        self.begun += 1
        self._changed.set()
        try:
            yield
        finally:
            self.ended += 1
            self._changed.set()

    async def until(self, *, begun: int = 0, ended: int = 0) -> None:
        async with asyncio.timeout(PATIENCE):
            while self.begun < begun or self.ended < ended:
                self._changed.clear()
                await self._changed.wait()


class Gate:
    """Stands between the app's client and the sandbox."""

    def __init__(self) -> None:
        self.arrived = 0
        self._may_pass = asyncio.Semaphore(0)
        self._changed = asyncio.Event()

    def let_through(self, count: int) -> None:
        for _ in range(count):
            self._may_pass.release()

    async def until_arrived(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while self.arrived < count:
                self._changed.clear()
                await self._changed.wait()

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        self.arrived += 1
        self._changed.set()
        await self._may_pass.acquire()
        return await handler(request)


@asynccontextmanager
async def fastapi_server(watch: Watch) -> AsyncIterator[str]:
    async def watched(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            with watch.request():
                await fastapi_app.app(scope, receive, send)
        else:
            await fastapi_app.app(scope, receive, send)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(watched, ws="none", log_level="critical"))
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


@asynccontextmanager
async def aiohttp_server(watch: Watch) -> AsyncIterator[str]:
    @web.middleware
    async def watched(request: web.Request, handler: Handler) -> web.StreamResponse:
        with watch.request():
            return await handler(request)

    given: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:  # the server as the app's own `main` starts it
        patch.setattr(web, "run_app", lambda app, **options: given.update(options, app=app))
        aiohttp_app.main()
    app: web.Application = given.pop("app")
    app.middlewares.insert(0, watched)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, **given)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield "http://127.0.0.1:{1}".format(*runner.addresses[0])
    finally:
        await runner.cleanup()


Server: TypeAlias = Callable[[Watch], AbstractAsyncContextManager[str]]

Ask: TypeAlias = Callable[[str], Coroutine[Any, Any, Any]]
