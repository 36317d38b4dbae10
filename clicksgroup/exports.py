"""Records as CSV, NDJSON, Parquet and Arrow. Provisional.

Every function takes records from a list as well as from a stream (`store.clicks`, `client.clicks`). It reads them once
and encodes them in chunks, so that a file of millions of records takes no more memory than one of thousands. Of a
stream from a store it takes columns, without a `GroupClicks` for each record.

The columns are `date`, `group_id`, `group_name`, `clicks` and `unique_users`. Parquet and Arrow need the extra
`arrow`.
"""

from __future__ import annotations

import asyncio
import datetime
import itertools
import operator
import re
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TypeAlias, cast, runtime_checkable

import attrs
import orjson

from clicksgroup.models import GroupClicks

if TYPE_CHECKING:
    from arro3.core import RecordBatch, Schema, Table

Records: TypeAlias = Iterable[GroupClicks] | AsyncIterable[GroupClicks]

Columns: TypeAlias = tuple[Sequence[datetime.date], Sequence[int], Sequence[str], Sequence[int], Sequence[int]]
"""Some records as columns of the same length, in the order of `COLUMNS`."""

COLUMNS = tuple(field.name for field in attrs.fields(GroupClicks))
"""The names of the columns, in the order of `GroupClicks`."""

CHUNK_ROWS = 10_000
"""Records that are encoded at a time."""

ROW_GROUP_ROWS = 100_000
"""Records in a row group of Parquet, which is held in memory until it is complete."""

_EPOCH = datetime.date(1970, 1, 1).toordinal()

_values = operator.attrgetter(*COLUMNS)


@runtime_checkable
class ColumnSource(Protocol):
    """A stream of records that also gives them as columns."""

    def columns(self) -> AsyncIterator[Columns]:
        """The records in chunks of columns, none of them empty."""


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

    source = _BatchSource(column_chunks(records))
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

    from clicksgroup.store import ClickStore

    async with ClickStore("clicks.db") as store:
        clicks = await store.to_arrow("2025-01-01", "2025-12-31")
    polars.DataFrame(clicks)
    duckdb.sql("SELECT group_name, sum(clicks) FROM clicks GROUP BY ALL")
    ```

    Raises:
        ImportError: the extra `arrow` is missing.
    """
    _require_arrow()
    from arro3.core import Table

    return Table.from_batches([_batch(chunk) async for chunk in column_chunks(records)], schema=_schema())


class CsvWriter:
    """Writes CSV in UTF-8 to a binary file: the header line at once, then records in as many calls as they take.

    Args:
        file: where to write. It is neither flushed nor closed.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        file.write(f"{','.join(COLUMNS)}\n".encode())

    def write(self, records: Iterable[GroupClicks]) -> None:
        """Append a line for each record."""
        self._write_rows(map(_values, records))

    def write_columns(self, columns: Columns) -> None:
        """Append a line for each record."""
        self._write_rows(zip(*columns, strict=True))

    def _write_rows(self, rows: Iterable[tuple[Any, ...]]) -> None:
        text = "".join(
            [f"{date},{group_id},{_csv_field(name)},{clicks},{users}\n" for date, group_id, name, clicks, users in rows]
        )
        self._file.write(text.encode())


# Not left to `csv`, which quotes a lone carriage return only from CPython 3.11.9 and 3.12.3 on.
_QUOTED = re.compile('[",\r\n]|^$')


def _csv_field(text: str) -> str:
    """The text as a field of CSV. An empty one is quoted, since some readers take an empty field for a missing one."""
    if not _QUOTED.search(text):
        return text
    return '"' + text.replace('"', '""') + '"'


class NdjsonWriter:
    """Writes one JSON object a line to a binary file, in as many calls as the records take.

    Args:
        file: where to write. It is neither flushed nor closed.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, records: Iterable[GroupClicks]) -> None:
        """Append a line for each record."""
        self._write_rows(map(_values, records))

    def write_columns(self, columns: Columns) -> None:
        """Append a line for each record."""
        self._write_rows(zip(*columns, strict=True))

    def _write_rows(self, rows: Iterable[tuple[Any, ...]]) -> None:
        self._file.writelines(
            orjson.dumps(dict(zip(COLUMNS, row, strict=True)), option=orjson.OPT_APPEND_NEWLINE) for row in rows
        )


async def _write_all(records: Records, writer: CsvWriter | NdjsonWriter) -> int:
    count = 0
    async for columns in column_chunks(records):
        writer.write_columns(columns)
        count += len(columns[0])
    return count


async def column_chunks(records: Records) -> AsyncIterator[Columns]:
    """The records in chunks of columns, none of them empty."""
    if isinstance(records, ColumnSource):
        async for columns in records.columns():
            yield columns
        return
    if not isinstance(records, AsyncIterable):
        iterator = iter(records)
        while chunk := list(itertools.islice(iterator, CHUNK_ROWS)):
            yield _as_columns(chunk)
        return
    chunk = []
    async for record in records:
        chunk.append(record)
        if len(chunk) == CHUNK_ROWS:
            yield _as_columns(chunk)
            chunk = []
    if chunk:
        yield _as_columns(chunk)


def _as_columns(records: Sequence[GroupClicks]) -> Columns:
    return cast("Columns", tuple([getattr(record, name) for record in records] for name in COLUMNS))


class _BatchSource:
    """Lets a function in a thread read the chunks of a stream that runs in the event loop, as Arrow batches."""

    def __init__(self, chunks: AsyncIterator[Columns]) -> None:
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
            self.count += len(chunk[0])
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

    async def _next(self) -> Columns | None:
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

    return Table.from_batches([_batch(_as_columns(records))], schema=_schema())


def _batch(columns: Columns) -> RecordBatch:
    from arro3.core import Array, DataType, RecordBatch

    dates, group_ids, names, clicks, users = columns
    day_numbers = {date: date.toordinal() - _EPOCH for date in set(dates)}
    int64 = DataType.int64()
    arrays = [
        Array([day_numbers[date] for date in dates], type=DataType.int32()).cast(DataType.date32()),
        Array(group_ids, type=int64),
        Array(names, type=DataType.utf8()),
        Array(clicks, type=int64),
        Array(users, type=int64),
    ]
    return RecordBatch.from_arrays(arrays, schema=_schema())
