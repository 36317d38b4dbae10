"""One attempt at a request over aiohttp: a slot for each request on the wire, a bounded body, an answer or an error."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import attrs
from aiohttp.client_middlewares import ClientHandlerType, ClientMiddlewareType
from yarl import URL

from clicksgroup.errors import ClientClosedError, DecodeError, RequestError
from clicksgroup.models import Stats
from clicksgroup.protocol import Decoder, PageRequest, PageResponse, status_error, too_large
from clicksgroup.quota.shared import Slot
from clicksgroup.retries import parse_retry_after
from clicksgroup.transport_errors import timeout_text, transport_error

MAX_BODY_BYTES = 2 * 2**20
"""The most that is read of a body, after decompression. A page of 30 records is about 2 KiB."""

CHUNK_BYTES = 2**16

NO_REUSE_SECONDS = 300.0
"""Seconds for which no connection is reused after one was dropped."""

_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)


@attrs.define
class Counters:
    """The running figures of a client; `Stats` is a snapshot of them."""

    requests: int = 0
    retries: int = 0
    throttled: int = 0
    pages: int = 0
    records: int = 0
    bytes: int = 0
    waited: float = 0.0

    def snapshot(self, limits: tuple[tuple[int, float], ...]) -> Stats:
        return Stats(**attrs.asdict(self), limits=limits)


@attrs.define(eq=False)
class Transport:
    """What all attempts of a client have in common. `headers` win over those of the session."""

    session: aiohttp.ClientSession
    base_url: str
    headers: dict[str, str]
    decoder: Decoder
    counters: Counters
    session_middlewares: tuple[ClientMiddlewareType, ...] = attrs.field(init=False)
    _url: URL = attrs.field(init=False)
    _fresh_until: float | None = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self._url = URL(self.base_url)
        # Middlewares that are given with a request replace the session's own, so those are given again. aiohttp has no
        # public name for them. Where the private one is gone, they are taken to be none.
        self.session_middlewares = tuple(getattr(self.session, "_middlewares", ()))

    def get(self, target: str, innermost: ClientMiddlewareType) -> Awaitable[aiohttp.ClientResponse]:
        """The answer's head. The innermost middleware sees every request on the wire."""
        path, _, query = target.partition("?")
        return self.session.get(
            # To parse a URL takes seven times as long as to build it.
            URL.build(
                scheme=self._url.scheme,
                authority=self._url.raw_authority,
                path=self._url.raw_path.rstrip("/") + path,
                query_string=query,
                encoded=True,
            ),
            allow_redirects=False,
            raise_for_status=False,
            auto_decompress=True,
            read_bufsize=CHUNK_BYTES,
            timeout=_NO_TIMEOUT,
            middlewares=(_without_resend, *self.session_middlewares, innermost),
        )

    def reuses_nothing(self) -> bool:
        """Whether connections are not reused for now."""
        return self._fresh_until is not None and asyncio.get_running_loop().time() < self._fresh_until

    def connection_dropped(self) -> None:
        """Stop reusing connections for a while: a server that has answered before may close them without saying so.

        A request on a connection that is closed costs a slot and a backoff. A new connection costs a handshake.
        """
        if self.counters.pages:
            self._fresh_until = asyncio.get_running_loop().time() + NO_REUSE_SECONDS


