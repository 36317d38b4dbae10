"""Click data behind aiohttp.web."""

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
    """JSON lines, each as soon as it arrives. A client that hangs up ends the work behind them."""
    dates = date_range(request.match_info["start"], request.match_info["end"])
    async with request.app[CLIENT].clicks(dates) as stream:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        async for record in stream:
            await response.write(orjson.dumps(attrs.asdict(record), option=orjson.OPT_APPEND_NEWLINE))
    return response


async def day(request: web.Request) -> web.Response:
    """A date from the store, fetched when it is not there."""
    try:
        found = await request.app[DAYS].get(datetime.date.fromisoformat(request.match_info["date"]))
    except ClicksGroupError as error:
        return web.json_response({"error": str(error)}, status=502)
    return web.Response(body=orjson.dumps(attrs.asdict(found)), content_type="application/json")


@web.middleware
async def refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ValueError as error:  # dates that cannot be; ConfigurationError is one, too
        return web.json_response({"error": str(error)}, status=400)


def make_app() -> web.Application:
    app = web.Application(middlewares=[refusals])
    app.cleanup_ctx.append(client_and_store)
    app.add_routes([web.get("/clicks/{start}/{end}", clicks), web.get("/days/{date}", day)])
    return app


def main() -> None:
    # Without handler_cancellation a handler goes on when its client has hung up.
    web.run_app(make_app(), handler_cancellation=True)
