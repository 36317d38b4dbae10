"""A quota that processes on several machines share: kept in Redis, or in Valkey. Needs the extra `redis`."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import weakref
from typing import NoReturn

from clicksgroup.errors import ConfigurationError, QuotaUnavailableError
from clicksgroup.plans import Quota
from clicksgroup.quota.backend import Backend, UnreachableError, clock
from clicksgroup.quota.remote import RemoteQuota
from clicksgroup.quota.state import ExchangeResult, Report, SharedState
from clicksgroup.settings import Secret

try:
    from redis.asyncio import Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import AuthenticationError, InvalidResponse, RedisError, ResponseError
except ImportError as error:
    raise ImportError('RedisQuota needs an extra: pip install "clicksgroup[redis]"') from error

ANSWER_TIMEOUT = 2.0
"""Seconds for Redis to connect or to answer, before the call is made again."""

CLOCK_STEP = 1.0
"""Seconds. Redis's clock is taken to have been set if it differs by more from what our own lets expect."""

SCRIPT = """
-- Compare and set. ARGV: the SHA-1 of the value that the caller has read, and the new value, or '' to read only.
-- Answers Redis's time, and the value that is there instead, or false if it is the one that was read.
local value = redis.call('GET', KEYS[1]) or ''
local unchanged = redis.sha1hex(value) == ARGV[1]
if unchanged and ARGV[2] ~= '' then redis.call('SET', KEYS[1], ARGV[2]) end
local time = redis.call('TIME')
return { time[1], time[2], not unchanged and value }
"""


class RedisQuota(RemoteQuota):
    """Keeps one quota for processes on any number of machines, in one Redis key.

    The time is Redis's, compared with each process's own clock, so either may be set without harm. When a process dies,
    its lease expires after 30 seconds. When Redis loses its memory, nothing is granted for one window. It must not
    evict keys (`maxmemory-policy noeviction`).

    >>> from clicksgroup import Quota
    >>> from clicksgroup.redis import RedisQuota
    >>> RedisQuota("redis://:secret@cache.example:6379", Quota.of("business"), name="shop")
    <RedisQuota 'shop' in Redis at cache.example:6379: Quota((24, 60.0), in_flight=2), closed>

    Args:
        url: `redis://`, `rediss://` or `unix://`, as redis-py takes it.
        quota: what is allowed, the same for all who share the name.
        name: what the quota is called: one name for each API key.
        outage_timeout: seconds for which Redis may be out of reach until calls that wait raise an error.

    Raises:
        ConfigurationError: the URL or the name is not valid; when it is opened, if others keep a different quota under
            that name.
        QuotaUnavailableError: when it is opened, if Redis cannot be reached.
    """

    def __init__(self, url: str, quota: Quota, *, name: str, outage_timeout: float = 5.0) -> None:
        # It may hold a password.
        url = Secret(url)
        make_backend = functools.partial(RedisBackend, url, quota, name, outage_timeout)
        super().__init__(quota, make_backend, outage_timeout)
        self.name = name

    def __reduce__(self) -> NoReturn:
        raise TypeError("a RedisQuota cannot be pickled, since its URL may hold a password: make one in each process")


