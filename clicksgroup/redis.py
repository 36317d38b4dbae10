"""A quota that processes on several machines share: kept in Redis, or in Valkey. Needs the extra `redis`."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import logging
import os
import weakref
from typing import NoReturn

import attrs

from clicksgroup.errors import ConfigurationError, QuotaUnavailableError
from clicksgroup.plans import Quota
from clicksgroup.quota.backend import Backend, UnreachableError, clock, dump_changed, load
from clicksgroup.quota.remote import CLOSE_TIMEOUT, RemoteQuota
from clicksgroup.quota.state import ExchangeResult, Report, SharedState
from clicksgroup.settings import Secret

try:
    from redis.asyncio import Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import AuthenticationError, InvalidResponse, RedisError, ResponseError
except ImportError as error:
    raise ImportError('RedisQuota needs an extra: pip install "clicksgroup[redis]"') from error

logger = logging.getLogger("clicksgroup")

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


@attrs.frozen
class _Reading:
    """A moment of the quota's clock, and the moments of ours between which it was read."""

    at: float
    sent: float
    received: float

    def earliest(self, ours: float) -> float:
        """The least that the quota's clock can show at that moment of ours."""
        return self.at + ours - self.received

    def latest(self, ours: float) -> float:
        """The most that it can show."""
        return self.at + ours - self.sent


class RedisBackend(Backend):
    """Reads the state, decides, and puts it back if nobody has changed it in the meantime; else decides again.

    The quota has a clock of its own: Redis's minus `SharedState.origin`. Where Redis's clock is set, our own shows it,
    and the origin moves by the same step. A decision is made for the earliest moment that it can be, and an event is
    dated the latest that it can have been, so the way to Redis and back costs time but never breaks the quota.
    """

    def __init__(self, url: Secret, quota: Quota, name: str, outage_timeout: float) -> None:
        if not name or "{" in name or "}" in name:
            raise ConfigurationError(f"name: {name!r}: expected a text without braces, such as 'shop'")
        super().__init__(quota)
        self._name = name
        self._key = f"{{clicksgroup:{name}}}"
        self._client = _make_client(url, min(outage_timeout, ANSWER_TIMEOUT))
        self.script = self._client.register_script(SCRIPT)
        # What was read last, or None before that; Redis's time of the last answer; the quota's.
        self._raw: bytes | None = None
        self._server_time = _Reading(0.0, 0.0, 0.0)
        self._reading: _Reading | None = None
        self._last_call_failed = False

    def describe(self) -> str:
        options = self._client.connection_pool.connection_kwargs
        address = options.get("path") or f"{options.get('host') or 'localhost'}:{options.get('port') or 6379}"
        return f"{self._name!r} in Redis at {address}"

    def how_to_end_pause(self) -> str:
        return f"delete its key {self._key}"

    async def close(self) -> None:
        if self.seen is not None and not self._last_call_failed:
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await self._leave()
        await self._client.aclose()

    async def exchange(self, report: Report) -> ExchangeResult:
        try:
            if self._last_call_failed:
                # Connecting takes time, which must not make the reading of the clock vague.
                await self._client.ping()
            self._last_call_failed = True
            result = await self._decide_until_unchanged(report)
        except (RedisError, OSError, TimeoutError) as error:
            # A wrong password or database, or not Redis at all. redis-py has its own types for errors that may pass.
            permanent = isinstance(error, (AuthenticationError, InvalidResponse)) or type(error) is ResponseError
            reason = str(error) or type(error).__name__
        else:
            self._last_call_failed = False
            return result
        # Raised outside of `except`, so that no local variable of redis-py, such as the URL, hangs on it.
        if permanent and self.seen is None:
            raise QuotaUnavailableError(f"{self.describe()} cannot be used: {reason}", retryable=False)
        raise UnreachableError(reason)

    async def _decide_until_unchanged(self, report: Report) -> ExchangeResult:
        if self._raw is None:
            await self._compare_and_set(None)
        while True:
            state, now = self._load()
            assert self._reading is not None
            events = [event._replace(at=self._reading.latest(event.at)) for event in report.events]
            result = self.decide(state, report._replace(events=events), now)
            if await self._compare_and_set(dump_changed(state, self._raw, now)):
                self.seen = state.epoch, state.changes
                # Where the last answer shows that the clock was set, the origin moves at once, before a new process
                # reads the clock.
                if self._expected_time(state) == self._server_time.at - state.origin:
                    return result

    async def _leave(self) -> None:
        """Give the lease back."""
        while True:
            state, now = self._load()
            state.holders.pop(self.holder, None)
            if await self._compare_and_set(dump_changed(state, self._raw, now)):
                return

    async def _compare_and_set(self, new: bytes | None) -> bool:
        """Put new bytes there, unless others have changed them since: then those are read. None: only look."""
        known = "" if self._raw is None else hashlib.sha1(self._raw, usedforsecurity=False).hexdigest()
        sent = clock()
        seconds, microseconds, other = await self.script(keys=[self._key], args=[known, new or b""])
        self._server_time = _Reading(int(seconds) + int(microseconds) / 1e6, sent, clock())
        if other is not None:
            self._raw = other
            return False
        self._raw = self._raw if new is None else new
        return True

    def _load(self) -> tuple[SharedState, float]:
        """The state that was read, and the quota's time now."""
        server = self._server_time
        state = SharedState(self.quota, origin=float(int(server.at)))
        damaged = False
        if self._raw:
            try:
                state = load(self._raw)
            except Exception:
                # A foreign value can make the parser raise anything.
                damaged = True
        # Where no process can tell that it was set, the clock at least never runs backwards.
        right = max(self._expected_time(state), state.clock)
        state.origin += server.at - state.origin - right
        self._reading = _Reading(right, server.sent, server.received)
        now = self._reading.earliest(clock())
        if damaged:
            logger.warning("%s is damaged; it is replaced, and nothing is granted for one window", self.describe())
            state.block_one_window(now)
        return state, now

    def _expected_time(self, state: SharedState) -> float:
        """The quota's time at the last answer: what Redis's clock says, unless our own shows that it was set."""
        server, last = self._server_time, self._reading
        shown = server.at - state.origin
        if last is None or self.seen is None or self.seen[0] != state.epoch:
            return shown
        earliest, latest = last.earliest(server.sent), last.latest(server.received)
        if earliest - CLOCK_STEP <= shown <= latest + CLOCK_STEP:
            return shown
        return min(max(shown, earliest), latest)


def _make_client(url: Secret, timeout: float) -> Redis:
    """A client that is not connected yet. Errors are raised outside of `except`: the URL would hang on them."""
    client, options_are_known = None, True
    try:
        # No retries here: the caller of `exchange` tries again, and knows for how long.
        client = Redis.from_url(
            url, retry=Retry(NoBackoff(), 0), socket_timeout=timeout, socket_connect_timeout=timeout
        )
        pool = client.connection_pool
        # Makes no connection, but checks the options.
        pool.connection_class(**pool.connection_kwargs)
    except (TypeError, ValueError, RedisError):
        options_are_known = False
    if client is None:
        raise ConfigurationError(
            "url: expected redis://, rediss:// or unix:// and an address, such as redis://127.0.0.1:6379"
        )
    if not options_are_known:
        raise ConfigurationError("url: redis-py does not know one of its options, or refuses its value")
    _clients.add(client)
    return client


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
