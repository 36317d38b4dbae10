"""One attempt at a request over aiohttp: sent at most once for each slot, read within bounds, its outcome a value."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
import attrs
from aiohttp.client_middlewares import ClientHandlerType
from yarl import URL

from clicksgroup.deadlines import Deadlines
from clicksgroup.errors import ClientClosedError, RateLimitError, RequestError
from clicksgroup.models import Stats
from clicksgroup.protocol import Decoder, PageRequest, PageResponse, status_error, too_large
from clicksgroup.quota.shared import ORPHAN_HOLD, Slot
from clicksgroup.retries import retry_after
from clicksgroup.secret import Secret
from clicksgroup.transport_errors import transport_error

MAX_BODY_BYTES = 2 * 2**20
"""The most that is read of a body, after decompression. A page of 30 records is about 2 KiB."""

_CHUNK = 2**16
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)


@attrs.define
class Counters:
    """What `Stats` is a snapshot of."""

    requests: int = 0
    retries: int = 0
    throttled: int = 0
    pages: int = 0
    records: int = 0
    bytes: int = 0
    waited: float = 0.0

    def snapshot(self) -> Stats:
        return Stats(self.requests, self.retries, self.throttled, self.pages, self.records, self.bytes, self.waited)


@attrs.frozen
class Transport:
    """What all attempts of a client have in common.

    Args:
        session: whose connections, middlewares and traces are used.
        base_url: what comes before the path.
        headers: sent with every request, whatever the session would send.
        key: to be hidden where a server echoes it.
        decoder: reads the bodies.
        counters: what is counted.
        deadlines: bound each attempt.
    """

    session: aiohttp.ClientSession
    base_url: str
    headers: dict[str, str]
    key: Secret
    decoder: Decoder
    counters: Counters
    deadlines: Deadlines
    _base: URL = attrs.field(
        init=False, repr=False, default=attrs.Factory(lambda self: URL(self.base_url), takes_self=True)
    )

    def url(self, target: str) -> URL:
        """The URL for a request's path and query. It is put together, which costs less than parsing it."""
        path, _, query = target.partition("?")
        base = self._base
        return URL.build(
            scheme=base.scheme,
            authority=base.raw_authority,
            path=base.raw_path.rstrip("/") + path,
            query_string=query,
            encoded=True,
        )


