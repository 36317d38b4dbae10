"""Load clicks into DuckDB with dlt, or into any other destination of dlt.

dlt loads all or nothing: when a long job fails, everything it had fetched is lost. For more than a few weeks, backfill
a store first and let the resource read `store.days`.

dlt deletes by the dates that arrive. A date that comes back without any group therefore keeps its old rows in the
destination. A `ClickStore` removes them.
"""

from collections.abc import AsyncIterator
from typing import Any

import attrs
import dlt

from clicksgroup import ClicksClient, date_range


@dlt.resource(name="group_clicks", write_disposition="merge", merge_key="date")
async def group_clicks(start: str, end: str) -> AsyncIterator[list[dict[str, Any]]]:
    """One list of rows for each date. A date that is loaded again replaces its rows, those of removed groups too."""
    async with ClicksClient() as client, client.days(date_range(start, end), ordered=False) as days:
        async for day in days:
            yield [attrs.asdict(record) for record in day]


def load(start: str, end: str) -> None:
    """Load the dates from `start` to `end` into `warehouse.duckdb`."""
    destination = dlt.destinations.duckdb("warehouse.duckdb")
    dlt.pipeline("clicks", destination=destination, dataset_name="clicks").run(group_clicks(start, end))


if __name__ == "__main__":
    load("2025-01-01", "2025-01-31")
