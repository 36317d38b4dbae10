"""The resources of a command: a client with its quota, the ids of groups, or a store."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import functools
import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import proxy_bypass

import aiohttp
from aiohttp.client_middlewares import ClientMiddlewareType

from clicksgroup.cli.options import Access, StoreChoice
from clicksgroup.cli.parsing import ALL, ONE_DAY, GroupChoice, read_key
from clicksgroup.cli.progress import OpenedClient, WatchedQuota
from clicksgroup.client import ClicksClient
from clicksgroup.dates import DateRange, date_range
from clicksgroup.errors import ConfigurationError, TransportError
from clicksgroup.quota.shared import SharedQuota
from clicksgroup.retries import RetryPolicy
from clicksgroup.settings import Secret, origin_of, parse_base_url, request_headers

# The store, the sandbox and Redis are imported where they are used: they need extras or take time to load.
if TYPE_CHECKING:
    from clicksgroup.store import ClickStore

SANDBOX_DAYS = 90
"""Dates that a sandbox shows where none are named."""


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