class Attempt:
    """One attempt. As a middleware, innermost, it sees each request on the transport, and each has a slot of its own.

    Args:
        transport: what all attempts have in common.
        request: what to ask.
        slot: leave to send one request; it is given back.
        another_slot: to be asked where a middleware of the session sends the request again.
        backoff: seconds of pause after a 429 at the least, whatever the server says.
    """

    __slots__ = (
        "_another_slot", "_backoff", "_deadline", "_given_up", "_request", "_seconds", "_sent", "_slot", "_transport",
        "_wire_requests", "pause", "retry_after", "status", "waited",
    )  # fmt: skip

    def __init__(
        self,
        transport: Transport,
        request: PageRequest,
        slot: Slot,
        *,
        another_slot: Callable[[], Awaitable[Slot]],
        backoff: Callable[[], float],
    ) -> None:
        self._transport = transport
        self._request = request
        self._slot = slot
        self._another_slot = another_slot
        self._backoff = backoff
        self._sent = False  # the slot's request may have reached the server
        self._given_up = False  # the server may still be working on it
        self._wire_requests = 0
        self.waited = 0.0
        """The seconds that went into waiting for another slot."""
        self.retry_after: float | None = None
        """The seconds that an answer without success asked to wait."""
        self.pause: float | None = None
        """The seconds of pause that a 429 has brought upon all who share the quota."""
        self.status: int | None = None
        """The status of the answer, if there was one."""

    async def run(self, seconds: float) -> PageResponse | RequestError:
        """The outcome, no later than in `seconds`."""
        self._seconds = seconds
        try:
            outcome = await self._exchange()
        except asyncio.CancelledError:
            if self._sent:
                self._slot.abandon()
            else:
                self._slot.refund()
            raise
        except BaseException:  # of a middleware that is not ours
            self._give_back()
            raise
        self._give_back()
        return outcome

    async def __call__(self, request: aiohttp.ClientRequest, handler: ClientHandlerType) -> aiohttp.ClientResponse:
        if self._wire_requests:
            await self._take_another_slot()
        self._begin()
        request.headers.update(self._transport.headers)
        before = request.response
        try:
            response = await handler(request)
        except BaseException as error:
            if request.response is before:  # aiohttp makes one as soon as the headers are written
                self._transport.counters.requests -= 1
                self._sent = False
            if self._transport.session._middlewares or not _would_be_resent(error):  # for `_sent_once` to see to
                raise
            dropped = _DroppedError(error)
        else:
            self._headers_arrived(response)
            return response
        raise dropped

    def __deepcopy__(self, memo: object) -> Attempt:
        """Itself: mock libraries copy all that a request is given, and behind this one there is the event loop."""
        return self

    async def _exchange(self) -> PageResponse | RequestError:
        session = self._transport.session
        if session.closed:
            raise ClientClosedError("the session that the client borrowed was closed: nothing more can be sent")
        failure: BaseException
        try:
            with self._transport.deadlines.within(self._seconds) as self._deadline:
                response = await session.get(
                    self._transport.url(self._request.target),
                    allow_redirects=False,
                    raise_for_status=False,
                    auto_decompress=True,
                    read_bufsize=_CHUNK,
                    timeout=_NO_TIMEOUT,
                    middlewares=(_sent_once, *session._middlewares, self) if session._middlewares else (self,),
                )
                if not self._wire_requests and not session._middlewares:  # a stand-in that has no transport
                    self._begin()
                    self._headers_arrived(response)
                try:
                    body = await _read(response)
                finally:
                    if not response.closed:  # one that was read to its end is, but for a 101
                        response.close()
        except _TooLargeError as error:
            return too_large(error.size, MAX_BODY_BYTES, error.head, self._request, self._transport.key.redact)
        except RateLimitError as error:  # a middleware sent the request again, and was met by a pause
            return error.with_traceback(None)
        except _DroppedError as error:
            failure = error.cause
        except (TimeoutError, aiohttp.ClientError, OSError, UnicodeError) as error:  # UnicodeError: a host name's
            failure = error
            self._given_up = type(error) is TimeoutError
        else:
            self._transport.counters.bytes += len(body)
            return self._interpret(response.status, body)
        if self.status is not None and not 200 <= self.status < 300:  # which says more than its body, cut or late
            return self._interpret(self.status, b"")
        return transport_error(failure, self._request, self._seconds, self._transport.key.redact)

    def _begin(self) -> None:
        self._wire_requests += 1
        self._transport.counters.requests += 1
        self._sent = True
        self.status = self.retry_after = self.pause = None

    def _headers_arrived(self, response: aiohttp.ClientResponse) -> None:
        self.status = response.status
        if not 200 <= response.status < 300:
            self.retry_after = retry_after(response.headers.get("Retry-After"), response.headers.get("Date"))
        if response.status != 429:
            self._slot.answered()
            return
        self._transport.counters.throttled += 1
        self.pause = max(self._backoff(), self.retry_after or 0.0)
        self._slot.throttled(self.pause)

    async def _take_another_slot(self) -> None:
        """A middleware of the session sends again: that counts too, and waiting for it is no part of the timeout."""
        clock = asyncio.get_running_loop().time
        self._give_back()
        self._sent = False
        self._deadline.pause()
        began = clock()
        self._slot = await self._another_slot()
        self.waited += clock() - began
        self._deadline.resume()

    def _give_back(self) -> None:
        if not self._sent:
            self._slot.refund()
        elif self._given_up:
            hold = min(self._seconds, ORPHAN_HOLD)
            asyncio.get_running_loop().call_later(hold, self._slot.release)
        else:
            self._slot.release()

    def _interpret(self, status: int, body: bytes) -> PageResponse | RequestError:
        redact = self._transport.key.redact
        if not 200 <= status < 300:
            agent = self._transport.headers["User-Agent"]
            return status_error(
                status, body, self._request, user_agent=agent, retry_after=self.retry_after, redact=redact
            )
        try:
            reply = self._transport.decoder.read(body, self._request, redact)
        except RequestError as error:
            return error.with_traceback(None)
        self._transport.counters.pages += 1
        self._transport.counters.records += len(reply.rows)
        return reply


class _DroppedError(aiohttp.ClientConnectionError):
    """A connection dropped. aiohttp would send the request again by itself; of this error it keeps its hands."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__("the connection was dropped")
        self.cause = cause


async def _sent_once(request: aiohttp.ClientRequest, handler: ClientHandlerType) -> aiohttp.ClientResponse:
    """A middleware, outside those of the session, so that they meet aiohttp's own errors."""
    try:
        return await handler(request)
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
        if not _would_be_resent(error):
            raise
        dropped = _DroppedError(error)
    raise dropped


def _would_be_resent(error: BaseException) -> bool:
    resent = isinstance(error, (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError))
    return resent and not isinstance(error, aiohttp.ClientConnectorError)


class _TooLargeError(Exception):
    def __init__(self, size: str, head: bytes) -> None:
        super().__init__(size)
        self.size = size
        self.head = head


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The whole body; of one that is too large and no success, its beginning."""
    content = response.content
    if (response.content_length or 0) > MAX_BODY_BYTES:
        return _cut(response, f"{response.content_length:,} bytes", b"")
    body = await content.read(_CHUNK)
    if content.at_eof():
        return body
    chunks = [body]
    size = len(body)
    while chunk := await content.read(_CHUNK):
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            return _cut(response, f"{size:,} bytes or more", chunks[0])
    return b"".join(chunks)


def _cut(response: aiohttp.ClientResponse, size: str, head: bytes) -> bytes:
    response.close()
    if 200 <= response.status < 300:
        raise _TooLargeError(size, head)
    return head
