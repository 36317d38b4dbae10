"""Records as CSV, NDJSON, Parquet and Arrow. Provisional.

Every function takes records from a list as well as from a stream (`store.clicks`, `client.clicks`). It reads them once
and encodes them in chunks, so that a file of millions of records takes no more memory than one of thousands. The
columns are `date`, `group_id`, `group_name`, `clicks` and `unique_users`. Parquet and Arrow need the extra `arrow`.
"""

from __future__ import annotations

import asyncio
import csv
import datetime
import io
import itertools
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import attrs
import orjson

from clicksgroup.models import GroupClicks

if TYPE_CHECKING:
    from arro3.core import RecordBatch, Schema, Table

Records: TypeAlias = Iterable[GroupClicks] | AsyncIterable[GroupClicks]

COLUMNS = tuple(field.name for field in attrs.fields(GroupClicks))
"""The names of the columns, in the order of `GroupClicks`."""

CHUNK_ROWS = 10_000
"""Records that are encoded at a time."""

ROW_GROUP_ROWS = 100_000
"""Records in a row group of Parquet, which is held in memory until it is complete."""

_EPOCH = datetime.date(1970, 1, 1).toordinal()


async def write_csv(records: Records, file: BinaryIO) -> int:
    """Write CSV in UTF-8 with a header line, and return the number of records. Names are written as they are.

    >>> import asyncio, datetime, io
    >>> from clicksgroup import GroupClicks, exports
    >>> record = GroupClicks(datetime.date(2025, 1, 31), 151, "Electronics, new", 181, 164)
    >>> file = io.BytesIO()
    >>> asyncio.run(exports.write_csv([record], file))
    1
    >>> print(file.getvalue().decode(), end="")
    date,group_id,group_name,clicks,unique_users
    2025-01-31,151,"Electronics, new",181,164
    """
    return await _write_all(records, CsvWriter(file))


async def write_ndjson(records: Records, file: BinaryIO) -> int:
    """Write one JSON object a line, and return the number of records."""
    return await _write_all(records, NdjsonWriter(file))


async def write_parquet(records: Records, file: BinaryIO) -> int:
    """Write Parquet, compressed with zstd, and return the number of records.

    Raises:
        ImportError: the extra `arrow` is missing.
    """
    _require_arrow()
    from arro3.core import RecordBatchReader
    from arro3.io import write_parquet

    source = _BatchSource(_chunks(records))
    reader = RecordBatchReader.from_batches(_schema(), source.batches())
    await source.run_in_thread(
        lambda: write_parquet(reader, file, compression="zstd(3)", max_row_group_size=ROW_GROUP_ROWS)
    )
    return source.count


async def to_arrow(records: Records) -> Table:
    """Return an Arrow table, which polars, DuckDB, pyarrow and pandas read through `__arrow_c_stream__`.

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
    _require_arrow()
    from arro3.core import Table

    return Table.from_batches([_batch(chunk) async for chunk in _chunks(records)], schema=_schema())


class CsvWriter:
    """Writes CSV in UTF-8 to a binary file: the header line at once, then records in as many calls as they take.

    Args:
        file: where to write. It is neither flushed nor closed.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._write_rows([COLUMNS])

    def write(self, records: Iterable[GroupClicks]) -> None:
        """Append a line for each record."""
        self._write_rows((r.date, r.group_id, r.group_name, r.clicks, r.unique_users) for r in records)

    def _write_rows(self, rows: Iterable[Iterable[object]]) -> None:
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows(rows)
        self._file.write(text.getvalue().encode())


class NdjsonWriter:
    """Writes one JSON object a line to a binary file, in as many calls as the records take.

    Args:
        file: where to write. It is neither flushed nor closed.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, records: Iterable[GroupClicks]) -> None:
        """Append a line for each record."""
        self._file.writelines(
            orjson.dumps({name: getattr(record, name) for name in COLUMNS}, option=orjson.OPT_APPEND_NEWLINE)
            for record in records
        )


async def _write_all(records: Records, writer: CsvWriter | NdjsonWriter) -> int:
    count = 0
    async for chunk in _chunks(records):
        writer.write(chunk)
        count += len(chunk)
    return count


async def _chunks(records: Records) -> AsyncIterator[list[GroupClicks]]:
    if not isinstance(records, AsyncIterable):
        iterator = iter(records)
        while chunk := list(itertools.islice(iterator, CHUNK_ROWS)):
            yield chunk
        return
    chunk = []
    async for record in records:
        chunk.append(record)
        if len(chunk) == CHUNK_ROWS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


class _BatchSource:
    """Lets a function in a thread read the chunks of a stream that runs in the event loop, as Arrow batches."""

    def __init__(self, chunks: AsyncIterator[list[GroupClicks]]) -> None:
        self.count = 0
        self._chunks = chunks
        self._loop = asyncio.get_running_loop()
        # Only the event loop uses these two: the thread learns too late which task reads for it.
        self._read_task: asyncio.Task[Any] | None = None
        self._cancelled = False
        self._error: Exception | None = None

    def batches(self) -> Iterator[RecordBatch]:
        """Yield the batches. Only to be iterated in a thread."""
        while (chunk := asyncio.run_coroutine_threadsafe(self._next(), self._loop).result()) is not None:
            self.count += len(chunk)
            yield _batch(chunk)

    async def run_in_thread(self, write: Callable[[], None]) -> None:
        """Run `write`, which reads `batches`, in a thread; an error of the stream is raised as it is.

        If this is cancelled, the read under way is cancelled too, and the thread has ended when this returns.
        """
        thread = asyncio.ensure_future(asyncio.to_thread(write))
        try:
            await asyncio.shield(thread)
        except asyncio.CancelledError:
            self._cancelled = True
            if self._read_task is not None:
                self._read_task.cancel()
            await asyncio.wait([thread])
            # Mark the exception as retrieved, or asyncio logs it.
            if not thread.cancelled():
                thread.exception()
            raise
        except Exception:
            if self._error is not None:
                raise self._error from None
            raise

    async def _next(self) -> list[GroupClicks] | None:
        if self._cancelled:
            raise asyncio.CancelledError
        self._read_task = asyncio.current_task()
        try:
            return await anext(self._chunks, None)
        except Exception as error:
            self._error = error
            raise


def _require_arrow() -> None:
    try:
        import arro3.core
        import arro3.io  # noqa: F401
    except ImportError as error:
        raise ImportError('Parquet and Arrow need an extra: pip install "clicksgroup[arrow]"') from error


def _schema() -> Schema:
    from arro3.core import DataType, Field, Schema

    types = (DataType.date32(), DataType.int64(), DataType.utf8(), DataType.int64(), DataType.int64())
    return Schema([Field(name, type_, nullable=False) for name, type_ in zip(COLUMNS, types, strict=True)])


def record_table(records: Sequence[GroupClicks]) -> Table:
    """Return records that are at hand as an Arrow table.

    Raises:
        ImportError: the extra `arrow` is missing.
    """
    _require_arrow()
    from arro3.core import Table

    return Table.from_batches([_batch(records)], schema=_schema())


def _batch(records: Sequence[GroupClicks]) -> RecordBatch:
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
