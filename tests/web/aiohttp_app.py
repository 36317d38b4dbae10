"""Clicks and whole dates behind aiohttp.web.

    python -m tests.web.aiohttp_app

It reads CLICKSGROUP_API_KEY, CLICKSGROUP_PLAN, CLICKSGROUP_USER_AGENT, CLICKSGROUP_STORE and PORT.

aiohttp.web cancels a handler whose caller has closed the connection only with `handler_cancellation=True`. The requests
for a date then end within one page, once all callers who waited for that date have gone.
"""

import datetime
import math
import os
from collections.abc import AsyncIterator

import attrs
import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from clicksgroup import (
    ClicksClient,
    ClicksGroupError,
    ConfigurationError,
    GroupClicks,
    RateLimitError,
    RetryPolicy,
    date_range,
)
from clicksgroup.store import ClickStore

CLIENT = web.AppKey("client", ClicksClient)
STORE = web.AppKey("store", ClickStore)

MAX_AGE = datetime.timedelta(minutes=10)
"""A date that is not final is asked for again when the stored one is older than this."""

RETRY = RetryPolicy(attempts=3, deadline=15.0)
"""For callers that wait: three attempts in at most 15 seconds. The default is for jobs: ten in up to five minutes."""

SHUTDOWN_TIMEOUT = 5.0
"""Seconds that open streams get to end when the server shuts down. The default of aiohttp.web is a minute."""


async def client_and_store(app: web.Application) -> AsyncIterator[None]:
    """One client and one store for all requests."""
    async with ClicksClient(retry=RETRY) as client, ClickStore(os.environ["CLICKSGROUP_STORE"]) as store:
        app[CLIENT], app[STORE] = client, store
        yield


async def clicks(request: web.Request) -> web.StreamResponse:
    """One line for each record, as soon as it arrives. A caller who closes the connection ends the requests."""
    dates = date_range(request.match_info["start"], request.match_info["end"])
    async with request.app[CLIENT].clicks(dates) as stream:
        # The status line goes out after this, so an error before the first record gets a status of its own.
        record: GroupClicks | None = await anext(stream, None)
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        while record is not None:
            await response.write(orjson.dumps(attrs.asdict(record), option=orjson.OPT_APPEND_NEWLINE))
            record = await anext(stream, None)
    return response


async def day(request: web.Request) -> web.Response:
    """A date from the store, or from the service where the store lacks it."""
    found = await request.app[STORE].fetch_day(request.app[CLIENT], request.match_info["date"], max_age=MAX_AGE)
    return web.Response(body=orjson.dumps(attrs.asdict(found)), content_type="application/json")


async def health(request: web.Request) -> web.Response:
    """Whether the store can be read, and what the client has done so far. This spends no request of the quota."""
    await request.app[STORE].span()
    return web.Response(body=orjson.dumps(attrs.asdict(request.app[CLIENT].stats)), content_type="application/json")


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """503 for a quota that is used up, 400 for arguments that cannot be right, 502 for everything else."""
    try:
        return await handler(request)
    except ClicksGroupError as error:
        # In the middle of a stream the status has gone out: aiohttp.web then closes the connection.
        if request.writer.output_size:
            raise
        body = {"error": str(error)}
        if isinstance(error, RateLimitError):
            # Where the service did not say how long: its quotas are per minute.
            return web.json_response(body, status=503, headers={"Retry-After": str(math.ceil(error.retry_after or 60))})
        return web.json_response(body, status=400 if isinstance(error, ConfigurationError) else 502)


def make_app() -> web.Application:
    """The routes, and the client and store that serve them."""
    app = web.Application(middlewares=[errors])
    app.cleanup_ctx.append(client_and_store)
    app.add_routes([web.get("/clicks/{start}/{end}", clicks), web.get("/days/{date}", day), web.get("/health", health)])
    return app


def main() -> None:
    """Serve on PORT, or else on port 8080."""
    port = int(os.environ.get("PORT", "8080"))
    web.run_app(make_app(), port=port, handler_cancellation=True, shutdown_timeout=SHUTDOWN_TIMEOUT)


if __name__ == "__main__":
    main()
