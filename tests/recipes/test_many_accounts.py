"""Many accounts in one store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import aiohttp
import pytest
from aiohttp import web
from sqlalchemy.ext.asyncio import create_async_engine

from clicksgroup import AuthenticationError, Quota, date_range
from clicksgroup.sandbox import Sandbox
from clicksgroup.store import BackfillReport, ClickStore
from tests.recipes.many_accounts import fill_all

DATES = date_range("2025-01-01", "2025-01-05")


@pytest.fixture
async def accounts(environment: pytest.MonkeyPatch) -> AsyncIterator[dict[str, Sandbox]]:
    """Forty accounts behind one address, each with its own key, clicks and quota.

    A quota is just enough for five dates of two pages of one account. Two accounts that shared it would never end.
    """
    quota = Quota((10, 3600), in_flight=2)
    environment.setenv("CLICKSGROUP_PLAN", "business")
    async with AsyncExitStack() as stack:
        sandboxes = [
            await stack.enter_async_context(Sandbox(40, "business", seed, quota=quota, api_key=f"key-{seed}"))
            for seed in range(40)
        ]
        by_key = {f"APIKey {sandbox.api_key}": sandbox for sandbox in sandboxes}
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))

        async def vendor(request: web.BaseRequest) -> web.Response:
            sandbox = by_key.get(request.headers["Authorization"])
            if sandbox is None:
                return web.Response(status=401)
            async with session.get(sandbox.url + request.path_qs, headers=request.headers) as answer:
                return web.Response(body=await answer.read(), status=answer.status, content_type=answer.content_type)

        runner = web.ServerRunner(web.Server(vendor, access_log=None))
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        environment.setenv("CLICKSGROUP_BASE_URL", "http://127.0.0.1:{1}".format(*runner.addresses[0]))
        yield {f"account {n}": sandbox for n, sandbox in enumerate(sandboxes)}


@pytest.mark.slow
async def test_own_quota(accounts: dict[str, Sandbox], store_url: str) -> None:
    """Forty accounts fill one store at once, each within its own quota, and their dates stay apart."""
    keys = {account: sandbox.api_key for account, sandbox in accounts.items()}
    reports = await fill_all(keys, store_url, "2025-01-01", "2025-01-05")
    engine = create_async_engine(store_url)
    for account, sandbox in accounts.items():
        report = reports[account]
        assert isinstance(report, BackfillReport), report
        assert (report.fetched, report.failed) == (5, {})
        assert [seen.status for seen in sandbox.requests] == [200] * 10
        async with ClickStore(engine, account=account) as store:
            stored = [record async for record in store.clicks(DATES[0], DATES[-1])]
        assert set(stored) == {record for date in DATES for record in sandbox.truth(date)}
        assert len(stored) == 200
    await engine.dispose()


async def test_refused_key(accounts: dict[str, Sandbox], store_url: str) -> None:
    """An account whose key is refused does not stop the others."""
    keys = {"revoked": "revoked-key", "account 1": accounts["account 1"].api_key}
    reports = await fill_all(keys, store_url, "2025-01-01", "2025-01-05")
    assert isinstance(reports["revoked"], AuthenticationError)
    done = reports["account 1"]
    assert isinstance(done, BackfillReport)
    assert done.fetched == 5
