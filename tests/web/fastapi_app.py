"""Click data behind FastAPI."""

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
    """JSON lines, each as soon as it arrives. A client that hangs up ends the work behind them."""
    stream = request.state.client.clicks(date_range(start, end))

    async def lines() -> AsyncIterator[bytes]:
        async with stream:
            async for record in stream:
                yield orjson.dumps(attrs.asdict(record), option=orjson.OPT_APPEND_NEWLINE)

    return StreamingResponse(lines(), media_type="application/x-ndjson")


@app.get("/days/{date}")
async def day(request: Request, date: datetime.date) -> Response:
    """A date from the store, fetched when it is not there."""
    found = await request.state.days.get(date)
    return Response(orjson.dumps(attrs.asdict(found)), media_type="application/json")


@app.exception_handler(ClicksGroupError)
async def failed(request: Request, error: ClicksGroupError) -> JSONResponse:
    status = 400 if isinstance(error, ConfigurationError) else 502
    return JSONResponse({"error": str(error)}, status)
