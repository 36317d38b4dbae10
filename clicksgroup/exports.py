"""Records as CSV, NDJSON, Parquet and Arrow. Provisional.

Every function takes records from a list as well as from a stream (`store.clicks`, `client.clicks`). It reads them once
and encodes them in chunks, so that a file of millions of records takes no more memory than one of thousands. Of a
stream from a store it takes columns, without a `GroupClicks` for each record.

The columns are `date`, `group_id`, `group_name`, `clicks` and `unique_users`. Parquet and Arrow need the extra
`arrow`.
"""

from __future__ import annotations

import abc
import asyncio
import datetime
import itertools
import operator
import queue
import re
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
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

    If this is cancelled once, the thread that writes has ended when this returns.

    Raises:
        ImportError: the extra `arrow` is missing.
    """
    _require_arrow()
    from arro3.core import RecordBatchReader
    from arro3.io import write_parquet

    count = 0
    is_complete = False
    loop = asyncio.get_running_loop()
    source = column_chunks(records)
    # The thread asks for a chunk by `wanted`. The event loop answers by `chunks`, with None at the end or to stop.
    wanted = asyncio.Semaphore(0)
    chunks: queue.SimpleQueue[Columns | None] = queue.SimpleQueue()

    def batches() -> Iterator[RecordBatch]:
        nonlocal count
        while True:
            loop.call_soon_threadsafe(wanted.release)
            chunk = chunks.get()
            if chunk is None:
                break
            count += len(chunk[0])
            yield _batch(chunk)
        if not is_complete:
            # Else the file would get its end, and look complete.
            raise EOFError

    reader = RecordBatchReader.from_batches(_schema(), batches())
    writing = asyncio.ensure_future(
        asyncio.to_thread(write_parquet, reader, file, compression="zstd(3)", max_row_group_size=ROW_GROUP_ROWS)
    )
    writing.add_done_callback(lambda _: wanted.release())
    try:
        while await wanted.acquire() and not writing.done():
            columns = await anext(source, None)
            is_complete = columns is None
            chunks.put(columns)
    finally:
        chunks.put(None)
        await asyncio.gather(writing, return_exceptions=True)
    await writing
    return count


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
    return _table([_batch(chunk) async for chunk in column_chunks(records)])


def record_table(records: Sequence[GroupClicks]) -> Table:
    """Return records that are at hand as an Arrow table.

    Raises:
        ImportError: the extra `arrow` is missing.
    """
    _require_arrow()
    return _table([_batch(_as_columns(records))])


class _RowWriter(abc.ABC):
    """Writes records to a binary file, in as many calls as they take."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, records: Iterable[GroupClicks]) -> None:
        """Append a line for each record."""
        self.write_rows(map(operator.attrgetter(*COLUMNS), records))

    @abc.abstractmethod
    def write_rows(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Append a line for each row, which holds the values of `COLUMNS`."""


class CsvWriter(_RowWriter):
    """Writes CSV in UTF-8 to a binary file: the header line at once, then records in as many calls as they take.

    The file is neither flushed nor closed.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        file.write(f"{','.join(COLUMNS)}\n".encode())

    def write_rows(self, rows: Iterable[tuple[Any, ...]]) -> None:
        text = "".join(
            [f"{date},{group_id},{_csv_field(name)},{clicks},{users}\n" for date, group_id, name, clicks, users in rows]
        )
        self._file.write(text.encode())


class NdjsonWriter(_RowWriter):
    """Writes one JSON object a line to a binary file. The file is neither flushed nor closed."""

    def write_rows(self, rows: Iterable[tuple[Any, ...]]) -> None:
        self._file.writelines(
            orjson.dumps(dict(zip(COLUMNS, row, strict=True)), option=orjson.OPT_APPEND_NEWLINE) for row in rows
        )


# Not left to `csv`, which quotes a lone carriage return only from CPython 3.11.9 and 3.12.3 on.
_QUOTED = re.compile('[",\r\n]|^$')


def _csv_field(text: str) -> str:
    """The text as a field of CSV. An empty one is quoted, since some readers take an empty field for a missing one."""
    if not _QUOTED.search(text):
        return text
    return '"' + text.replace('"', '""') + '"'


async def _write_all(records: Records, writer: _RowWriter) -> int:
    count = 0
    async for columns in column_chunks(records):
        writer.write_rows(zip(*columns, strict=True))
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


def _table(batches: Sequence[RecordBatch]) -> Table:
    from arro3.core import Table

    return Table.from_batches(batches, schema=_schema())


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
