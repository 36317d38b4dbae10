"""The resources of a command: a client with its quota and the time left, ids of groups, or a store."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import functools
import math
import os
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import urlsplit
from urllib.request import proxy_bypass

import aiohttp
import attrs
import click
from aiohttp.client_middlewares import ClientMiddlewareType

from clicksgroup.cli.console import State, format_count
from clicksgroup.client import ClicksClient
from clicksgroup.dates import DateRange, date_range
from clicksgroup.errors import ConfigurationError, TransportError
from clicksgroup.plans import Plan, Quota
from clicksgroup.quota.ledger import Forecast
from clicksgroup.quota.shared import SharedQuota, Slot
from clicksgroup.retries import RetryPolicy
from clicksgroup.settings import Secret, origin_of, parse_base_url, request_headers

# The store, the sandbox and Redis are imported where they are used: they need extras or take time to load.
if TYPE_CHECKING:
    from clicksgroup.store import ClickStore

ALL: Literal["all"] = "all"
GroupChoice: TypeAlias = tuple[int, ...] | Literal["all"] | None
"""The ids of groups that were named; None if --groups was not given."""

ONE_DAY = datetime.timedelta(days=1)

SANDBOX_IN_FLIGHT = 4
"""The only limit of a sandbox without --plan: it is there to try things out."""

MANY_REQUESTS = 1000
"""So many requests make the last window a small part of the time."""

WINDOW_SAMPLES = 12

SANDBOX_DAYS = 90
"""Dates that a sandbox shows where none are named."""

_MAX_KEY_BYTES = 4096


@attrs.frozen
class Access:
    """How a command reaches the API, or a sandbox on this machine instead."""

    sandbox: bool
    plan: str | None = None
    # Pairs of requests and seconds, instead of the plan's.
    limits: tuple[tuple[int, float], ...] = ()
    in_flight: int | None = None
    redis: str | None = None
    base_url: str | None = None
    user_agent: str | None = None
    api_version: Any = "v1"
    check: Any = "strict"
    proxy: str | None = None
    # None for the key of the environment, `-` for stdin.
    api_key_file: str | None = None

    @property
    def plan_in_force(self) -> Plan:
        """The plan that was named, or the default."""
        return Plan.parse(self.plan or (Plan.BUSINESS if self.sandbox else Plan.PERSONAL))

    @property
    def quota(self) -> Quota:
        """The plan's documented quota, as far as the options do not replace it. A sandbox without a plan is fast."""
        unlimited = self.sandbox and self.plan is None
        documented = Quota(in_flight=SANDBOX_IN_FLIGHT) if unlimited else Quota.of(self.plan_in_force)
        return Quota(*(self.limits or documented.limits), in_flight=self.in_flight or documented.in_flight)


@contextlib.asynccontextmanager
async def open_client(
    access: Access,
    *middlewares: ClientMiddlewareType,
    retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
) -> AsyncIterator[OpenedClient]:
    """A client as the options describe it. It shares its quota with all processes that use the same key."""
    async with contextlib.AsyncExitStack() as stack:
        if access.sandbox:
            from clicksgroup.quota.local import LocalQuota
            from clicksgroup.sandbox import Sandbox

            server = await stack.enter_async_context(Sandbox(plan=access.plan_in_force, quota=access.quota))
            quota = WatchedQuota(LocalQuota(access.quota, asyncio.get_running_loop()))
            make_client, proxy = server.client, None
        else:
            key = read_key(access.api_key_file)
            quota = WatchedQuota(_shared_quota(access, key))
            make_client = functools.partial(ClicksClient, key, plan=access.plan_in_force, base_url=access.base_url)
            # The proxy that was named, and no other: variables of the environment are ignored.
            proxy = access.proxy
        session = aiohttp.ClientSession(proxy=proxy, middlewares=middlewares, cookie_jar=aiohttp.DummyCookieJar())
        client = make_client(
            session=await stack.enter_async_context(session),
            quota=quota,
            user_agent=access.user_agent,
            api_version=access.api_version,
            check=access.check,
            retry=retry,
        )
        try:
            yield OpenedClient(await stack.enter_async_context(client), quota)
        except TransportError as error:
            if not access.sandbox and (hint := _proxy_hint(access)):
                error.add_note(hint)
            raise


