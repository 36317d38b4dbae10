"""Whole dates behind FastAPI: the smallest backend. `fastapi_app.py` adds a stream, types and a health route."""

import datetime
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from clicksgroup import ClicksClient, ClicksGroupError, ConfigurationError, RateLimitError, RetryPolicy
from clicksgroup.store import ClickStore


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    # A caller waits for the answer, so a page gets 3 attempts in at most 15 seconds.
    retry = RetryPolicy(attempts=3, deadline=15.0)
    async with ClicksClient(retry=retry) as app.state.client, ClickStore("clicks.db") as app.state.store:
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/days/{date}")
async def day(date: datetime.date) -> dict[str, Any]:
    max_age = datetime.timedelta(minutes=10)
    return attrs.asdict(await app.state.store.fetch_day(app.state.client, date, max_age=max_age))


@app.exception_handler(ClicksGroupError)
async def failed(request: Request, error: ClicksGroupError) -> JSONResponse:
    if isinstance(error, RateLimitError):
        headers = {"Retry-After": str(math.ceil(error.retry_after or 60))}
        return JSONResponse({"error": str(error)}, 503, headers)
    return JSONResponse({"error": str(error)}, 400 if isinstance(error, ConfigurationError) else 502)
