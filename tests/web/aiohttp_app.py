"""Clicks and whole dates behind aiohttp.web.

    python -m tests.web.aiohttp_app

It reads CLICKSGROUP_API_KEY, CLICKSGROUP_PLAN, CLICKSGROUP_USER_AGENT and CLICKSGROUP_STORE. To use it elsewhere, copy
`stored_days.py` too.

aiohttp.web cancels a handler whose caller has closed the connection only with `handler_cancellation=True`. The requests
for a date then end within one page, once all callers who waited for that date have gone.
"""

import datetime
import os
from collections.abc import AsyncIterator

import attrs
import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from clicksgroup import ClicksClient, ClicksGroupError, date_range
from clicksgroup.store import ClickStore
from tests.web.stored_days import StoredDays

CLIENT = web.AppKey("client", ClicksClient)
DAYS = web.AppKey("days", StoredDays)


async def client_and_store(app: web.Application) -> AsyncIterator[None]:
    """One client and one store for all requests."""
    async with ClicksClient() as client, ClickStore(os.environ["CLICKSGROUP_STORE"]) as store:
        app[CLIENT], app[DAYS] = client, StoredDays(client, store)
        yield


async def clicks(request: web.Request) -> web.StreamResponse:
    """One line for each record, as soon as it arrives. A caller who closes the connection ends the requests."""
    dates = date_range(request.match_info["start"], request.match_info["end"])
    async with request.app[CLIENT].clicks(dates) as stream:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        async for record in stream:
            await response.write(orjson.dumps(attrs.asdict(record), option=orjson.OPT_APPEND_NEWLINE))
    return response


async def day(request: web.Request) -> web.Response:
    """A date from the store, or from the service where the store lacks it."""
    try:
        found = await request.app[DAYS].get(datetime.date.fromisoformat(request.match_info["date"]))
    except ClicksGroupError as error:
        return web.json_response({"error": str(error)}, status=502)
    return web.Response(body=orjson.dumps(attrs.asdict(found)), content_type="application/json")


@web.middleware
async def bad_requests(request: web.Request, handler: Handler) -> web.StreamResponse:
    """400 for arguments that cannot be right. `ConfigurationError` is a `ValueError` too."""
    try:
        return await handler(request)
    except ValueError as error:
        return web.json_response({"error": str(error)}, status=400)


def make_app() -> web.Application:
    """The routes, and the client and store that serve them."""
    app = web.Application(middlewares=[bad_requests])
    app.cleanup_ctx.append(client_and_store)
    app.add_routes([web.get("/clicks/{start}/{end}", clicks), web.get("/days/{date}", day)])
    return app


def main() -> None:
    """Serve on port 8080."""
    web.run_app(make_app(), handler_cancellation=True)


if __name__ == "__main__":
    main()
