"""An OpenTelemetry span for each request, through an aiohttp session of your own.

Proxies, certificates, connectors and middlewares come in the same way. The key is in no attribute of a span, not even
where headers are captured.
"""

import aiohttp
from opentelemetry.instrumentation.aiohttp_client import create_trace_config
from opentelemetry.trace import Span

from clicksgroup import ClicksClient


def name_span(span: Span, params: aiohttp.TraceRequestStartParams) -> None:
    """Name the span after the path, and add the parameters of the query as attributes."""
    span.update_name(f"GET {params.url.path}")
    span.set_attributes({f"clicks.{name}": value for name, value in params.url.query.items()})


async def count_groups(date: str) -> int:
    """How many groups the date lists. Each request for it is a span."""
    traces = [create_trace_config(request_hook=name_span)]
    async with (
        aiohttp.ClientSession(trace_configs=traces, cookie_jar=aiohttp.DummyCookieJar()) as session,
        ClicksClient(session=session) as client,
    ):
        return len(await client.day(date))
