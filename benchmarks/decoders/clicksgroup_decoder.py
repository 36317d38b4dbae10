"""clicksgroup's decoder, as its client uses it."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from clicksgroup.models import GroupClicks
from clicksgroup.protocol import Decoder, Query

_date = datetime.date(2025, 1, 31)
_request = Query(_date, _date).page(1)
_decoder = Decoder("strict")


def decode(body: bytes) -> Sequence[GroupClicks]:
    """The records of a page."""
    return _decoder.read(body, _request).records
