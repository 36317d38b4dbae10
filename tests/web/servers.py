"""The web backends behind real servers, and the means to hold a request until the test lets it go on."""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, TypeAlias

import aiohttp
import pytest
import uvicorn
from aiohttp import web
from aiohttp.typedefs import Handler
from fastapi import FastAPI

from tests.web import aiohttp_app, fastapi_app, fastapi_small

TIMEOUT = 20.0
"""Seconds after which a wait for something that never comes fails the test."""


class RequestCounter:
    """How many requests have reached a backend, and how many of them have ended, in whichever way."""

    def __init__(self) -> None:
        self.started = 0
        self.ended = 0
        self._changed = asyncio.Event()

    @contextmanager
    def request(self) -> Iterator[None]:
        self.started += 1
        self._changed.set()
        try:
            yield
        finally:
            self.ended += 1
            self._changed.set()

    async def until(self, *, started: int = 0, ended: int = 0) -> None:
        async with asyncio.timeout(TIMEOUT):
            while self.started < started or self.ended < ended:
                self._changed.clear()
                await self._changed.wait()


class Gate:
    """A middleware of a backend's client: it holds each request until the test lets it pass."""

    def __init__(self) -> None:
        self.arrived = 0
        self._permits = asyncio.Semaphore(0)
        self._changed = asyncio.Event()

    def let_through(self, count: int) -> None:
        for _ in range(count):
            self._permits.release()

    async def until_arrived(self, count: int) -> None:
        async with asyncio.timeout(TIMEOUT):
            while self.arrived < count:
                self._changed.clear()
                await self._changed.wait()

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        self.arrived += 1
        self._changed.set()
        await self._permits.acquire()
        return await handler(request)


@asynccontextmanager
async def uvicorn_server(app: FastAPI, counter: RequestCounter) -> AsyncIterator[str]:
    """Serve an app of FastAPI; the URL."""

    async def counted(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            with counter.request():
                await app(scope, receive, send)
        else:
            await app(scope, receive, send)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(counted, ws="none", log_level="critical"))
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


@asynccontextmanager
async def aiohttp_server(counter: RequestCounter) -> AsyncIterator[str]:
    """Serve the app of aiohttp.web as its own `main` does; the URL."""

    @web.middleware
    async def counted(request: web.Request, handler: Handler) -> web.StreamResponse:
        with counter.request():
            return await handler(request)

    given: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(web, "run_app", lambda app, **options: given.update(options, app=app))
        aiohttp_app.main()
    app: web.Application = given.pop("app")
    app.middlewares.insert(0, counted)
    del given["port"]
    runner = web.AppRunner(app, access_log=None, **(given | {"shutdown_timeout": 1.0}))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield "http://127.0.0.1:{1}".format(*runner.addresses[0])
    finally:
        await runner.cleanup()


Server: TypeAlias = Callable[[RequestCounter], AbstractAsyncContextManager[str]]

Ask: TypeAlias = Callable[[str], Coroutine[Any, Any, Any]]
"""Gets a path of the backend; its JSON."""

SERVERS: dict[str, Server] = {
    "fastapi": functools.partial(uvicorn_server, fastapi_app.app),
    "aiohttp": aiohttp_server,
}
ALL_SERVERS: dict[str, Server] = {**SERVERS, "small": functools.partial(uvicorn_server, fastapi_small.app)}
"""The smallest backend too. It has a store of its own, and of the routes only `/days`."""
