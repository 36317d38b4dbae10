"""A record as it is written by hand: the fields of clicksgroup's, frozen and slotted, nothing checked."""

from __future__ import annotations

import datetime

import attrs


@attrs.frozen
class Record:
    """The clicks on one link group on one date."""

    date: datetime.date
    group_id: int
    group_name: str
    clicks: int
    unique_users: int
