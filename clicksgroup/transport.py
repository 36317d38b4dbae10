"""The HTTP layer: one attempt at a request over aiohttp, sent at most once for each slot, read within bounds."""

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
from clicksgroup.quota.shared import ORPHAN_HOLD, Slot
from clicksgroup.retries import parse_retry_after
from clicksgroup.settings import Secret
from clicksgroup.transport_errors import timeout_text, transport_error

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


@attrs.define
class Exchange:
    """What became of one attempt.

    Args:
        outcome: the page, or the error.
        status: the status of the answer, if there was one.
        retry_after: the seconds that an answer without success asked to wait.
        pause: the seconds of pause that a 429 has brought upon all who share the quota.
        waited: the seconds that went into waiting for another slot.
        timed_out: our own bound passed.
    """

    outcome: PageResponse | RequestError
    status: int | None = None
    retry_after: float | None = None
    pause: float | None = None
    waited: float = 0.0
    timed_out: bool = False


@attrs.frozen(eq=False)
class Transport:
    """Sends requests over one session.

    Args:
        session: its connections, middlewares and traces are used.
        base_url: what comes before the path.
        headers: sent with every request, whatever the session would send.
        key: redacted where a server echoes it.
        decoder: reads the bodies.
        counters: what is counted.
    """

    session: aiohttp.ClientSession
    base_url: str
    headers: dict[str, str]
    key: Secret
    decoder: Decoder
    counters: Counters
    session_middlewares: tuple[ClientMiddlewareType, ...] = attrs.field(
        init=False, default=attrs.Factory(lambda self: _middlewares_of(self.session), takes_self=True)
    )
    _url: URL = attrs.field(init=False, default=attrs.Factory(lambda self: URL(self.base_url), takes_self=True))

    async def send(
        self,
        request: PageRequest,
        slot: Slot,
        seconds: float,
        bound: str,
        *,
        another_slot: Callable[[], Awaitable[Slot]],
        backoff: Callable[[], float],
    ) -> Exchange:
        """Send one request, and read its answer.

        Args:
            request: what to ask for.
            slot: leave to send one request; it is given back.
            seconds: the outcome is known no later than that.
            bound: which argument of the user's that bound is, for the error.
            another_slot: called where a middleware of the session sends the request again.
            backoff: seconds of pause after a 429 at the least, whatever the server says.

        Raises:
            ClientClosedError: the session that the client borrowed was closed.
            RateLimitError: a middleware sent the request again, and was met by a pause.
        """
        if self.session.closed:
            slot.refund()
            raise ClientClosedError("the session that the client borrowed was closed: nothing more can be sent")
        return await _Attempt(self, request, slot, another_slot, backoff).run(seconds, bound)

    async def get(self, target: str, attempt: ClientMiddlewareType) -> aiohttp.ClientResponse:
        """The answer's head. `attempt` is the innermost middleware: it sees every request on the wire."""
        path, _, query = target.partition("?")
        return await self.session.get(
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
            read_bufsize=_CHUNK,
            timeout=_NO_TIMEOUT,
            middlewares=(_without_resend, *self.session_middlewares, attempt)
            if self.session_middlewares
            else (attempt,),
        )

    def interpret(
        self, status: int, body: bytes, request: PageRequest, retry_after: float | None
    ) -> PageResponse | RequestError:
        """The page or the error that a status and a body stand for."""
        redact = self.key.redact
        if not 200 <= status < 300:
            agent = self.headers["User-Agent"]
            return status_error(status, body, request, user_agent=agent, retry_after=retry_after, redact=redact)
        try:
            response = self.decoder.read(body, request, redact)
        except DecodeError as error:
            # A whole body that is not JSON is a maintenance page of a server that has answered before, or else the
            # answer of a server that is not the API.
            if not error.field and not error.retryable:
                error.retryable = self.counters.pages > 0
                error.stops_all = not error.retryable
            return error.with_traceback(None)
        except RequestError as error:
            return error.with_traceback(None)
        self.counters.pages += 1
        self.counters.records += len(response.rows)
        return response


def _middlewares_of(session: aiohttp.ClientSession) -> tuple[ClientMiddlewareType, ...]:
    """The session's own middlewares, which those given with a request would replace.

    aiohttp has no public name for them. Where the private one is gone, they are taken to be none.
    """
    return tuple(getattr(session, "_middlewares", ()))


