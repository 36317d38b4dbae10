"""Clicks and whole dates behind FastAPI.

    uvicorn tests.web.fastapi_app:app

It reads CLICKSGROUP_API_KEY, CLICKSGROUP_PLAN, CLICKSGROUP_USER_AGENT and CLICKSGROUP_STORE. To use it elsewhere, copy
`stored_days.py` too.

When a caller closes the connection of a stream, the requests behind it end within one page. Handlers that return a
whole response are not told that their caller has gone: they finish, and the date is in the store.
"""

import datetime
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import orjson
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from clicksgroup import ClicksClient, ClicksGroupError, ConfigurationError, date_range
from clicksgroup.store import ClickStore
from tests.web.stored_days import StoredDays


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    """One client and one store for all requests."""
    async with ClicksClient() as client, ClickStore(os.environ["CLICKSGROUP_STORE"]) as store:
        yield {"client": client, "days": StoredDays(client, store)}


app = FastAPI(lifespan=lifespan)


@app.get("/clicks/{start}/{end}")
async def clicks(request: Request, start: datetime.date, end: datetime.date) -> StreamingResponse:
    """One line for each record, as soon as it arrives. A caller who closes the connection ends the requests."""
    stream = request.state.client.clicks(date_range(start, end))

    async def lines() -> AsyncIterator[bytes]:
        async with stream:
            async for record in stream:
                yield orjson.dumps(attrs.asdict(record), option=orjson.OPT_APPEND_NEWLINE)

    return StreamingResponse(lines(), media_type="application/x-ndjson")


@app.get("/days/{date}")
async def day(request: Request, date: datetime.date) -> Response:
    """A date from the store, or from the service where the store lacks it."""
    found = await request.state.days.get(date)
    return Response(orjson.dumps(attrs.asdict(found)), media_type="application/json")


@app.exception_handler(ClicksGroupError)
async def failed(request: Request, error: ClicksGroupError) -> JSONResponse:
    """400 for arguments that cannot be right, 502 for everything that the service did."""
    status = 400 if isinstance(error, ConfigurationError) else 502
    return JSONResponse({"error": str(error)}, status)
