"""Read a store with pandas, polars and DuckDB.

The tables are `group_clicks(account, date, group_id, group_name, clicks, unique_users)` and
`click_dates(account, date, total_count, fetched_at, ...)`, in SQLite and in PostgreSQL. Any program that speaks SQL
can read them.
"""

import duckdb
import pandas  # type: ignore[import-untyped]
import polars
from arro3.core import Table

from clicksgroup import exports
from clicksgroup.store import ClickStore


def read_with_pandas(file: str) -> pandas.DataFrame:
    """All records of a SQLite store, straight from its table."""
    return pandas.read_sql("SELECT * FROM group_clicks", f"sqlite:///{file}", parse_dates=["date"])


async def read_arrow(file: str, start: str, end: str) -> Table:
    """The records of some dates as an Arrow table, which polars, DuckDB and pyarrow take as it is."""
    async with ClickStore(file) as store:
        return await exports.to_arrow(store.clicks(start, end))


def read_with_polars(clicks: Table) -> polars.DataFrame:
    """The Arrow table as a frame."""
    return polars.DataFrame(clicks)


def clicks_by_group(clicks: Table) -> list[tuple[str, int]]:
    """The clicks of each group, the most first, summed by DuckDB. It finds the table `clicks` by its name."""
    query = "SELECT group_name, sum(clicks)::BIGINT FROM clicks GROUP BY ALL ORDER BY 2 DESC"
    with duckdb.connect() as connection:
        return connection.sql(query).fetchall()
