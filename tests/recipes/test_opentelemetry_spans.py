"""OpenTelemetry spans through a session of the caller's own."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from opentelemetry.instrumentation.aiohttp_client import create_trace_config
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from clicksgroup.sandbox import Sandbox
from tests.recipes import opentelemetry_spans


@pytest.mark.parametrize("options", [{}, {"captured_request_headers": [".*"]}], ids=["default", "all headers"])
async def test_spans(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]) -> None:
    """Each request is a span with a name and the query as attributes. The key is nowhere in it."""
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    traced = functools.partial(create_trace_config, tracer_provider=provider, **options)
    monkeypatch.setattr(opentelemetry_spans, "create_trace_config", traced)
    assert await opentelemetry_spans.count_groups("2025-01-31") == 40
    finished = spans.get_finished_spans()
    assert [span.name for span in finished] == ["GET /api/link/v1/clicks-by-group"] * 2
    attributes = [dict(span.attributes or {}) for span in finished]
    asked = [(each["clicks.ymd"], each["clicks.pages"]) for each in attributes]
    assert asked == [("2025-01-31", "1"), ("2025-01-31", "2")]
    for span in finished:
        assert sandbox.api_key not in span.to_json()
