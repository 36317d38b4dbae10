"""The HTTP layer that all attempts of a client share: session, headers, counters, and the reading of answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import aiohttp
import attrs
from aiohttp.client_middlewares import ClientMiddlewareType
from yarl import URL

from clicksgroup.attempts import CHUNK_BYTES, without_resend
from clicksgroup.errors import DecodeError, RequestError
from clicksgroup.models import Stats
from clicksgroup.protocol import Decoder, PageRequest, PageResponse, status_error
from clicksgroup.settings import Secret

NO_REUSE_SECONDS = 300.0
"""For so long connections are not reused after one was dropped."""

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

    def snapshot(self, limits: tuple[tuple[int, float], ...]) -> Stats:
        return Stats(**attrs.asdict(self), limits=limits)


@attrs.define(eq=False)
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
    _fresh_until: float | None = attrs.field(init=False, default=None)
    _url: URL = attrs.field(init=False, default=attrs.Factory(lambda self: URL(self.base_url), takes_self=True))

    def get(self, target: str, attempt: ClientMiddlewareType) -> Awaitable[aiohttp.ClientResponse]:
        """The answer's head. `attempt` is the innermost middleware: it sees every request on the wire."""
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
            middlewares=(without_resend, *self.session_middlewares, attempt),
        )

    def reuses_nothing(self) -> bool:
        """Whether connections are not reused for now."""
        return self._fresh_until is not None and asyncio.get_running_loop().time() < self._fresh_until

    def connection_dropped(self) -> None:
        """A server that has answered before dropped a connection: perhaps it closes them without a word.

        A request on such a connection costs a slot and a backoff, a new connection costs a handshake.
        """
        if self.counters.pages:
            self._fresh_until = asyncio.get_running_loop().time() + NO_REUSE_SECONDS

    def interpret(
        self, status: int, body: bytes, request: PageRequest, retry_after: float | None
    ) -> PageResponse | RequestError:
        """The page or the error that a status and a body stand for."""
        redact = self.key.redact
        if not 200 <= status < 300:
            agent = self.headers["User-Agent"]
            return status_error(status, body, request, user_agent=agent, retry_after=retry_after, redact=redact)
        try:
            response = self.decoder.read(body, request)
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
        self.counters.records += len(response.records)
        return response


def _middlewares_of(session: aiohttp.ClientSession) -> tuple[ClientMiddlewareType, ...]:
    """The session's own middlewares, which those given with a request would replace.

    aiohttp has no public name for them. Where the private one is gone, they are taken to be none.
    """
    return tuple(getattr(session, "_middlewares", ()))
