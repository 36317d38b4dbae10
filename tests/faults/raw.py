"""A server that misbehaves at the level of bytes, and the pages that it would give if it did not.

An answer is a list of steps: bytes are written as they are, the other steps are those below. When the steps have
run out, the connection stays open for the next request.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import ssl
import struct
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self, TypeAlias

import attrs


@attrs.frozen
class Close:
    """Close the connection in an orderly way."""


@attrs.frozen
class Reset:
    """Close it with a TCP reset."""


@attrs.frozen
class Silence:
    """Say nothing more until the client goes away."""


@attrs.frozen
class Drip:
    """Write one byte at a time, for as long as the client listens; the last byte again and again."""

    text: bytes


@attrs.frozen
class Endless:
    """Write the same again and again for as long as the client listens."""

    chunk: bytes


Step: TypeAlias = bytes | Close | Reset | Silence | Drip | Endless
Answer: TypeAlias = bytes | Sequence[Step]

CLOSE, RESET, SILENCE = Close(), Reset(), Silence()
_DRIP_SECONDS = 0.002  # between two bytes: all that a server can do to be slow


@attrs.frozen
class Asked:
    """A request as it came."""

    head: bytes
    connection: int

    @property
    def query(self) -> dict[str, str]:
        line = self.head.split(b"\r\n", 1)[0].decode()
        return dict(re.findall(r"[?&](\w+)=([^& ]*)", line))

    @property
    def page(self) -> int:
        return int(self.query["pages"])

    @property
    def date(self) -> str:
        return self.query["ymd"]

    def header(self, name: str) -> list[str]:
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return [line.split(":", 1)[1].strip() for line in lines if line.lower().startswith(name.lower() + ":")]


class RawServer:
    """Listens on the loopback address. `requests` are the heads that arrived, in their order.

    Args:
        answers: one for each request, the last one for all that follow; or a function of the request.
        tls: to speak TLS.
        greeting: done with a connection before anything is read from it.
    """

    def __init__(
        self,
        answers: Sequence[Answer] | Callable[[Asked], Answer],
        *,
        tls: ssl.SSLContext | None = None,
        greeting: Answer = (),
    ) -> None:
        self._answers = answers
        self._tls = tls
        self._greeting = greeting
        self.requests: list[Asked] = []
        self.connections = 0
        self.open = 0  # requests that are being answered
        self.open_peak = 0
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self.port}"

    async def wait_for(self, requests: int) -> None:
        """Return when that many requests have arrived."""
        while len(self.requests) < requests:
            self._changed.clear()
            await self._changed.wait()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
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
                await self._play(self._greeting, reader, writer)
                while not writer.is_closing():
                    head = await reader.readuntil(b"\r\n\r\n")
                    await self._answer(Asked(head, connection), reader, writer)
        except asyncio.CancelledError:
            pass  # the test has ended
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _answer(self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests.append(asked)
        self._changed.set()
        self.open += 1
        self.open_peak = max(self.open_peak, self.open)
        try:
            await self._play(self._next(asked), reader, writer)
        finally:
            self.open -= 1

    def _next(self, asked: Asked) -> Answer:
        if callable(self._answers):
            return self._answers(asked)
        return self._answers[min(len(self.requests), len(self._answers)) - 1]

    async def _play(self, answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for step in [answer] if isinstance(answer, bytes) else answer:
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
    await asyncio.sleep(_DRIP_SECONDS)


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def http(body: bytes = b"", status: object = 200, *headers: str, length: int | None = None) -> bytes:
    """A whole answer; `status` is a number, or a number and its reason."""
    lines = [f"HTTP/1.1 {status}" if " " in str(status) else f"HTTP/1.1 {status} Whatever"]
    if not any(header.lower().startswith(("content-length", "transfer-encoding")) for header in headers):
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1") + body


def dumps(value: object) -> bytes:
    return json.dumps(value).encode()


def row(number: int, **changes: object) -> dict[str, object]:
    return {"grpIdx": number, "grpNm": f"Group {number}", "acesCnt": number * 2, "pernCnt": number, **changes}


def envelope(page: int = 1, total: int = 3, **extra: object) -> dict[str, Any]:
    """The honest page of so many groups, whose ids are 1, 2, 3 ...; `extra` changes what `result.extra` says."""
    ids = range((page - 1) * 30 + 1, min(page * 30, total) + 1)
    more = page * 30 < total
    said: dict[str, object] = {
        "pages": page,
        "nextPages": page + 1 if more else page,
        "nextYn": "Y" if more else "N",
        "count": len(ids),
        "totalCount": total,
    }
    said.update(extra)
    return {"code": 0, "message": "", "result": {"extra": said, "list": [row(number) for number in ids]}}


def paged(total: int) -> Callable[[Asked], Answer]:
    """The answers of an honest server."""
    return lambda asked: http(dumps(envelope(asked.page, total)))
