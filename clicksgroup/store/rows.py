"""A day as rows of `group_clicks`."""

from __future__ import annotations

from typing import Any, TypeAlias

from clicksgroup.arguments import MAX_COUNT
from clicksgroup.errors import StoreError
from clicksgroup.models import Day
from clicksgroup.store.schema import storable

RowsById: TypeAlias = dict[int, dict[str, Any]]


def rows_by_id(day: Day, account: str) -> RowsById:
    """The rows by group id; of a group that is listed twice the last.

    Raises:
        StoreError: a record of another date, or a number that does not fit.
    """
    rows = {}
    for record in day.records:
        if record.date != day.date:
            raise StoreError(f"{day.date}: a record of {record.date} does not belong to it")
        for name in ("group_id", "clicks", "unique_users"):
            if not -MAX_COUNT <= getattr(record, name) <= MAX_COUNT:
                raise StoreError(f"{day.date}: {name} {getattr(record, name)} does not fit 64 bits")
        rows[record.group_id] = {
            "account": account,
            "date": day.date,
            "group_id": record.group_id,
            "group_name": storable(record.group_name),
            "clicks": record.clicks,
            "unique_users": record.unique_users,
        }
    return rows
