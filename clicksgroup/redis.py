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
from clicksgroup.quota.remote import CLOSE_TIMEOUT, RemoteQuota, UnreachableError, clock
from clicksgroup.quota.shared import CLOCK_DRIFT, ORPHAN_HOLD
from clicksgroup.quota.state import TURN, Event, ExchangeResult

try:
    from redis.asyncio import ConnectionPool, Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import AuthenticationError, InvalidResponse, RedisError, ResponseError
except ImportError as error:
    raise ImportError('RedisQuota needs an extra: pip install "clicksgroup[redis]"') from error

LEASE = 30.0
"""Seconds after which a process that was not heard of is taken for dead, and what it holds comes back: as long as one
request may take by default. It is heard of three times as often."""

ANSWER_TIME = 2.0
"""Seconds for Redis to answer, before the call is made again."""

SCRIPT = importlib.resources.files("clicksgroup").joinpath("redis.lua").read_text(encoding="utf-8")


class RedisQuota(RemoteQuota):
    """The quota, kept by processes on any number of machines together, in one Redis key.

    Time is Redis's, held against each process's own clock, so it may be set without harm. A process that dies is
    missed after 30 seconds. A Redis that comes back without its memory costs everyone one window. It must not evict
    keys (`maxmemory-policy noeviction`).

    >>> from clicksgroup import Quota
    >>> from clicksgroup.redis import RedisQuota
    >>> RedisQuota("redis://:secret@cache.example:6379", Quota.of("business"), name="shop")
    <RedisQuota 'shop' in Redis at cache.example:6379: Quota((24, 60.0), in_flight=2), closed>

    Args:
        url: `redis://`, `rediss://` or `unix://`, as redis-py takes it.
        quota: what is allowed. All who share the name must say the same.
        name: who shares it: one name for each API key.
        outage_timeout: seconds for which Redis may be out of reach before whoever waits is told.

    Raises:
        ConfigurationError: a URL or name that cannot be right; when it is opened, if others keep a different quota
            under that name.
        QuotaUnavailableError: when it is opened, if Redis cannot be reached.
    """

    def __init__(self, url: str, quota: Quota, *, name: str, outage_timeout: float = 5.0) -> None:
        super().__init__(quota, outage_timeout)
        if not name or "{" in name or "}" in name:
            raise ConfigurationError(f"name: {name!r}: expected some text without braces")
        try:
            pool = ConnectionPool.from_url(url)
        except ValueError:
            raise ConfigurationError("url: expected redis://, rediss:// or unix:// and where Redis is") from None
        found = pool.connection_kwargs
        try:
            pool.connection_class(**found)  # opens nothing, but takes the options
        except (TypeError, ValueError, RedisError):
            raise ConfigurationError("url: one of its options is none of redis-py's, or not what it takes") from None
        self.name = name
        self._url = url
        self._address = found.get("path") or f"{found.get('host', 'localhost')}:{found.get('port', 6379)}"
        self._key = f"{{clicksgroup:{name}}}"
        self._heartbeat = LEASE / 3
        self._redis: Redis | None = None
        self._forget_engine()

    def _forget_engine(self) -> None:
        self._holder = uuid.uuid4().hex
        self._epoch = ""  # what was learned from the last result: which memory, how much of it, and its time
        self._changes = 0
        self._ahead = 0.0  # the quota's clock minus ours
        self._missed_last = False

    def __repr__(self) -> str:
        state = "closed" if self._pump is None else f"{len(self._held)} held, {len(self._waiters)} waiting"
        return f"<RedisQuota {self.name!r} in {self.describe()}: {self.quota!r}, {state}>"

    def describe(self) -> str:
        return f"Redis at {self._address}"

    async def _open(self) -> None:
        self._forget_engine()
        self._redis = Redis.from_url(
            self._url,
            retry=Retry(NoBackoff(), 0),  # the pump tries again, and knows until when
            socket_timeout=min(self.outage_timeout, ANSWER_TIME),
            socket_connect_timeout=min(self.outage_timeout, ANSWER_TIME),
        )
        self._script = self._redis.register_script(SCRIPT)
        await super()._open()

    async def _disconnect(self) -> None:
        engine, self._redis = self._redis, None
        if engine is None:
            return
        if self._epoch and not self._missed_last:
            farewell = self._call((), (), {}, sure=True, leaving=True)
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await self._script(keys=[self._key], args=[farewell], client=engine)
        await engine.aclose()

    async def _exchange(self, events: Sequence[Event], tickets: Sequence[str]) -> ExchangeResult:
        if self._redis is None:
            raise UnreachableError("it was closed")
        held = dict(self._held)  # what ends from here on is told with the next exchange
        try:
            if self._missed_last:  # connecting must not look like a step of Redis's clock
                await self._redis.ping()
            self._missed_last = True
            asked = clock()
            answer = await self._ask(self._call(events, tickets, held))
            if "doubt" in answer:  # was its clock set, or did the call take long? The second one cannot be late as well
                asked = clock()
                answer = await self._ask(self._call(events, tickets, held, sure=True))
        except (RedisError, OSError, TimeoutError) as error:
            if not self._epoch and _is_permanent(error):
                raise QuotaUnavailableError(f"{self.describe()} cannot be used: {error}", retryable=False) from None
            raise UnreachableError(str(error) or type(error).__name__) from None
        self._missed_last = False
        return self._understand(answer, asked)

    async def _ask(self, call: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(await self._script(keys=[self._key], args=[call], client=self._redis))
        return answer

    def _understand(self, answer: dict[str, Any], asked: float) -> ExchangeResult:
        if "other_quota" in answer:
            raise ConfigurationError(
                f"{self.describe()}: another process keeps {answer['other_quota']} as {self.name!r}, "
                f"this one was given {self.quota!r}"
            )
        self._epoch, self._changes = answer["epoch"], answer["changes"]
        self._ahead = answer["now"] - (asked + clock()) / 2
        again = answer["again"]
        return ExchangeResult(answer["granted"] or (), again if again > 0 else math.inf, answer["paused"])

    def _call(
        self,
        events: Sequence[Event],
        tickets: Sequence[str],
        held: Mapping[str, bool],
        *,
        sure: bool = False,
        leaving: bool = False,
    ) -> str:
        now = clock()
        call: dict[str, Any] = {
            "holder": self._holder,
            "quota": repr(self.quota),
            "limits": [(count, window * CLOCK_DRIFT) for count, window in self.quota.limits],
            "in_flight": self.quota.in_flight,
            "lease": LEASE,
            "orphan_hold": ORPHAN_HOLD,
            "turn": TURN,
            "epoch": self._epoch,
            "changes": self._changes,
            "expected": now + self._ahead,
            "sure": sure,
            "new_epoch": uuid.uuid4().hex,
            "events": [(event.kind, event.id, now - event.at, event.seconds) for event in events],
            "tickets": tickets,
            "held": held,
            "leaving": leaving,
        }
        return json.dumps(call)


def _is_permanent(error: Exception) -> bool:
    """Whether trying again is in vain: a wrong password or database, or not Redis at all. What may pass has a type."""
    return isinstance(error, (AuthenticationError, InvalidResponse)) or type(error) is ResponseError