def _proxy_hint(access: Access) -> str | None:
    """What an error of the connection has to do with proxies. Users, passwords and paths of their URLs are left out."""
    if access.proxy:
        parts = urlsplit(access.proxy)
        return f"the request went through the proxy {parts.hostname}:{parts.port or 'its default port'}"
    url = urlsplit(parse_base_url(access.base_url, allow_http=False))
    names = [name for name in os.environ if name.lower() == f"{url.scheme}_proxy" and os.environ[name]]
    if not names or proxy_bypass(url.hostname or ""):
        return None
    return (
        f"{names[0]} names a proxy, and is ignored: if this machine reaches the API through it, add --proxy or set "
        "CLICKSGROUP_PROXY"
    )


def read_key(file: str | None) -> Secret:
    """The API key, from a file (`-` for stdin) or from the environment."""
    if file is None:
        key = os.environ.get("CLICKSGROUP_API_KEY", "")
        if not key:
            raise ConfigurationError(
                "there is no API key: set CLICKSGROUP_API_KEY, or name a file with --api-key-file; "
                "to try without a key, add --sandbox"
            )
        return Secret(key)
    try:
        # `-` is stdin to click.
        with click.open_file(file, "rb") as stream:
            raw = stream.read(_MAX_KEY_BYTES + 1)
        key = raw.decode("utf-8-sig").rstrip("\r\n")
    except RuntimeError:
        raise ConfigurationError("--api-key-file: stdin is closed; name a file, or pipe the key into -") from None
    except OSError as error:
        raise ConfigurationError(f"--api-key-file: cannot read {file}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"--api-key-file: {file} is not a text file in UTF-8") from None
    if not key or len(raw) > _MAX_KEY_BYTES:
        raise ConfigurationError(f"--api-key-file: {file} {'is empty' if not key else 'is too long for a key'}")
    return Secret(key)


def _shared_quota(access: Access, key: Secret) -> SharedQuota:
    from clicksgroup.quota.file import FileQuota, default_name, default_path

    # A key that no header can hold is refused before a file is named after it.
    request_headers(key, access.user_agent, "en")
    origin = origin_of(parse_base_url(access.base_url, allow_http=False))
    if access.redis:
        from clicksgroup.redis import RedisQuota

        return RedisQuota(access.redis, access.quota, name=default_name(origin, key))
    try:
        return FileQuota(default_path(origin, key), access.quota)
    except RuntimeError:
        raise ConfigurationError(
            "there is no folder for the quota's file, since this user has no home; set XDG_STATE_HOME or HOME, or "
            "share the quota through Redis (--redis)"
        ) from None


async def find_ids(access: Access, groups: GroupChoice, opened: OpenedClient | None = None) -> tuple[int, ...] | None:
    """The ids to ask for; None for all groups. `all` lists the account's groups where the plan wants names.

    A client is opened for that if none is given.
    """
    plan = access.plan_in_force
    if groups is None and plan.groups_required:
        raise ConfigurationError(
            f"--groups: the {plan.label} plan must name its groups: add --groups 151,207, or --groups all"
        )
    if groups != ALL:
        return groups
    if not plan.groups_required:
        return None
    async with contextlib.AsyncExitStack() as stack:
        if opened is None:
            opened = await stack.enter_async_context(open_client(access))
        ids = [group.id async for group in opened.client.groups()]
    if not ids:
        raise ConfigurationError("--groups all: the account has no groups")
    return tuple(ids)


@attrs.frozen
class StoreChoice:
    """Which store, whose dates in it, and which of them are final. With `sandbox` alone, clicks are made up."""

    location: str | None
    account: str
    settle: datetime.timedelta = datetime.timedelta(0)
    sandbox: bool = False


def make_store(choice: StoreChoice, *, in_memory: bool = False, read_only: bool = False) -> ClickStore:
    """The store that was named, or one in memory."""
    from clicksgroup.store import ClickStore

    location = ":memory:" if in_memory else choice.location
    if not location:
        raise ConfigurationError("no store is named: add --store FILE (or a URL), or set CLICKSGROUP_STORE")
    return ClickStore(location, account=choice.account, settle=choice.settle, read_only=read_only)


@contextlib.asynccontextmanager
async def open_store_to_read(
    choice: StoreChoice, dates: DateRange | None
) -> AsyncIterator[tuple[ClickStore, DateRange]]:
    """The store, and the dates to read: those that were named, else from its first date to its last.

    Without a named store, a sandbox fills one in memory first.
    """
    from clicksgroup.store.database_errors import NoStoreError

    is_made_up = choice.sandbox and choice.location is None
    try:
        async with make_store(choice, in_memory=is_made_up, read_only=not is_made_up) as store:
            if is_made_up:
                today = datetime.datetime.now(datetime.UTC).date()
                dates = dates or date_range(today - SANDBOX_DAYS * ONE_DAY, today - ONE_DAY)
                async with open_client(Access(sandbox=True)) as opened:
                    await store.backfill(opened.client, dates)
            dates = dates or await store.span()
            if dates is None:
                raise ConfigurationError(
                    f"the store has no dates of the account {choice.account!r}; fill it: clicksgroup backfill START END"
                )
            yield store, dates
    except NoStoreError as error:
        raise ConfigurationError(f"--store: {error}") from None


def _now() -> float:
    return asyncio.get_running_loop().time()


class WatchedQuota(SharedQuota):
    """A quota that also knows whether, and how long, callers have been waiting for it."""

    def __init__(self, inner: SharedQuota) -> None:
        super().__init__(inner.quota)
        self._inner = inner
        self._waiting = 0
        self._busy = 0.0
        # None while callers wait, and before the first request: a job may have to wait for another one.
        self._busy_since: float | None = None

    @property
    def seconds_busy(self) -> float:
        """Seconds since the first request in which no caller waited."""
        return self._busy + (0.0 if self._busy_since is None else _now() - self._busy_since)

    @property
    def next_request(self) -> float | None:
        """Seconds until the caller that is next may send its request; None if nobody waits."""
        return self.seconds_until(1) if self._waiting else None

    async def acquire(self, max_pause: float = math.inf) -> Slot:
        self._busy, self._busy_since = self.seconds_busy, None
        self._waiting += 1
        try:
            return await self._inner.acquire(max_pause)
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._busy_since = _now()

    def forecast(self) -> Forecast:
        return self._inner.forecast()

    async def on_open(self) -> None:
        await self._inner.__aenter__()

    async def on_close(self) -> None:
        await self._inner.__aexit__(None, None, None)


@attrs.frozen
class OpenedClient:
    """A client, and the quota that its requests wait for."""

    client: ClicksClient
    quota: WatchedQuota

    @property
    def requests_sent(self) -> str:
        """`1,460 requests`."""
        return format_count(self.client.stats.requests, "request")

    def state(self, parts: Sequence[str], pages: float | None = None, done: float | None = None) -> State:
        """How far a job is that takes so many pages in all."""
        left = None if pages is None else self.seconds_left(math.ceil(pages - self.client.stats.pages))
        return State(parts, self.quota.next_request, left, done)

    def seconds_left(self, requests: int) -> float:
        """Seconds until so many more requests are answered, at the pace so far and as the quota allows."""
        stats, in_flight = self.client.stats, self.quota.quota.in_flight
        if requests <= 0:
            return 0.0
        # Requests that start together are answered together.
        rounds = math.ceil(stats.pages / in_flight)
        each = self.quota.seconds_busy / (rounds * in_flight) if rounds else 0.0
        # The quota counts those in flight already.
        waiting = requests - max(stats.requests - stats.pages - stats.retries, 0)
        delayed = [self.quota.seconds_until(i) + (waiting - i + 1) * each for i in self._last_window(waiting)]
        return max(each * requests, *delayed, 0.0)

    def _last_window(self, requests: int) -> Iterable[int]:
        """Some of the requests that fit a window: any of them may be the last that the quota delays."""
        if requests > MANY_REQUESTS:
            return [requests]
        counts = [count for count, _ in self.quota.quota.limits]
        samples = (range(requests, max(requests - n, 0), -math.ceil(n / WINDOW_SAMPLES)) for n in counts)
        return set().union(*samples)
