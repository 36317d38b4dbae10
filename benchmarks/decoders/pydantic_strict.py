"""pydantic told to be strict, from bytes."""

from __future__ import annotations

from benchmarks.decoders.pydantic_lax import Envelope, Row


def decode(body: bytes) -> list[Row]:
    """The records of a page."""
    return Envelope.model_validate_json(body, strict=True).result.list
