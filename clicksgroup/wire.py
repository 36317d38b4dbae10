"""One attempt at a request over aiohttp: sent at most once for each slot, read within bounds, its outcome a value."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable

import aiohttp
import attrs
from aiohttp.client_middlewares import ClientHandlerType
from yarl import URL

from clicksgroup.errors import RateLimitError, RequestError, TransportError
from clicksgroup.models import Stats
from clicksgroup.protocol import Decoder, PageRequest, Reply, status_error
from clicksgroup.protocol.answers import too_large
from clicksgroup.quota.shared import Slot
from clicksgroup.retries import retry_after

MAX_BODY_BYTES = 2 * 2**20
"""The most that is read of a body, after decompression. A page of 30 records is about 2 KiB."""

_CHUNK = 2**16
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)


class Secret(str):
    """A string that is right on the wire and redacted in every `repr`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


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
class Wire:
    """What all attempts of a client have in common.

    Args:
        session: whose connections, middlewares and traces are used.
        base_url: what comes before the path.
        headers: sent with every request, whatever the session would send.
        key: to be redacted where a server echoes it.
        decoder: reads the bodies.
        counters: what is counted.
    """

    session: aiohttp.ClientSession
    base_url: str
    headers: dict[str, str]
    key: Secret
    decoder: Decoder
    counters: Counters

    def redact(self, text: str) -> str:
        return text.replace(self.key, "***")


class Attempt:
    """One attempt. As a middleware, innermost, it sees each request on the wire, and each has a slot of its own.

    Args:
        wire: what all attempts have in common.
        request: what to ask.
        slot: leave to send one request; it is given back.
        another_slot: to be asked where a middleware of the session sends the request again.
        backoff: seconds of pause after a 429 that does not say how long it lasts.
    """

    __slots__ = (
        "_another_slot", "_asked_to_wait", "_backoff", "_bound", "_request", "_seconds", "_sent", "_slot", "_wire",
        "_wire_requests", "pause", "status",
    )  # fmt: skip

    def __init__(
        self,
        wire: Wire,
        request: PageRequest,
        slot: Slot,
        *,
        another_slot: Callable[[], Awaitable[Slot]],
        backoff: Callable[[], float],
    ) -> None:
        self._wire = wire
        self._request = request
        self._slot = slot
        self._another_slot = another_slot
        self._backoff = backoff
        self._sent = False  # the slot's request may have reached the server
        self._wire_requests = 0
        self._asked_to_wait: float | None = None
        self.pause: float | None = None
        """The seconds of pause that a 429 has brought upon all who share the quota."""
        self.status: int | None = None
        """The status of the answer, if there was one."""

    async def run(self, seconds: float) -> Reply | RequestError:
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
        request.headers.update(self._wire.headers)
        try:
            response = await handler(request)
        except BaseException as error:
            if request.response is None:  # aiohttp makes one as soon as the headers are written
                self._wire.counters.requests -= 1
                self._sent = False
            if not _would_be_resent(error):
                raise
            dropped = _DroppedError(error)
        else:
            self._headers_arrived(response)
            return response
        raise dropped

    async def _exchange(self) -> Reply | RequestError:
        session = self._wire.session
        failure: BaseException
        try:
            async with asyncio.timeout(self._seconds) as self._bound:
                response = await session.get(
                    URL(self._wire.base_url + self._request.target, encoded=True),
                    allow_redirects=False,
                    raise_for_status=False,
                    timeout=_NO_TIMEOUT,
                    middlewares=(*session._middlewares, self),
                )
                if not self._wire_requests and not session._middlewares:  # a stand-in that has no wire
                    self._begin()
                    self._headers_arrived(response)
                body = await _read(response)
        except _TooLargeError as error:
            return too_large(error.size, MAX_BODY_BYTES, self._redact(error.head), self._request)
        except RateLimitError as error:  # a middleware sent the request again, and was met by a pause
            return error.with_traceback(None)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            failure = error.cause if isinstance(error, _DroppedError) else error
        else:
            self._wire.counters.bytes += len(body)
            return self._interpret(response.status, self._redact(body))
        return self._transport_error(failure)

    def _begin(self) -> None:
        self._wire_requests += 1
        self._wire.counters.requests += 1
        self._sent = True

    def _headers_arrived(self, response: aiohttp.ClientResponse) -> None:
        self.status = response.status
        if response.status != 429:
            self._slot.answered()
            return
        self._wire.counters.throttled += 1
        self._asked_to_wait = retry_after(response.headers.get("Retry-After"), response.headers.get("Date"))
        self.pause = self._backoff() if self._asked_to_wait is None else self._asked_to_wait
        self._slot.throttled(self.pause)

    async def _take_another_slot(self) -> None:
        """A middleware of the session sends again: that counts too, and waiting for it is no part of the timeout."""
        self._give_back()
        self._sent = False
        self._bound.reschedule(None)
        self._slot = await self._another_slot()
        self._bound.reschedule(asyncio.get_running_loop().time() + self._seconds)

    def _give_back(self) -> None:
        if self._sent:
            self._slot.release()
        else:
            self._slot.refund()

    def _interpret(self, status: int, body: bytes) -> Reply | RequestError:
        if not 200 <= status < 300:
            agent = self._wire.headers["User-Agent"]
            return status_error(status, body, self._request, user_agent=agent, retry_after=self._asked_to_wait)
        try:
            reply = self._wire.decoder.read(body, self._request)
        except RequestError as error:
            return error.with_traceback(None)
        self._wire.counters.pages += 1
        self._wire.counters.records += len(reply.records)
        return reply

    def _redact(self, body: bytes) -> bytes:
        key = self._wire.key.encode()
        return body.replace(key, b"***") if key in body else body

    def _transport_error(self, failure: BaseException) -> TransportError:
        what = f"no whole answer within {self._seconds:g} s" if type(failure) is TimeoutError else _describe(failure)
        permanent = _is_certificate_failure(failure)
        advice = "check base_url and the server's certificate" if permanent else "check the network, or try again later"
        error = TransportError(
            f"{self._request}: {self._wire.redact(what)}; {advice}",
            date=self._request.question.start,
            page=self._request.number,
        )
        error._permanent = permanent
        error.__cause__ = _cause(failure)
        return error