class RedisBackend(Backend):
    """Reads the state, decides, and puts it back if nobody has changed it in the meantime; else decides again.

    The quota has a clock of its own: Redis's minus `SharedState.origin`. Where Redis's clock is set, our own shows it,
    and the origin moves by the same step.
    """

    def __init__(self, url: Secret, quota: Quota, name: str, outage_timeout: float) -> None:
        if not name or "{" in name or "}" in name:
            raise ConfigurationError(f"name: {name!r}: expected a text without braces, such as 'shop'")
        self._key = f"{{clicksgroup:{name}}}"
        self._client = _make_client(url, min(outage_timeout, ANSWER_TIMEOUT))
        self.script = self._client.register_script(SCRIPT)
        options = self._client.connection_pool.connection_kwargs
        address = options.get("path") or f"{options.get('host') or 'localhost'}:{options.get('port') or 6379}"
        super().__init__(quota, f"{name!r} in Redis at {address}", f"delete its key {self._key}")
        # What was read last, or None before that.
        self._raw: bytes | None = None
        # Redis's time of the last answer, and our own before and after that call.
        self._answer = 0.0, 0.0, 0.0
        # Redis's time at which the quota's clock was 0, and how far that is ahead of our own: at least, and at most.
        self._origin, self._ahead = 0.0, (0.0, 0.0)

    async def exchange(self, report: Report) -> ExchangeResult:
        try:
            return await self._decide_until_unchanged(report)
        except (RedisError, OSError, TimeoutError) as error:
            # A wrong password or database, or not Redis at all. redis-py has its own types for errors that may pass.
            permanent = isinstance(error, (AuthenticationError, InvalidResponse)) or type(error) is ResponseError
            reason = str(error) or type(error).__name__
        # Raised outside of `except`, so that no local variable of redis-py, such as the URL, hangs on it.
        if permanent and self.seen is None:
            raise QuotaUnavailableError(f"{self.description} cannot be used: {reason}", retryable=False)
        raise UnreachableError(reason)

    async def close(self) -> None:
        await self._client.aclose()

    def prepare(self, state: SharedState, now: float) -> tuple[float, float]:  # noqa: ARG002
        server, sent, received = self._answer
        state.origin = state.origin or float(int(server))
        if self.seen is not None and self.seen[0] == state.epoch:
            state.origin += self._clock_step(state.origin)
        # Where no process can tell that it was set, the clock at least never runs backwards.
        self._origin = state.origin = min(state.origin, server - state.clock)
        self._ahead = server - self._origin - received, server - self._origin - sent
        return self._ahead

    async def _decide_until_unchanged(self, report: Report) -> ExchangeResult:
        if self._raw is None:
            await self._compare_and_set(None)
        while True:
            result, new, seen = self.decide(self._raw or None, report, clock())
            if await self._compare_and_set(new):
                self.seen = seen
                # Where the last answer shows that the clock was set, the origin moves at once, before a new process
                # reads the clock.
                if self._clock_step(self._origin) == 0:
                    return result

    async def _compare_and_set(self, new: bytes | None) -> bool:
        """Put new bytes there, unless others have changed them since: then those are read. None: only look."""
        known = "" if self._raw is None else hashlib.sha1(self._raw, usedforsecurity=False).hexdigest()
        sent = clock()
        seconds, microseconds, other = await self.script(keys=[self._key], args=[known, new or b""])
        self._answer = int(seconds) + int(microseconds) / 1e6, sent, clock()
        if other is not None:
            self._raw = other
            return False
        self._raw = self._raw if new is None else new
        return True

    def _clock_step(self, origin: float) -> float:
        """By how much Redis's clock was set before its last answer, as our own shows it."""
        server, sent, received = self._answer
        shown, earliest, latest = server - origin, sent + self._ahead[0], received + self._ahead[1]
        if earliest - CLOCK_STEP <= shown <= latest + CLOCK_STEP:
            return 0.0
        # Taken for the earliest moment that it can be, it costs time but lets no window end too soon.
        return shown - earliest


def _make_client(url: Secret, timeout: float) -> Redis:
    """A client that is not connected yet. Errors are raised outside of `except`: the URL would hang on them."""
    problem = "expected redis://, rediss:// or unix:// and an address, such as redis://127.0.0.1:6379"
    with contextlib.suppress(TypeError, ValueError, RedisError):
        # No retries here: the caller of `exchange` tries again, and knows for how long.
        client = Redis.from_url(
            url, retry=Retry(NoBackoff(), 0), socket_timeout=timeout, socket_connect_timeout=timeout
        )
        problem = "redis-py does not know one of its options, or refuses its value"
        # Makes no connection, but checks the options.
        client.connection_pool.connection_class(**client.connection_pool.connection_kwargs)
        _clients.add(client)
        return client
    raise ConfigurationError(f"url: {problem}")


_clients: weakref.WeakSet[Redis] = weakref.WeakSet()


def _close_in_child() -> None:
    """A forked child would keep the connections of its parent open after the parent's death."""
    null = os.open(os.devnull, os.O_RDWR)
    for client in list(_clients):
        pool = client.connection_pool
        # redis-py has no public names for its connections. Without them, they are closed when the child ends.
        for name in ("_available_connections", "_in_use_connections"):
            for connection in getattr(pool, name, ()):
                if (writer := getattr(connection, "_writer", None)) is not None:
                    # Not closed: the number could be another file's by the time at which it is collected.
                    os.dup2(null, writer.get_extra_info("socket").fileno())
    os.close(null)
    _clients.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
