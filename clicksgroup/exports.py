"""Records as CSV, NDJSON, Parquet and Arrow. Provisional.

Every function takes records from a list as well as from a stream (`store.clicks`, `client.clicks`) and reads them once,
piece by piece, so that millions of them take no more memory than thousands. The columns are `date`, `group_id`,
`group_name`, `clicks` and `unique_users`. Parquet and Arrow need the extra `arrow`.
"""

from __future__ import annotations

import asyncio
import csv
import datetime
import io
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import attrs
import orjson

from clicksgroup.models import GroupClicks

if TYPE_CHECKING:
    from arro3.core import RecordBatch, Schema, Table

Records: TypeAlias = Iterable[GroupClicks] | AsyncIterable[GroupClicks]

COLUMNS = tuple(field.name for field in attrs.fields(GroupClicks))
"""The columns, in their order: those of `GroupClicks`."""

CHUNK_ROWS = 10_000
"""Records that are encoded at a time."""

ROW_GROUP_ROWS = 100_000
"""Records in a row group of Parquet, which is held in memory until it is whole."""

_EPOCH = datetime.date(1970, 1, 1).toordinal()


async def write_csv(records: Records, file: BinaryIO) -> int:
    """Write CSV in UTF-8, with a header; the number of records is returned. Names are written as they are.

    >>> import asyncio, datetime, sys
    >>> from clicksgroup import GroupClicks, exports
    >>> record = GroupClicks(datetime.date(2025, 1, 31), 151, "Electronics, new", 181, 164)
    >>> file = io.BytesIO()
    >>> asyncio.run(exports.write_csv([record], file))
    1
    >>> print(file.getvalue().decode(), end="")
    date,group_id,group_name,clicks,unique_users
    2025-01-31,151,"Electronics, new",181,164
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    count = 0
    async for chunk in _chunks(records):
        writer.writerows((r.date, r.group_id, r.group_name, r.clicks, r.unique_users) for r in chunk)
        file.write(text.getvalue().encode())
        text.seek(0)
        text.truncate()
        count += len(chunk)
    file.write(text.getvalue().encode())  # of no records the header
    return count


async def write_ndjson(records: Records, file: BinaryIO) -> int:
    """Write one JSON object a line; the number of records is returned."""
    count = 0
    async for chunk in _chunks(records):
        file.writelines(
            orjson.dumps({name: getattr(record, name) for name in COLUMNS}, option=orjson.OPT_APPEND_NEWLINE)
            for record in chunk
        )
        count += len(chunk)
    return count


async def write_parquet(records: Records, file: BinaryIO) -> int:
    """Write Parquet, compressed with zstd; the number of records is returned.

    Raises:
        ImportError: the extra `arrow` is missing.
    """
    _needs_arrow()
    from arro3.core import RecordBatchReader
    from arro3.io import write_parquet

    feed = _Feed(_chunks(records))
    reader = RecordBatchReader.from_batches(_schema(), feed.batches())
    await feed.drain_into(lambda: write_parquet(reader, file, compression="zstd(3)", max_row_group_size=ROW_GROUP_ROWS))
    return feed.count


async def to_arrow(records: Records) -> Table:
    """An Arrow table: polars, DuckDB, pyarrow and pandas take it as it is, through `__arrow_c_stream__`.

    ```python
    import duckdb
    import polars

    from clicksgroup import exports
    from clicksgroup.store import ClickStore

    async with ClickStore("clicks.db") as store:
        clicks = await exports.to_arrow(store.clicks("2025-01-01", "2025-12-31"))
    polars.DataFrame(clicks)
    duckdb.sql("SELECT group_name, sum(clicks) FROM clicks GROUP BY ALL")
    ```

    Raises:
        ImportError: the extra `arrow` is missing.
    """
    _needs_arrow()
    from arro3.core import Table

    return Table.from_batches([_batch(chunk) async for chunk in _chunks(records)], schema=_schema())


class _Feed:
    """Lets a writer in a thread pull from a stream in the event loop, chunk by chunk."""

    def __init__(self, chunks: AsyncIterator[list[GroupClicks]]) -> None:
        self.count = 0
        self._chunks = chunks
        self._loop = asyncio.get_running_loop()
        # Both are of the event loop alone: the thread could not tell in time what it has asked for.
        self._pulling: asyncio.Task[Any] | None = None
        self._stopped = False
        self._failure: Exception | None = None

    def batches(self) -> Iterator[RecordBatch]:
        while (chunk := asyncio.run_coroutine_threadsafe(self._next(), self._loop).result()) is not None:
            self.count += len(chunk)
            yield _batch(chunk)

    async def drain_into(self, write: Callable[[], None]) -> None:
        """Run `write` in a thread; a failure of the stream is raised as it is."""
        writing = asyncio.ensure_future(asyncio.to_thread(write))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            self._stopped = True
            if self._pulling is not None:
                self._pulling.cancel()
            await asyncio.wait([writing])
            if not writing.cancelled():
                writing.exception()
            raise
        except Exception:
            if self._failure is not None:
                raise self._failure from None
            raise

    async def _next(self) -> list[GroupClicks] | None:
        if self._stopped:
            raise asyncio.CancelledError
        self._pulling = asyncio.current_task()
        try:
            return await anext(self._chunks, None)
        except Exception as error:
            self._failure = error
            raise


async def _chunks(records: Records) -> AsyncIterator[list[GroupClicks]]:
    chunk: list[GroupClicks] = []
    if isinstance(records, AsyncIterable):
        async for record in records:
            chunk.append(record)
            if len(chunk) == CHUNK_ROWS:
                yield chunk
                chunk = []
    else:
        for record in records:
            chunk.append(record)
            if len(chunk) == CHUNK_ROWS:
                yield chunk
                chunk = []
    if chunk:
        yield chunk


def _needs_arrow() -> None:
    try:
        import arro3.core
        import arro3.io  # noqa: F401
    except ImportError as error:
        raise ImportError('Parquet and Arrow need an extra: pip install "clicksgroup[arrow]"') from error


def _schema() -> Schema:
    from arro3.core import DataType, Field, Schema

    kinds = (DataType.date32(), DataType.int64(), DataType.utf8(), DataType.int64(), DataType.int64())
    return Schema([Field(name, kind, nullable=False) for name, kind in zip(COLUMNS, kinds, strict=True)])


def _batch(records: list[GroupClicks]) -> RecordBatch:
    from arro3.core import Array, DataType, RecordBatch

    int64 = DataType.int64()
    days = Array([record.date.toordinal() - _EPOCH for record in records], type=DataType.int32())
    columns = [
        days.cast(DataType.date32()),
        Array([record.group_id for record in records], type=int64),
        Array([record.group_name for record in records], type=DataType.utf8()),
        Array([record.clicks for record in records], type=int64),
        Array([record.unique_users for record in records], type=int64),
    ]
    return RecordBatch.from_arrays(columns, schema=_schema())
