"""OpenTelemetry through a session of the caller's own."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from opentelemetry.instrumentation.aiohttp_client import create_trace_config
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from clicksgroup.sandbox import Sandbox
from tests.recipes import telemetry


@pytest.mark.parametrize("options", [{}, {"captured_request_headers": [".*"]}], ids=["as it is", "with all headers"])
async def test_each_request_is_a_span_with_a_name_and_without_the_key(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    traced = functools.partial(create_trace_config, tracer_provider=provider, **options)
    monkeypatch.setattr(telemetry, "create_trace_config", traced)
    assert await telemetry.traced("2025-01-31") == 40
    finished = spans.get_finished_spans()
    assert [span.name for span in finished] == ["GET /api/link/v1/clicks-by-group"] * 2
    attributes = [dict(span.attributes or {}) for span in finished]
    asked = [(each["clicks.ymd"], each["clicks.pages"]) for each in attributes]
    assert asked == [("2025-01-31", "1"), ("2025-01-31", "2")]
    for span in finished:
        assert sandbox.api_key not in span.to_json()
