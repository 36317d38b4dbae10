"""The record that people write by hand: the same fields as clicksgroup's, frozen and slotted, nothing checked."""

from __future__ import annotations

import datetime

import attrs


@attrs.frozen
class Row:
    """The clicks on one link group on one date."""

    date: datetime.date
    group_id: int
    group_name: str
    clicks: int
    unique_users: int
