"""Arguments that cannot be right are refused before anything is sent."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from clicksgroup import (
    ClicksClient,
    ConfigurationError,
)
from clicksgroup.sandbox import Sandbox

MAKES: dict[str, tuple[Callable[[Callable[..., Any]], Any], str]] = {
    "no key": (lambda make: make(), r"api_key.*CLICKSGROUP_API_KEY"),
    "empty key": (lambda make: make(""), "api_key: it is empty"),
    "key with a newline": (lambda make: make("key\r\nX: y"), "api_key: .*ASCII"),
    "key with a space at its end": (lambda make: make("key "), "api_key: .*white space"),
    "key that is no ASCII": (lambda make: make("clé"), "api_key: .*ASCII"),
    "user agent with a newline": (lambda make: make("k", user_agent="a\nb"), "user_agent: .*ASCII"),
    "empty user agent": (lambda make: make("k", user_agent=""), "user_agent: it is empty"),
    "language with a newline": (lambda make: make("k", language="en\r\n"), "language: .*"),
    "unknown plan": (lambda make: make("k", plan="free"), "plan: 'free' is not a plan; write one of personal, premium"),
    "plain http": (lambda make: make("k", base_url="http://vivoldi.com"), "base_url: .*https.*allow_http"),
    "another scheme": (lambda make: make("k", base_url="ftp://vivoldi.com"), "base_url: .*https://vivoldi.com"),
    "no scheme": (lambda make: make("k", base_url="vivoldi.com"), "base_url: .*https://vivoldi.com"),
    "user in the URL": (lambda make: make("k", base_url="https://a:b@vivoldi.com"), "base_url: it holds a user"),
    "query in the URL": (lambda make: make("k", base_url="https://vivoldi.com?a=b"), "base_url: .*query"),
    "fragment in the URL": (lambda make: make("k", base_url="https://vivoldi.com#a"), "base_url: .*fragment"),
    "bad port": (lambda make: make("k", base_url="https://vivoldi.com:port"), "base_url: "),
    "space in the URL": (lambda make: make("k", base_url="https://vivoldi.com/a b"), "base_url: .*space"),
    "timeout of 0": (lambda make: make("k", timeout=0), "timeout: 0: .*positive"),
    "timeout that is no number": (lambda make: make("k", timeout=math.nan), "timeout: nan: .*positive"),
    "check": (lambda make: make("k", check="lax"), "check: 'lax' is not one of 'strict', 'warn'"),
    "api_version": (lambda make: make("k", api_version="v3"), "api_version: 'v3' is not one of 'v1', 'v2'"),
    "timeout that is text": (lambda make: make("k", timeout="30"), "timeout: .*number"),
    "quota of 0": (lambda make: make("k", quota=0), "quota: expected Quota or SharedQuota, got int; write Quota"),
    "quota that is a pair": (lambda make: make("k", quota=(24, 60)), "quota: expected Quota"),
    "session": (lambda make: make("k", session="s"), "session: expected ClientSession"),
    "retry": (lambda make: make("k", retry=3), "retry: expected RetryPolicy"),
    "key that is bytes": (lambda make: make(b"k"), "api_key: expected a str"),
    "URL that is bytes": (lambda make: make("k", base_url=b"u"), "base_url: expected a str"),
}


@pytest.mark.parametrize(("make", "words"), MAKES.values(), ids=MAKES)
def test_client_refused(make: Callable[[Callable[..., Any]], Any], words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that cannot be right are refused when the client is made."""
    monkeypatch.delenv("CLICKSGROUP_API_KEY", raising=False)
    with pytest.raises((ConfigurationError, TypeError), match=words) as raised:
        make(ClicksClient)
    assert "X: y" not in str(raised.value)


