"""A quota that processes on several machines share: kept in Redis, or in Valkey. Needs the extra `redis`."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.resources
import json
import math
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from clicksgroup.errors import ConfigurationError, QuotaUnavailableError
from clicksgroup.plans import Quota
from clicksgroup.quota.remote import CLOSE_TIMEOUT, Backend, RemoteQuota, UnreachableError, clock
from clicksgroup.quota.shared import CLOCK_DRIFT, ORPHAN_HOLD
from clicksgroup.quota.state import TURN_TIMEOUT, Event, ExchangeResult

try:
    from redis.asyncio import ConnectionPool, Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import AuthenticationError, InvalidResponse, RedisError, ResponseError
except ImportError as error:
    raise ImportError('RedisQuota needs an extra: pip install "clicksgroup[redis]"') from error

LEASE = 30.0
"""Seconds after its last exchange until a process counts as dead: as long as one request may take by default. A process
renews its lease three times as often."""

ANSWER_TIMEOUT = 2.0
"""Seconds for Redis to connect or to answer, before the call is made again."""

SCRIPT = importlib.resources.files("clicksgroup").joinpath("redis.lua").read_text(encoding="utf-8")


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
        super().__init__(quota, RedisBackend(url, quota, name, outage_timeout), outage_timeout)
        self.name = name


class RedisBackend(Backend):
    """Runs `redis.lua`, which makes one exchange in one atomic step."""

    def __init__(self, url: str, quota: Quota, name: str, outage_timeout: float) -> None:
        if not name or "{" in name or "}" in name:
            raise ConfigurationError(f"name: {name!r}: expected a text without braces, such as 'shop'")
        self._name = name
        self._key = f"{{clicksgroup:{name}}}"
        self._quota = quota
        self._url = url
        self._address = _address(url)
        self._outage_timeout = outage_timeout
        self.heartbeat = LEASE / 3
        self._redis: Redis | None = None
        self._reset()

    def _reset(self) -> None:
        self._holder = uuid.uuid4().hex
        # What the last result told: the id of Redis's memory, how often it had changed, and its clock minus ours.
        self._epoch = ""
        self._changes = 0
        self._clock_offset = 0.0
        self._last_call_failed = False

    def describe(self) -> str:
        return f"{self._name!r} in Redis at {self._address}"

    async def open(self) -> None:
        self._reset()
        timeout = min(self._outage_timeout, ANSWER_TIMEOUT)
        # No retries here: the caller of `exchange` tries again, and knows for how long.
        self._redis = Redis.from_url(
            self._url, retry=Retry(NoBackoff(), 0), socket_timeout=timeout, socket_connect_timeout=timeout
        )
        self._script = self._redis.register_script(SCRIPT)

    async def close(self) -> None:
        client, self._redis = self._redis, None
        if client is None:
            return
        if self._epoch and not self._last_call_failed:
            leaving = self.encode_call((), (), {}, clock_confirmed=True, leaving=True)
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await self._script(keys=[self._key], args=[leaving], client=client)
        await client.aclose()

    async def exchange(
        self, events: Sequence[Event], request_ids: Sequence[str], held: Mapping[str, bool]
    ) -> ExchangeResult:
        if self._redis is None:
            raise UnreachableError("it was closed")
        try:
            if self._last_call_failed:
                # Connecting takes time, which must not look like a step of Redis's clock.
                await self._redis.ping()
            self._last_call_failed = True
            sent_at = clock()
            answer = await self._run(self.encode_call(events, request_ids, held))
            if "clock_differs" in answer:
                # Its clock was set, or the call took long: the second call is not late as well.
                sent_at = clock()
                answer = await self._run(self.encode_call(events, request_ids, held, clock_confirmed=True))
        except (RedisError, OSError, TimeoutError) as error:
            if not self._epoch and _is_permanent(error):
                raise QuotaUnavailableError(f"{self.describe()} cannot be used: {error}", retryable=False) from None
            raise UnreachableError(str(error) or type(error).__name__) from None
        self._last_call_failed = False
        return self.decode_answer(answer, sent_at)

    async def _run(self, call: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(await self._script(keys=[self._key], args=[call], client=self._redis))
        return answer

    def encode_call(
        self,
        events: Sequence[Event],
        request_ids: Sequence[str],
        held: Mapping[str, bool],
        *,
        clock_confirmed: bool = False,
        leaving: bool = False,
    ) -> str:
        """The script's argument."""
        now = clock()
        call: dict[str, Any] = {
            "holder": self._holder,
            "quota": repr(self._quota),
            "limits": [(count, window * CLOCK_DRIFT) for count, window in self._quota.limits],
            "in_flight": self._quota.in_flight,
            "lease": LEASE,
            "orphan_hold": ORPHAN_HOLD,
            "turn_timeout": TURN_TIMEOUT,
            "epoch": self._epoch,
            "changes": self._changes,
            "expected_now": now + self._clock_offset,
            "clock_confirmed": clock_confirmed,
            "new_epoch": uuid.uuid4().hex,
            "events": [(event.kind, event.id, now - event.at, event.seconds) for event in events],
            "request_ids": request_ids,
            "held": held,
            "leaving": leaving,
        }
        return json.dumps(call)

    def decode_answer(self, answer: dict[str, Any], sent_at: float) -> ExchangeResult:
        """The result of a call that was sent then."""
        if "other_quota" in answer:
            raise ConfigurationError(
                f"{self.describe()}: another process keeps {answer['other_quota']} there, and this one was given "
                f"{self._quota!r}; give all the same quota, or another name"
            )
        self._epoch, self._changes = answer["epoch"], answer["changes"]
        self._clock_offset = answer["now"] - (sent_at + clock()) / 2
        retry_in = answer["retry_in"]
        # An empty table of Lua is an object in JSON.
        return ExchangeResult(answer["granted"] or (), retry_in if retry_in > 0 else math.inf, answer["pause_left"])


def _address(url: str) -> str:
    """Where Redis is, without any password."""
    try:
        pool = ConnectionPool.from_url(url)
    except ValueError:
        raise ConfigurationError(
            "url: expected redis://, rediss:// or unix:// and an address, such as redis://127.0.0.1:6379"
        ) from None
    options = pool.connection_kwargs
    try:
        # Makes no connection, but checks the options.
        pool.connection_class(**options)
    except (TypeError, ValueError, RedisError):
        raise ConfigurationError("url: redis-py does not know one of its options, or refuses its value") from None
    return options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"


def _is_permanent(error: Exception) -> bool:
    """A wrong password or database, or not Redis at all. redis-py has its own types for errors that may pass."""
    return isinstance(error, (AuthenticationError, InvalidResponse)) or type(error) is ResponseError
