"""Clicks and whole dates behind FastAPI, with typed responses in the OpenAPI page (`/docs`) and a health route.

    uvicorn tests.web.fastapi_app:app --timeout-graceful-shutdown 5

Without that option uvicorn waits for open streams to end, for as long as they take, before it shuts down.

It reads CLICKSGROUP_API_KEY, CLICKSGROUP_PLAN, CLICKSGROUP_USER_AGENT and CLICKSGROUP_STORE.

When a caller closes the connection of a stream, the requests behind it end within one page. Handlers that return a
whole response are not told that their caller has gone: they finish, and the date is in the store.
"""

import datetime
import math
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import orjson
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel

from clicksgroup import (
    ClicksClient,
    ClicksGroupError,
    ConfigurationError,
    Day,
    GroupClicks,
    RateLimitError,
    RetryPolicy,
    Stats,
    Stream,
    date_range,
)
from clicksgroup.store import ClickStore

MAX_AGE = datetime.timedelta(minutes=10)
"""A date that is not final is asked for again when the stored one is older than this."""

RETRY = RetryPolicy(attempts=3, deadline=15.0)
"""For callers that wait: three attempts in at most 15 seconds. The default is for jobs: ten in up to five minutes."""


class RecordBody(BaseModel):
    """The clicks on one link group on one date."""

    date: datetime.date
    group_id: int
    group_name: str
    clicks: int
    unique_users: int


class DayBody(BaseModel):
    """A whole date."""

    date: datetime.date
    total_count: int
    records: list[RecordBody]
    fetched_at: datetime.datetime
    groups: list[int] | None
    problems: list[str]


class HealthBody(BaseModel):
    """What the client has done so far."""

    requests: int
    retries: int
    throttled: int


class FailureBody(BaseModel):
    """What happened, and what to do."""

    error: str


JSON_LINES = "application/x-ndjson"

FAILURES: dict[int | str, dict[str, Any]] = {
    400: {"model": FailureBody, "description": "Dates that cannot be right"},
    502: {"model": FailureBody, "description": "The service, the network or the store failed"},
    503: {"model": FailureBody, "description": "The quota is used up: see Retry-After"},
}

RECORDS: dict[str, Any] = {
    "description": "One record a line",
    "content": {JSON_LINES: {"schema": {"$ref": f"#/components/schemas/{RecordBody.__name__}"}}},
}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    """One client and one store for all requests."""
    async with ClicksClient(retry=RETRY) as client, ClickStore(os.environ["CLICKSGROUP_STORE"]) as store:
        yield {"client": client, "store": store}


app = FastAPI(title="Clicks by group", lifespan=lifespan)


@app.get("/days/{date}", response_model=DayBody, responses=FAILURES)
async def day(request: Request, date: datetime.date) -> Day:
    """A date from the store, or from the service where the store lacks it."""
    found: Day = await request.state.store.fetch_day(request.state.client, date, max_age=MAX_AGE)
    return found


@app.get("/clicks/{start}/{end}", response_class=Response, responses={200: RECORDS, **FAILURES})
async def clicks(request: Request, start: datetime.date, end: datetime.date) -> StreamingResponse:
    """One line for each record, as soon as it arrives. A caller who closes the connection ends the requests."""
    stream = request.state.client.clicks(date_range(start, end))
    # The status line goes out after this, so an error before the first record gets a status of its own.
    first = await anext(stream, None)
    return StreamingResponse(json_lines(first, stream), media_type=JSON_LINES)


async def json_lines(first: GroupClicks | None, stream: Stream[GroupClicks]) -> AsyncIterator[bytes]:
    """The first record, then the others. An error among them cuts the response short."""
    async with stream:
        record = first
        while record is not None:
            yield orjson.dumps(attrs.asdict(record), option=orjson.OPT_APPEND_NEWLINE)
            record = await anext(stream, None)


@app.get("/health", response_model=HealthBody, responses={502: FAILURES[502]})
async def health(request: Request) -> Stats:
    """Whether the store can be read. This spends no request of the quota."""
    await request.state.store.span()
    stats: Stats = request.state.client.stats
    return stats


@app.exception_handler(ClicksGroupError)
async def failed(request: Request, error: ClicksGroupError) -> JSONResponse:
    """503 for a quota that is used up, 400 for arguments that cannot be right, 502 for everything else."""
    body = {"error": str(error)}
    if isinstance(error, RateLimitError):
        # Where the service did not say how long: its quotas are per minute.
        return JSONResponse(body, 503, {"Retry-After": str(math.ceil(error.retry_after or 60))})
    return JSONResponse(body, 400 if isinstance(error, ConfigurationError) else 502)