class _Attempt:
    """One attempt. As a middleware it takes a slot for each request on the wire, and says what became of it."""

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
        self._status: int | None = None
        self._retry_after: float | None = None
        self._pause: float | None = None
        self._waited = 0.0

    async def run(self, seconds: float, bound: str) -> Exchange:
        """The exchange, no later than in so many seconds."""
        self._seconds = seconds
        self._bound = bound
        timed_out = False
        try:
            async with asyncio.timeout(seconds) as self._timeout:
                outcome = await self._outcome()
        except TimeoutError:
            timed_out = True
            outcome = self._failure(None)
        except asyncio.CancelledError:
            if self._sent:
                self._slot.abandon()
            else:
                self._slot.refund()
            raise
        except BaseException:
            self._give_slot_back()
            raise
        self._give_slot_back(timed_out=timed_out)
        return Exchange(outcome, self._status, self._retry_after, self._pause, self._waited, timed_out)

    async def __call__(self, request: aiohttp.ClientRequest, handler: ClientHandlerType) -> aiohttp.ClientResponse:
        if self._wire_requests:
            await self._take_another_slot()
        self._request_started()
        request.headers.update(self._transport.headers)
        before = request.response
        try:
            response = await handler(request)
        except BaseException as error:
            # aiohttp makes a response as soon as the head is written: without one, nothing was sent.
            if request.response is before:
                self._transport.counters.requests -= 1
                self._sent = False
            # Middlewares of the session see aiohttp's own errors: the outermost middleware stops the resend.
            if self._transport.session_middlewares or not _would_resend(error):
                raise
            dropped = _DroppedError(error)
        else:
            self._head_arrived(response)
            return response
        raise dropped

    def __deepcopy__(self, memo: object) -> _Attempt:
        """Itself: mock libraries copy what a request is given, and the event loop behind this cannot be copied."""
        return self

    async def _outcome(self) -> PageResponse | RequestError:
        try:
            response = await self._transport.get(self._request.target, self)
            # Mock libraries answer without calling any middleware; a session's own may answer without a request.
            if not self._wire_requests and not self._transport.session_middlewares:
                self._request_started()
                self._head_arrived(response)
            body = await _read(response)
        except _TooLargeError as error:
            if 200 <= error.status < 300:
                return too_large(error.size, MAX_BODY_BYTES, error.head, self._request, self._transport.key.redact)
            return self._interpret(error.status, error.head)
        except _DroppedError as error:
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
        if self._status is not None and not 200 <= self._status < 300:
            return self._interpret(self._status, b"")
        what = failure if failure is not None else timeout_text(self._seconds, self._bound, sent=self._sent)
        return transport_error(what, self._request, self._transport.base_url, self._transport.key.redact)

    def _interpret(self, status: int, body: bytes) -> PageResponse | RequestError:
        return self._transport.interpret(status, body, self._request, self._retry_after)

    def _request_started(self) -> None:
        self._wire_requests += 1
        self._transport.counters.requests += 1
        self._sent = True
        self._status = self._retry_after = self._pause = None

    def _head_arrived(self, response: aiohttp.ClientResponse) -> None:
        self._status = response.status
        if not 200 <= response.status < 300:
            self._retry_after = parse_retry_after(response.headers.get("Retry-After"), response.headers.get("Date"))
        if response.status != 429:
            self._slot.answered()
            return
        self._transport.counters.throttled += 1
        self._pause = max(self._backoff(), self._retry_after or 0.0)
        self._slot.throttled(self._pause)

    async def _take_another_slot(self) -> None:
        """A middleware of the session sends again. That counts too; the wait for it is not part of the timeout."""
        clock = asyncio.get_running_loop().time
        self._give_slot_back()
        self._sent = False
        self._timeout.reschedule(None)
        began = clock()
        self._slot = await self._another_slot()
        self._waited += clock() - began
        self._timeout.reschedule(clock() + self._seconds)

    def _give_slot_back(self, *, timed_out: bool = False) -> None:
        if not self._sent:
            self._slot.refund()
        elif timed_out:
            # The server may be working on it still.
            asyncio.get_running_loop().call_later(min(self._seconds, ORPHAN_HOLD), self._slot.release)
        else:
            self._slot.release()


class _DroppedError(aiohttp.ClientConnectionError):
    """A connection dropped. aiohttp would send the request again by itself, but not after this error."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__("the connection was dropped")
        self.cause = cause


async def _without_resend(request: aiohttp.ClientRequest, handler: ClientHandlerType) -> aiohttp.ClientResponse:
    """A middleware outside of those of the session."""
    try:
        return await handler(request)
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
        if not _would_resend(error):
            raise
        dropped = _DroppedError(error)
    raise dropped


def _would_resend(error: BaseException) -> bool:
    """Whether aiohttp would send the request again after this error."""
    dropped = isinstance(error, (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError))
    return dropped and not isinstance(error, aiohttp.ClientConnectorError)


class _TooLargeError(Exception):
    def __init__(self, status: int, size: str, head: bytes) -> None:
        super().__init__(size)
        self.status = status
        self.size = size
        self.head = head


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The whole body, up to `MAX_BODY_BYTES`."""
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
        self._status = response.status

    async def read(self) -> bytes:
        chunks: list[bytes] = []
        size = 0
        while chunk := await self._content.read(_CHUNK):
            chunks.append(chunk)
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                raise _TooLargeError(self._status, f"{size:,} bytes or more", chunks[0])
        return b"".join(chunks)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)
