"""A span for each request, through a session of the caller's own."""

import aiohttp
from opentelemetry.instrumentation.aiohttp_client import create_trace_config
from opentelemetry.trace import Span

from clicksgroup import ClicksClient


def name_span(span: Span, params: aiohttp.TraceRequestStartParams) -> None:
    span.update_name(f"GET {params.url.path}")
    span.set_attributes({f"clicks.{name}": value for name, value in params.url.query.items()})


async def traced(date: str) -> int:
    traces = [create_trace_config(request_hook=name_span)]
    async with (
        aiohttp.ClientSession(trace_configs=traces, cookie_jar=aiohttp.DummyCookieJar()) as session,
        ClicksClient(session=session) as client,
    ):
        return len(await client.day(date))
