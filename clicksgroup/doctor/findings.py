"""What was seen, and what is found: values."""

from __future__ import annotations

import enum
from collections.abc import Mapping

import attrs


class Verdict(enum.Enum):
    """What an assumption came to."""

    HELD = "held"
    DIFFERS = "differs"
    NOT_SEEN = "not seen"


@attrs.frozen
class Finding:
    """One assumption, and what came.

    Args:
        assumption: what is taken for granted.
        verdict: whether it held.
        came: what was seen.
        advice: what to do where it differs.
    """

    assumption: str
    verdict: Verdict
    came: str = ""
    advice: str = ""


@attrs.frozen
class Answer:
    """One answer as it came.

    Args:
        page: the number of the page that was asked for.
        status: of HTTP.
        headers: of the answer, by their names in lower case.
        body: after decompression.
        received_at: seconds since the epoch, by this machine's clock.
    """

    page: int
    status: int
    headers: Mapping[str, str]
    body: bytes
    received_at: float