@attrs.define(eq=False, repr=False)
class Attempt:
    """One attempt. As a middleware it takes a slot for each request on the wire, and reports what became of it.

    Args:
        transport: what all attempts of a client have in common.
        request: what to ask for.
        slot: permission to send one request. The attempt gives it back.
        another_slot: called where a middleware of the session sends the request again.
        backoff: gives the shortest pause after a 429, in seconds.
    """

    _transport: Transport
    _request: PageRequest
    _slot: Slot
    _another_slot: Callable[[], Awaitable[Slot]]
    _backoff: Callable[[], float]
    # The HTTP status, if there was an answer.
    status: int | None = attrs.field(init=False, default=None)
    # Seconds that an answer without success asked to wait.
    retry_after: float | None = attrs.field(init=False, default=None)
    # Seconds of pause of all who share the quota, after a 429.
    pause: float | None = attrs.field(init=False, default=None)
    # Seconds of waiting for another slot.
    waited: float = attrs.field(init=False, default=0.0)
    # The time that `run` was given has passed.
    timed_out: bool = attrs.field(init=False, default=False)
    # Requests on the wire so far.
    _wire_requests: int = attrs.field(init=False, default=0)
    # The request that holds the present slot may have reached the server.
    _sent: bool = attrs.field(init=False, default=False)
    _seconds: float = attrs.field(init=False)
    _timeout: asyncio.Timeout = attrs.field(init=False)

    async def run(self, seconds: float, bound: str) -> PageResponse | RequestError:
        """The page or the error, after `seconds` at the latest. `bound` names the argument that sets them.

        Raises:
            ClientClosedError: the session that the client borrowed was closed.
            RateLimitError: a middleware sent the request again, and was met by a pause.
        """
        transport = self._transport
        if transport.session.closed:
            self._slot.refund()
            raise ClientClosedError("the session that the client borrowed was closed: nothing more can be sent")
        self._seconds = seconds
        # Whether the server is done with the request.
        ended = True
        try:
            async with asyncio.timeout(seconds) as self._timeout:
                response = await transport.get(self._request.target, self)
                # Mock libraries answer without calling any middleware; a session's own may answer without a request.
                if not self._wire_requests and not transport.session_middlewares:
                    self._request_started()
                    self._head_arrived(response)
                if not response.content.is_eof() and self._slot.expired():
                    # Another request may have the place in flight by now.
                    response.close()
                    return self._failure(TimeoutError("this process stood still for too long"))
                body = await read_body(response)
            transport.counters.bytes += len(body)
            return self._interpret(response.status, body)
        except asyncio.CancelledError:
            ended = False
            raise
        except _TooLargeError as error:
            if 200 <= error.status < 300:
                return too_large(error.size, MAX_BODY_BYTES, error.beginning, self._request, transport.decoder.redact)
            return self._interpret(error.status, error.beginning)
        except _DroppedError as error:
            transport.connection_dropped()
            return self._failure(error.cause)
        # UnicodeError: a host name that cannot be encoded.
        except (aiohttp.ClientError, OSError, UnicodeError) as error:
            if isinstance(error, TimeoutError) and self._timeout.expired():
                ended = False
                self.timed_out = True
                return self._failure(timeout_text(seconds, bound, sent=self._sent))
            return self._failure(error)
        finally:
            self._give_slot_back(ended=ended)

    async def __call__(self, request: aiohttp.ClientRequest, handler: ClientHandlerType) -> aiohttp.ClientResponse:
        # A process that stood still since the slot was granted may not use it: others may have been granted its place.
        if self._wire_requests or self._slot.expired():
            await self._take_another_slot()
        self._request_started()
        request.headers.update(self._transport.headers)
        if self._transport.reuses_nothing():
            request.headers["Connection"] = "close"
            request.response_class = _ClosingResponse
        before = request.response
        try:
            response = await handler(request)
        except BaseException as error:
            # aiohttp makes a response as soon as the head is written: without one, nothing was sent.
            if request.response is before:
                self._transport.counters.requests -= 1
                self._sent = False
            elif isinstance(error, (asyncio.CancelledError, TimeoutError)):
                self._slot.abandon()
            raise
        self._head_arrived(response)
        return response

    def __deepcopy__(self, memo: object) -> Attempt:
        """Itself: mock libraries copy what a request is given, and the event loop behind this cannot be copied."""
        return self

    def _failure(self, failure: BaseException | str) -> PageResponse | RequestError:
        """What an attempt without a whole answer comes to."""
        # A status without success says more than its body, cut or late.
        if self.status is not None and not 200 <= self.status < 300:
            return self._interpret(self.status, b"")
        return transport_error(failure, self._request, self._transport.base_url, self._transport.decoder.redact)

    def _interpret(self, status: int, body: bytes) -> PageResponse | RequestError:
        """The page or the error that a status and a body stand for."""
        transport = self._transport
        decoder, counters = transport.decoder, transport.counters
        if not 200 <= status < 300:
            agent = transport.headers["User-Agent"]
            return status_error(status, body, self._request, agent, self.retry_after, decoder.redact)
        try:
            response = decoder.read(body, self._request)
        except RequestError as error:
            # A whole body that is not JSON: a server that has answered before is in maintenance, so it is tried again.
            # Any other server is not the API.
            if isinstance(error, DecodeError) and not error.field and not error.retryable:
                error.retryable = counters.pages > 0
                error.stops_all = not error.retryable
            return error.with_traceback(None)
        counters.pages += 1
        counters.records += len(response.records)
        return response

    def _request_started(self) -> None:
        self._wire_requests += 1
        self._transport.counters.requests += 1
        self._sent = True
        self.status = self.retry_after = self.pause = None

    def _head_arrived(self, response: aiohttp.ClientResponse) -> None:
        self.status = response.status
        if not 200 <= response.status < 300:
            self.retry_after = parse_retry_after(response.headers.get("Retry-After"), response.headers.get("Date"))
        if response.status != 429:
            self._slot.answered()
            return
        self._transport.counters.throttled += 1
        self.pause = max(self._backoff(), self.retry_after or 0.0)
        self._slot.throttled(self.pause)

    async def _take_another_slot(self) -> None:
        """Wait for a slot for this request on the wire. The wait is not part of the timeout."""
        clock = asyncio.get_running_loop().time
        self._give_slot_back()
        self._sent = False
        self._timeout.reschedule(None)
        began = clock()
        self._slot = await self._another_slot()
        self.waited += clock() - began
        self._timeout.reschedule(clock() + self._seconds)

    def _give_slot_back(self, *, ended: bool = True) -> None:
        if not self._sent:
            self._slot.refund()
        elif ended:
            self._slot.release()
        else:
            # The server may be working on it still.
            self._slot.abandon()


