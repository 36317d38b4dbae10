"""What a command works with, opened: a client with its quota, a store, the sandbox."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import aiohttp
import attrs

from clicksgroup.cli.options import Access
from clicksgroup.client import ClicksClient
from clicksgroup.errors import ConfigurationError
from clicksgroup.plans import Plan, Quota
from clicksgroup.quota.shared import SharedQuota, Slot
from clicksgroup.retries import RetryPolicy
from clicksgroup.settings import origin_of, parse_api_key, parse_base_url, request_headers

if TYPE_CHECKING:
    from clicksgroup.sandbox import Sandbox

SANDBOX_IN_FLIGHT = 4
"""The sandbox's own quota: no limit but this, since it is there for trying things out."""


class WatchedQuota(SharedQuota):
    """Passes a quota on, and tells how long somebody has been waiting for it."""

    def __init__(self, kept: SharedQuota) -> None:
        super().__init__(kept.quota)
        self._kept = kept
        self._waiting: dict[object, float] = {}

    @property
    def waiting(self) -> float:
        """Seconds for which the one who waits longest has waited; 0 if nobody does."""
        return max((time.monotonic() - since for since in self._waiting.values()), default=0.0)

    async def acquire(self, max_pause: float = math.inf) -> Slot:
        waiter = object()
        self._waiting[waiter] = time.monotonic()
        try:
            return await self._kept.acquire(max_pause)
        finally:
            del self._waiting[waiter]

    async def _open(self) -> None:
        await self._kept.__aenter__()

    async def _close(self) -> None:
        await self._kept.__aexit__(None, None, None)


@attrs.frozen
class Session:
    """A client, and the quota that it waits for."""

    client: ClicksClient
    quota: WatchedQuota


@contextlib.asynccontextmanager
async def open_client(
    access: Access,
    *,
    session: aiohttp.ClientSession | None = None,
    retry: RetryPolicy = RetryPolicy(),  # noqa: B008
) -> AsyncIterator[Session]:
    """A client as the options say, its quota shared with all other processes that use the key."""
    if access.sandbox:
        async with make_sandbox(access) as sandbox:
            from clicksgroup.quota.local import LocalQuota

            quota = WatchedQuota(LocalQuota(sandbox.quota, asyncio.get_running_loop()))
            async with sandbox.client(
                quota=quota,
                user_agent=access.user_agent,
                api_version=access.api_version,
                check=access.check,
                session=session,
                retry=retry,
            ) as client:
                yield Session(client, quota)
        return
    key = access.key()
    quota = WatchedQuota(_shared_quota(access, key))
    async with ClicksClient(
        key,
        plan=access.plan,
        quota=quota,
        base_url=access.base_url,
        user_agent=access.user_agent,
        api_version=access.api_version,
        check=access.check,
        session=session,
        retry=retry,
    ) as client:
        yield Session(client, quota)


def make_sandbox(access: Access) -> Sandbox:
    """The sandbox that `--sandbox` means: without limits, unless a plan is named; then with that plan's."""
    from clicksgroup.sandbox import Sandbox

    return Sandbox(
        plan=(access.plan or Plan.BUSINESS) if access.plan_named else Plan.BUSINESS, quota=sandbox_quota(access)
    )


def sandbox_quota(access: Access) -> Quota:
    """What the sandbox of `make_sandbox` allows."""
    if access.plan_named:
        return access.quota
    return Quota(*access.limits, in_flight=access.in_flight or SANDBOX_IN_FLIGHT)


def _shared_quota(access: Access, key: str) -> SharedQuota:
    from clicksgroup.quota.file import FileQuota, default_path

    request_headers(
        parse_api_key(key), access.user_agent, "en"
    )  # a key that cannot be one is refused before it names a file
    origin = origin_of(parse_base_url(access.base_url, allow_http=False))
    try:
        path = default_path(origin, key)
    except RuntimeError:  # a user without a home
        raise ConfigurationError("there is no folder for the quota's file: set XDG_STATE_HOME or HOME") from None
    if access.redis:
        from clicksgroup.redis import RedisQuota

        return RedisQuota(access.redis, access.quota, name=path.stem)
    return FileQuota(path, access.quota)
