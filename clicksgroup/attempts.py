"""One attempt at a request: as a middleware of aiohttp it sees every request on the wire, and each has a slot."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp.client_middlewares import ClientHandlerType

from clicksgroup.errors import ClientClosedError, RequestError
from clicksgroup.protocol import PageRequest, PageResponse, too_large
from clicksgroup.quota.shared import Slot
from clicksgroup.retries import parse_retry_after
from clicksgroup.transport_errors import timeout_text, transport_error

if TYPE_CHECKING:
    from clicksgroup.transport import Transport

MAX_BODY_BYTES = 2 * 2**20
"""The most that is read of a body, after decompression. A page of 30 records is about 2 KiB."""

CHUNK_BYTES = 2**16


class Attempt:
    """One attempt. As a middleware it takes a slot for each request on the wire, and says what became of it.

    Args:
        transport: what all attempts of a client have in common.
        request: what to ask for.
        slot: leave to send one request; it is given back.
        another_slot: called where a middleware of the session sends the request again.
        backoff: seconds of pause after a 429 at the least, whatever the server says.

    Attributes:
        status: the status of the answer, if there was one.
        retry_after: the seconds that an answer without success asked to wait.
        pause: the seconds of pause that a 429 has brought upon all who share the quota.
        waited: the seconds that went into waiting for another slot.
        timed_out: our own bound passed.
    """

    def __init__(
        self,
        transport: Transport,
        request: PageRequest,
        slot: Slot,
        another_slot: Callable[[], Awaitable[Slot]],
        backoff: Callable[[], float],
    ) -> None:
        self._transport = transport
        self._request = request
        self._slot = slot
        self._another_slot = another_slot
        self._backoff = backoff
        # Requests on the wire so far, and whether that of the present slot may have reached the server.
        self._wire_requests = 0
        self._sent = False
        self.status: int | None = None
        self.retry_after: float | None = None
        self.pause: float | None = None
        self.waited = 0.0
        self.timed_out = False

    async def run(self, seconds: float, bound: str) -> PageResponse | RequestError:
        """The page or the error, no later than in so many seconds; `bound` names the argument that they come from.

        Raises:
            ClientClosedError: the session that the client borrowed was closed.
            RateLimitError: a middleware sent the request again, and was met by a pause.
        """
        self._seconds = seconds
        self._bound = bound
        ended = True
        try:
            if self._transport.session.closed:
                raise ClientClosedError("the session that the client borrowed was closed: nothing more can be sent")
            async with asyncio.timeout(seconds) as self._timeout:
                return await self._outcome()
        except TimeoutError:
            self.timed_out = True
            ended = False
            return self._failure(None)
        except asyncio.CancelledError:
            ended = False
            raise
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

    async def _outcome(self) -> PageResponse | RequestError:
        try:
            response = await self._transport.get(self._request.target, self)
            # Mock libraries answer without calling any middleware; a session's own may answer without a request.
            if not self._wire_requests and not self._transport.session_middlewares:
                self._request_started()
                self._head_arrived(response)
            if not response.content.is_eof() and self._slot.expired():
                # The body would be read in a place that is no longer ours.
                response.close()
                return self._failure(TimeoutError("this process stood still for too long"))
            body = await read_body(response)
        except _TooLargeError as error:
            if 200 <= error.status < 300:
                return too_large(error.size, MAX_BODY_BYTES, error.head, self._request, self._transport.key.redact)
            return self._interpret(error.status, error.head)
        except _DroppedError as error:
            self._transport.connection_dropped()
            return self._failure(error.cause)
        # UnicodeError: a host name that cannot be encoded.
        except (aiohttp.ClientError, OSError, UnicodeError) as error:
            if isinstance(error, TimeoutError) and self._timeout.expired():
                raise
            return self._failure(error)
        self._transport.counters.bytes += len(body)
        return self._interpret(response.status, body)

    def _failure(self, failure: BaseException | None) -> PageResponse | RequestError:
        """What an attempt without a whole answer comes to; None stands for our own timeout."""
        # A status without success says more than its body, cut or late.
        if self.status is not None and not 200 <= self.status < 300:
            return self._interpret(self.status, b"")
        what = failure if failure is not None else timeout_text(self._seconds, self._bound, sent=self._sent)
        return transport_error(what, self._request, self._transport.base_url, self._transport.key.redact)

    def _interpret(self, status: int, body: bytes) -> PageResponse | RequestError:
        return self._transport.interpret(status, body, self._request, self.retry_after)

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


class _DroppedError(aiohttp.ClientConnectionError):
    """A connection dropped. aiohttp would send the request again by itself, but not after this error."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__("the connection was dropped")
        self.cause = cause


async def without_resend(request: aiohttp.ClientRequest, handler: ClientHandlerType) -> aiohttp.ClientResponse:
    """A middleware outside of those of the session."""
    try:
        return await handler(request)
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
        # After this one aiohttp would not send the request again.
        if isinstance(error, aiohttp.ClientConnectorError):
            raise
        dropped = _DroppedError(error)
    raise dropped


class _TooLargeError(Exception):
    def __init__(self, status: int, size: str, head: bytes) -> None:
        super().__init__(size)
        self.status = status
        self.size = size
        self.head = head


async def read_body(response: aiohttp.ClientResponse) -> bytes:
    """The whole body, up to `MAX_BODY_BYTES`. A longer one fails the attempt, and nothing more of it is read."""
    try:
        if response.content.at_eof():
            # A middleware has read the body, or there is none. aiohttp keeps it, also after a release: `text` gives it.
            return (await response.text("latin-1")).encode("latin-1")
        # A body that has not arrived whole may be of any length.
        if not response.content.is_eof():
            length = response.content_length or 0
            if length > MAX_BODY_BYTES:
                raise _TooLargeError(response.status, f"{length:,} bytes", b"")
            response.content = _CappedContent(response)  # type: ignore[assignment]
        return await response.read()
    finally:
        # One that was read to its end is closed already, but for a 101.
        if not response.closed:
            response.close()


class _CappedContent:
    """The content of a response, read in chunks up to a limit where aiohttp would read on without one."""

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
