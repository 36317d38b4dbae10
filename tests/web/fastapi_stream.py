"""Clicks as JSON lines behind FastAPI: the smallest backend. `fastapi_app.py` adds a store and answers for errors."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import orjson
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from clicksgroup import ClicksClient, GroupClicks, Stream, date_range


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with ClicksClient() as app.state.client:
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/clicks/{start}/{end}")
async def clicks(start: str, end: str) -> StreamingResponse:
    stream = app.state.client.clicks(date_range(start, end))
    return StreamingResponse(json_lines(stream), media_type="application/x-ndjson")


async def json_lines(stream: Stream[GroupClicks]) -> AsyncIterator[bytes]:
    async with stream:
        async for record in stream:
            yield orjson.dumps(attrs.asdict(record), option=orjson.OPT_APPEND_NEWLINE)