class _ClosingResponse(aiohttp.ClientResponse):
    """One whose connection is not used again."""

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        connection.protocol.force_close()
        return await super().start(connection)


@attrs.define
class _DroppedError(aiohttp.ClientConnectionError):
    """A connection dropped. aiohttp would send the request again by itself, but not after this error."""

    cause: BaseException


async def _without_resend(request: aiohttp.ClientRequest, handler: ClientHandlerType) -> aiohttp.ClientResponse:
    """The outermost middleware: aiohttp must not send a request again by itself."""
    try:
        return await handler(request)
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
        if isinstance(error, aiohttp.ClientConnectorError):
            raise
        dropped = _DroppedError(error)
    raise dropped


@attrs.define
class _TooLargeError(Exception):
    status: int
    size: str
    beginning: bytes


async def read_body(response: aiohttp.ClientResponse) -> bytes:
    """The whole body, up to `MAX_BODY_BYTES`. A longer one fails the attempt, and nothing more of it is read."""
    try:
        if response.content.at_eof():
            # A middleware has read the body, or there is none. aiohttp keeps it, also after a release, for `text`. In
            # Latin-1 each byte is a character.
            return (await response.text("latin-1")).encode("latin-1")
        # A body that has arrived whole is in memory already. Any other may be of any length.
        if not response.content.is_eof():
            length = response.content_length or 0
            if length > MAX_BODY_BYTES:
                raise _TooLargeError(response.status, f"{length:,} bytes", b"")
            response.content = _CappedContent(response)  # type: ignore[assignment]
        return await response.read()
    finally:
        # aiohttp has closed one that was read to its end, except after a 101.
        if not response.closed:
            response.close()


class _CappedContent:
    """The content of a response, read in chunks up to a limit. aiohttp itself reads without one."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._content = response.content
        self.status = response.status

    async def read(self) -> bytes:
        chunks: list[bytes] = []
        size = 0
        while chunk := await self._content.read(CHUNK_BYTES):
            chunks.append(chunk)
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                raise _TooLargeError(self.status, f"{size:,} bytes or more", chunks[0])
        return b"".join(chunks)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)
