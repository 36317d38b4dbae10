"""The store that a command works on."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import AsyncIterator
from pathlib import Path

from clicksgroup.cli.console import say
from clicksgroup.cli.options import StoreChoice
from clicksgroup.dates import DateRange, date_range
from clicksgroup.errors import ConfigurationError
from clicksgroup.store import ClickStore

SANDBOX_DAYS = 90
"""What is made up where a sandbox is to be shown and no dates are named."""


@contextlib.asynccontextmanager
async def open_to_write(choice: StoreChoice, settle: datetime.timedelta, *, sandbox: bool) -> AsyncIterator[ClickStore]:
    """The store to be filled. A sandbox goes only where it was told to on the command line, else into memory."""
    location = choice.location if choice.named or not sandbox else None
    if location is None and sandbox:
        say("no --store was named: the made-up clicks are forgotten at the end")
        location = ":memory:"
    async with ClickStore(_named(location), account=choice.account, settle=settle) as store:
        yield store


@contextlib.asynccontextmanager
async def open_to_read(
    choice: StoreChoice, dates: DateRange | None, *, sandbox: bool, settle: datetime.timedelta = datetime.timedelta(0)
) -> AsyncIterator[tuple[ClickStore, DateRange]]:
    """The store, and the dates to read: those that were asked for, else from the first to the last in it.

    With `sandbox` and no store named it is one in memory that was just filled with made-up clicks.
    """
    if sandbox and not choice.named:
        async with ClickStore(":memory:", account=choice.account, settle=settle) as store:
            dates = dates or _recently()
            await _make_up(store, dates)
            yield store, dates
        return
    location = _named(choice.location)
    _refuse_missing_file(location)
    async with ClickStore(location, account=choice.account, settle=settle)._open_to_read() as store:
        dates = dates or await store.span()
        if dates is None:
            raise ConfigurationError(
                f"the store holds nothing of the account {choice.account!r}; fill it: clicksgroup backfill START END"
            )
        yield store, dates


def _named(location: str | None) -> str:
    if not location:
        raise ConfigurationError("no store is named: add --store FILE (or a URL), or set CLICKSGROUP_STORE")
    return location


def _refuse_missing_file(location: str) -> None:
    """A store to be read is not made by the way."""
    if "://" not in location and location != ":memory:" and not Path(location).expanduser().exists():
        raise ConfigurationError(f"--store: there is no file {location}; make one: clicksgroup backfill START END")


def _recently() -> DateRange:
    yesterday = datetime.datetime.now(datetime.UTC).date() - datetime.timedelta(days=1)
    return date_range(yesterday - datetime.timedelta(days=SANDBOX_DAYS - 1), yesterday)


async def _make_up(store: ClickStore, dates: DateRange) -> None:
    from clicksgroup.plans import Quota
    from clicksgroup.sandbox import Sandbox

    async with Sandbox(quota=Quota(in_flight=4)) as sandbox, sandbox.client() as client:
        await store.backfill(client, dates)
