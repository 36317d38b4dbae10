"""Connections in memory: aiohttp's own pool, writer and parser above, a server's callbacks below."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
from collections.abc import Callable
from typing import Any, Protocol

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.tracing import Trace

from tests.simulation.loop import SimulationLoop
from tests.simulation.process import CURRENT

ORDER = 1e-6
"""Seconds between two deliveries, since timers of the same moment fire in any order."""


class Server(Protocol):
    """What connections need of a server."""

    def latency(self) -> float:
        """Seconds from one side to the other."""

    def connecting(self, target: str) -> str | None:
        """A client opens a connection to send this request; None, or why it gets none: "refused" or "silent"."""

    def written(self, connection: Connection, head: str) -> None:
        """A client has written the head of a request."""

    def received(self, connection: Connection, head: str) -> None:
        """It has arrived."""

    def disconnected(self, connection: Connection) -> None:
        """The client has closed the connection, and the server notices."""


class MemoryConnector(aiohttp.BaseConnector):
    """Opens connections to one server in memory."""

    def __init__(self, server: Server, client: int, **options: Any) -> None:
        super().__init__(**options)
        self._server = server
        self._client = client

    async def _create_connection(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        refusal = self._server.connecting(req.url.raw_path_qs)
        if refusal == "silent":
            await asyncio.Event().wait()
        await asyncio.sleep(2 * self._server.latency())
        if refusal is not None:
            key: Any = req.connection_key
            raise aiohttp.ClientConnectorError(key, ConnectionRefusedError(111, "Connection refused"))
        protocol = SerialProtocol(loop=self._loop)
        connection = Connection(self._server, protocol, self._client)
        protocol.connection_made(connection.transport)
        return protocol


class SerialProtocol(ResponseHandler):
    """A protocol whose hash is its number, so that sets of protocols have the same order in every run."""

    numbers = itertools.count()

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.number = next(SerialProtocol.numbers)

    def __hash__(self) -> int:
        return self.number


class Connection:
    """One connection. What one side sends arrives at the other in order, each time after a latency of its own.

    Data on its way belongs to the network: it runs in a context of its own, and arrives whichever side dies meanwhile.
    """

    def __init__(self, server: Server, protocol: ResponseHandler, client: int) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulationLoop)
        self.loop = loop
        self.client = client
        self.number = protocol.number if isinstance(protocol, SerialProtocol) else 0
        self.transport = _MemoryTransport(self)
        self.client_closed = False
        self.server_closed = False
        self._server = server
        self._protocol = protocol
        self._buffer = b""
        self._to_server_at = self._to_client_at = loop.time()
        if (process := CURRENT.get()) is not None:
            process.vanish.append(self.vanish)

    def send(self, data: bytes) -> None:
        """The server sends bytes, if any."""
        if not data:
            return
        self._to_client(lambda: None if self.client_closed else self._protocol.data_received(data))

    def close(self, *, reset: bool = False) -> None:
        """The server closes the connection."""
        if not self.server_closed:
            self.server_closed = True
            error = ConnectionResetError(104, "Connection reset by peer") if reset else None
            self._to_client(lambda: self._lost(error))

    def client_wrote(self, data: bytes) -> None:
        """Bytes of the client's; only whole heads matter here, since no request has a body."""
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            text = head.decode("latin-1")
            self._server.written(self, text)
            self._to_server(lambda text=text: self._server.received(self, text))  # type: ignore[misc]

    def client_closes(self) -> None:
        """The client closes or aborts the connection."""
        if not self.client_closed:
            self.client_closed = True
            self.loop.call_soon(self._protocol.connection_lost, None)
            self._to_server(lambda: self._server.disconnected(self))

    def vanish(self) -> None:
        """The client's process dies, and the system closes the connection."""
        if not self.client_closed:
            self.client_closed = True
            self._to_server(lambda: self._server.disconnected(self))

    def _lost(self, error: Exception | None) -> None:
        if not self.client_closed:
            self.client_closed = True
            self._protocol.connection_lost(error)

    def _to_server(self, deliver: Callable[[], None]) -> None:
        self._to_server_at = max(self._to_server_at + ORDER, self.loop.time() + self._server.latency())
        self.loop.call_at(self._to_server_at, deliver, context=contextvars.Context())

    def _to_client(self, deliver: Callable[[], None]) -> None:
        self._to_client_at = max(self._to_client_at + ORDER, self.loop.time() + self._server.latency())
        self.loop.call_at(self._to_client_at, deliver, context=contextvars.Context())


class _MemoryTransport(asyncio.Transport):
    """The client's end of a connection."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if not self._connection.client_closed:
            self._connection.client_wrote(bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def is_closing(self) -> bool:
        return self._connection.client_closed

    def close(self) -> None:
        self._connection.client_closes()

    def abort(self) -> None:
        self._connection.client_closes()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def pause_reading(self) -> None:
        """Bodies are small: what is on its way is delivered."""

    def resume_reading(self) -> None:
        """As above."""