ASKS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "date in another form": (lambda c: c.clicks("01.02.2025"), r"dates: '01.02.2025'.*YYYY-MM-DD"),
    "date that does not exist": (
        lambda c: c.days(["2025-02-28", "2025-02-29"]),
        r"dates\[1\]: 2025-02-29 is not a date",
    ),
    "moment": (lambda c: c.pages(datetime.datetime(2025, 1, 1, 12)), "dates: .*midnight"),
    "date that is a number": (lambda c: c.clicks(20250101), "dates: expected a date"),
    "one date that is a number": (lambda c: c.day(20250101), "date: expected a datetime.date"),
    "no groups": (lambda c: c.clicks("2025-01-01", groups=[]), "groups: the list is empty"),
    "no groups for a day": (lambda c: c.day("2025-01-01", groups=iter(())), "groups: the list is empty"),
    "group 0": (lambda c: c.clicks("2025-01-01", groups=[1, 0]), "groups: 0: .*from 1"),
    "group below 0": (lambda c: c.page("2025-01-01", groups=[-1]), "groups: -1: .*from 1"),
    "group that is huge": (lambda c: c.clicks("2025-01-01", groups=[2**64]), "groups: .*from 1 to"),
    "group that is text": (
        lambda c: c.clicks("2025-01-01", groups=["151"]),
        "groups: expected ints .*, got str",
    ),
    "group that is true": (
        lambda c: c.clicks("2025-01-01", groups=[True]),
        "groups: expected ints .*, got bool",
    ),
    "group that is a float": (
        lambda c: c.clicks("2025-01-01", groups=[1.0]),
        "groups: expected ints .*, got float",
    ),
    "groups as text": (lambda c: c.totals("2025-01-01", "2025-01-02", groups="151"), "groups: expected an iterable"),
    "one group": (lambda c: c.clicks("2025-01-01", groups=151), "groups: expected an iterable"),
    "page 0": (lambda c: c.page("2025-01-01", 0), "number: 0: .*at least 1"),
    "page that is text": (lambda c: c.page("2025-01-01", "1"), "number: expected an int"),
    "start 0": (lambda c: c.pages("2025-01-01", start=0), "start: 0: .*at least 1"),
    "start with several dates": (lambda c: c.pages(["2025-01-01"] * 2, start=2), "start: 2: only a single date"),
    "start with dates nobody counted": (lambda c: c.pages(iter(["2025-01-01"]), start=2), "start: 2: only a single"),
    "start with a list that is split": (
        lambda c: c.pages("2025-01-01", start=2, groups=range(1, 3001)),
        "start: 2: .*split",
    ),
    "page of a list that is split": (lambda c: c.page("2025-01-01", groups=range(1, 3001)), "groups: 3000 ids"),
    "totals backwards": (lambda c: c.totals("2025-01-02", "2025-01-01"), "end: 2025-01-01 is before start"),
    "totals over two months": (lambda c: c.totals("2025-01-01", "2025-03-01"), "end: .* 60 days.*not split"),
    "estimate of less than nothing": (lambda c: c.estimate("2025-01-01", group_count=-1), "group_count: -1"),
}


@pytest.mark.parametrize(("ask", "words"), ASKS.values(), ids=ASKS)
async def test_call_refused(sandbox: Sandbox, ask: Callable[[ClicksClient], Any], words: str) -> None:
    """Arguments that cannot be right are refused before any connection."""
    connections = aiohttp.TraceConfig()
    connections.on_connection_create_start.append(lambda *_: pytest.fail("it connects"))
    async with aiohttp.ClientSession(trace_configs=[connections]) as session, sandbox.client(session=session) as client:
        with pytest.raises((ConfigurationError, TypeError), match=words):
            await ask(client)
    assert not sandbox.requests


async def test_premium_needs_groups(sandbox: Sandbox) -> None:
    """Premium must name its groups."""
    async with sandbox.client(plan="premium") as client:
        for ask in (client.clicks, client.pages, client.days):
            with pytest.raises(ConfigurationError, match="the Premium plan must name its groups"):
                ask("2025-01-01")
        for ask_now in (client.day, client.page):
            with pytest.raises(ConfigurationError, match="the Premium plan must name its groups"):
                await ask_now("2025-01-01")
    assert not sandbox.requests
