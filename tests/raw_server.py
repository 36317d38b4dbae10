"""A server that a test scripts byte by byte.

A response is a list of steps: bytes are written as they are, the other steps are the classes below. After the last
step the connection stays open for the next request.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import re
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Self, TypeAlias

import attrs


@attrs.frozen
class Close:
    """Close the connection in an orderly way."""


@attrs.frozen
class Reset:
    """Close the connection with a TCP reset."""


@attrs.frozen
class Silence:
    """Send nothing more until the client disconnects."""


@attrs.frozen
class Drip:
    """Write one byte at a time, then repeat the last byte until the client disconnects."""

    text: bytes


@attrs.frozen
class Endless:
    """Write the same chunk again and again until the client disconnects."""

    chunk: bytes


Step: TypeAlias = bytes | Close | Reset | Silence | Drip | Endless
Response: TypeAlias = bytes | Sequence[Step]

CLOSE, RESET, SILENCE = Close(), Reset(), Silence()

DRIP_PAUSE = 0.002
"""Seconds between two bytes of a `Drip`."""


@attrs.frozen
class Request:
    """A request as it arrived: everything up to the empty line, and the number of its connection, from 1."""

    head: bytes
    connection: int

    @property
    def target(self) -> str:
        return self.head.split(b" ", 2)[1].decode()

    @property
    def query(self) -> dict[str, str]:
        return dict(re.findall(r"[?&](\w+)=([^&]*)", self.target))

    @property
    def page(self) -> int:
        return int(self.query["pages"])

    @property
    def date(self) -> str:
        return self.query["ymd"]

    def header(self, name: str) -> list[str]:
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return [line.split(":", 1)[1].strip() for line in lines if line.lower().startswith(name.lower() + ":")]


Handler: TypeAlias = Callable[[Request], Response | Awaitable[Response]]


class RawServer:
    """Listens on the loopback address and records every request.

    Args:
        responses: one for each request, the last one for all that follow; or a function of the request, async or not.
        tls: makes the server speak TLS.
        greeting: the steps on a new connection, before anything is read from it.

    The port is taken at once, and connections to it are refused until the server is entered.
    """

    def __init__(
        self,
        responses: Sequence[Response] | Handler,
        *,
        tls: ssl.SSLContext | None = None,
        greeting: Response = (),
    ) -> None:
        self._responses = responses
        self._tls = tls
        self._greeting = greeting
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.requests: list[Request] = []
        self.connections = 0
        # Requests that are being answered now, and the most there have been.
        self.open = 0
        self.open_peak = 0
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self.port}"

    async def wait_for(self, requests: int) -> None:
        """Return when this many requests have arrived."""
        await self.wait_until(lambda: len(self.requests) >= requests)

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return when a condition holds; it is looked at whenever a request arrives."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    def notify(self) -> None:
        """Look at the conditions of `wait_until` again."""
        self._changed.set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, sock=self._socket, ssl=self._tls)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        connection = self.connections
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, ssl.SSLError):
                await _play(self._greeting, reader, writer)
                while not writer.is_closing():
                    head = await reader.readuntil(b"\r\n\r\n")
                    await self._answer(Request(head, connection), reader, writer)
        except asyncio.CancelledError:
            # The test has ended.
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _answer(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests.append(request)
        self.notify()
        self.open += 1
        self.open_peak = max(self.open_peak, self.open)
        try:
            await _play(await self._response(request), reader, writer)
        finally:
            self.open -= 1

    async def _response(self, request: Request) -> Response:
        if not callable(self._responses):
            return self._responses[min(len(self.requests), len(self._responses)) - 1]
        response = self._responses(request)
        return await response if inspect.isawaitable(response) else response


async def _play(response: Response, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for step in [response] if isinstance(response, bytes) else response:
        match step:
            case bytes():
                writer.write(step)
                await writer.drain()
            case Close():
                writer.close()
            case Reset():
                _reset(writer)
            case Silence():
                await reader.read()
            case Drip(text):
                for byte in text:
                    await _write_slowly(writer, bytes([byte]))
                while not writer.is_closing():
                    await _write_slowly(writer, text[-1:])
            case Endless(chunk):
                while not writer.is_closing():
                    writer.write(chunk)
                    await writer.drain()


async def _write_slowly(writer: asyncio.StreamWriter, text: bytes) -> None:
    writer.write(text)
    await writer.drain()
    await asyncio.sleep(DRIP_PAUSE)


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def http(body: bytes = b"", status: object = 200, *headers: str, length: int | None = None) -> bytes:
    """A whole response.

    Args:
        body: sent as it is.
        status: a number, or a number and a reason.
        headers: lines such as `Retry-After: 3`.
        length: the Content-Length, where it is to differ from the body's.
    """
    lines = [f"HTTP/1.1 {status}" if " " in str(status) else f"HTTP/1.1 {status} Reason"]
    if not any(header.lower().startswith(("content-length", "transfer-encoding")) for header in headers):
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1") + body