class _DroppedError(aiohttp.ClientError):
    """A connection dropped. aiohttp would send the request again by itself; of this error it keeps its hands."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


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


def _describe(failure: BaseException) -> str:
    match failure:
        case aiohttp.ClientResponseError():  # its status is aiohttp's invention
            return f"malformed HTTP ({' '.join(failure.message.split())[:200]})"
        case aiohttp.ClientConnectorCertificateError():
            return f"the server's certificate is not accepted ({failure.certificate_error})"
        case aiohttp.ClientConnectorDNSError():
            return f"the host name cannot be resolved ({failure.os_error})"
        case aiohttp.ClientConnectorError():
            return f"no connection ({failure.os_error})"
        case aiohttp.ServerDisconnectedError():
            return "the server closed the connection without an answer"
        case aiohttp.ClientPayloadError():
            return "the connection ended in the middle of the body"
    return f"{type(failure).__name__}: {failure}"[:300]


def _is_certificate_failure(failure: BaseException) -> bool:
    return isinstance(getattr(failure, "certificate_error", failure), ssl.SSLCertVerificationError)


def _cause(failure: BaseException) -> BaseException | None:
    """What may be shown as the cause: nothing that holds the request, whose headers hold the key."""
    if isinstance(failure, aiohttp.ClientResponseError):
        return None
    if isinstance(failure, aiohttp.ClientConnectorCertificateError):
        failure = failure.certificate_error
    elif isinstance(failure, aiohttp.ClientConnectorError):
        failure = failure.os_error
    failure.__cause__ = failure.__context__ = None
    return failure.with_traceback(None)
