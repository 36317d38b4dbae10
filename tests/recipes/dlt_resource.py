"""Clicks as a dlt resource, loaded into DuckDB."""

from collections.abc import AsyncIterator
from typing import Any

import attrs
import dlt

from clicksgroup import ClicksClient, date_range


@dlt.resource(name="group_clicks", write_disposition="merge", merge_key="date")
async def group_clicks(start: str, end: str) -> AsyncIterator[list[dict[str, Any]]]:
    """A date that is loaded again replaces what was there of it, groups that are gone included."""
    async with ClicksClient() as client, client.days(date_range(start, end), ordered=False) as days:
        async for day in days:
            yield [attrs.asdict(record) for record in day]


def load(start: str, end: str) -> None:
    destination = dlt.destinations.duckdb("warehouse.duckdb")
    dlt.pipeline("clicks", destination=destination, dataset_name="clicks").run(group_clicks(start, end))
