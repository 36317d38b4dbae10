"""Exports hold every record, whatever its name, and are written in chunks."""

from __future__ import annotations

import asyncio
import csv
import datetime
import io
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clicksgroup import exports
from clicksgroup.models import GroupClicks

NAMES = ["Electronics", "전자 제품, 신규", 'a "quoted" name', "line\nbreak", "=1+1", "", "🛒"]
RECORDS = [
    GroupClicks(datetime.date(2025, 1, 1) + datetime.timedelta(days=n), n + 1, name, 2**53 + n, n)
    for n, name in enumerate(NAMES)
]


async def stream(records: list[GroupClicks]) -> AsyncIterator[GroupClicks]:
    for record in records:
        yield record


@pytest.fixture(params=["list", "stream"])
def records(request: pytest.FixtureRequest) -> list[GroupClicks] | AsyncIterator[GroupClicks]:
    return RECORDS if request.param == "list" else stream(RECORDS)


async def test_csv(records: list[GroupClicks]) -> None:
    """A CSV reader gets the columns and the records back."""
    file = io.BytesIO()
    assert await exports.write_csv(records, file) == len(RECORDS)
    rows = list(csv.DictReader(io.StringIO(file.getvalue().decode(), newline="")))
    assert list(rows[0]) == ["date", "group_id", "group_name", "clicks", "unique_users"]
    back = [
        GroupClicks(
            datetime.date.fromisoformat(row["date"]),
            int(row["group_id"]),
            row["group_name"],
            int(row["clicks"]),
            int(row["unique_users"]),
        )
        for row in rows
    ]
    assert back == RECORDS


# JSON and the store hold every character but lone surrogates.
any_name = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
awkward_names = st.text("\"\r\n\t ,;#'\\\ufeffaN", max_size=6)


def read_with_csv(data: bytes) -> list[str]:
    return [row["group_name"] for row in csv.DictReader(io.StringIO(data.decode(), newline=""))]


def read_with_pandas(data: bytes) -> list[str]:
    pandas = pytest.importorskip("pandas")
    return list(pandas.read_csv(io.BytesIO(data), keep_default_na=False, dtype=str)["group_name"])


def read_with_polars(data: bytes) -> list[str]:
    polars = pytest.importorskip("polars")
    return list(polars.read_csv(data, infer_schema=False)["group_name"])


def read_with_duckdb(data: bytes) -> list[str]:
    duckdb = pytest.importorskip("duckdb")
    with tempfile.NamedTemporaryFile(suffix=".csv") as file:
        Path(file.name).write_bytes(data)
        # `allow_quoted_nulls` is as `keep_default_na` of pandas: else an empty name becomes NULL.
        options = "header=true, delim=',', quote='\"', escape='\"', all_varchar=true, allow_quoted_nulls=false"
        rows = duckdb.sql(f"FROM read_csv('{file.name}', {options})")
        return [row[2] for row in rows.fetchall()]


@pytest.mark.parametrize("read", [read_with_csv, read_with_pandas, read_with_polars, read_with_duckdb])
@settings(max_examples=40, deadline=None, derandomize=True)
@given(names=st.lists(any_name | awkward_names, min_size=1, max_size=6))
@example(names=["lone\rreturn", "\r", "", "a\r\nb", "\n", '"', "NA", " x ", "\ufeff", "#", "'", "\\"])
def test_every_name(read: Callable[[bytes], list[str]], names: list[str]) -> None:
    """Each reader of CSV gives the names back as they were, whatever characters they hold."""
    file = io.BytesIO()
    records = [GroupClicks(datetime.date(2025, 1, 1), n, name, 1, 1) for n, name in enumerate(names, 1)]
    asyncio.run(exports.write_csv(records, file))
    assert read(file.getvalue()) == names


async def test_ndjson(records: list[GroupClicks]) -> None:
    """Each line is an object with a record."""
    file = io.BytesIO()
    assert await exports.write_ndjson(records, file) == len(RECORDS)
    rows = [json.loads(line) for line in file.getvalue().splitlines()]
    assert [GroupClicks(datetime.date.fromisoformat(row.pop("date")), **row) for row in rows] == RECORDS


async def test_parquet(records: list[GroupClicks]) -> None:
    """A Parquet reader gets the records back."""
    arro3_io = pytest.importorskip("arro3.io")
    file = io.BytesIO()
    assert await exports.write_parquet(records, file) == len(RECORDS)
    table = arro3_io.read_parquet(file).read_all()
    assert rows_of(table) == RECORDS


async def test_arrow(records: list[GroupClicks]) -> None:
    """The table holds the records."""
    pytest.importorskip("arro3.core")
    table = await exports.to_arrow(records)
    assert rows_of(table) == RECORDS


@pytest.mark.parametrize(
    ("library", "total"),
    [
        ("polars", lambda polars, clicks: polars.DataFrame(clicks)["unique_users"].sum()),
        ("duckdb", lambda duckdb, clicks: duckdb.sql("SELECT sum(unique_users) FROM clicks").fetchall()[0][0]),
        ("pyarrow", lambda pyarrow, clicks: sum(pyarrow.table(clicks)["unique_users"].to_pylist())),
        ("pandas", lambda pandas, clicks: pandas.DataFrame.from_arrow(clicks)["unique_users"].sum()),
    ],
)
async def test_arrow_in_other_libraries(library: str, total: Callable[[Any, Any], int]) -> None:
    """Other libraries read the table without a conversion of ours."""
    module = pytest.importorskip(library)
    assert total(module, await exports.to_arrow(RECORDS)) == sum(record.unique_users for record in RECORDS)


@pytest.mark.parametrize(
    ("write", "writer"), [(exports.write_csv, exports.CsvWriter), (exports.write_ndjson, exports.NdjsonWriter)]
)
async def test_writer_in_parts(write: Any, writer: Any) -> None:
    """Records that are written in several calls make the same file as in one call, with one header."""
    whole, parts = io.BytesIO(), io.BytesIO()
    await write(RECORDS, whole)
    writing = writer(parts)
    for part in (RECORDS[:3], [], RECORDS[3:]):
        writing.write(part)
    assert parts.getvalue() == whole.getvalue()


def test_csv_header() -> None:
    """`CsvWriter` writes the header at once, so a file without records has one."""
    file = io.BytesIO()
    exports.CsvWriter(file)
    assert file.getvalue() == b"date,group_id,group_name,clicks,unique_users\n"


async def test_no_records() -> None:
    """Without records, files and tables are empty and have the columns."""
    arro3_io = pytest.importorskip("arro3.io")
    file = io.BytesIO()
    assert await exports.write_csv([], file) == 0
    assert file.getvalue() == b"date,group_id,group_name,clicks,unique_users\n"
    file = io.BytesIO()
    assert await exports.write_parquet([], file) == 0
    assert arro3_io.read_parquet(file).read_all().column_names == list(exports.COLUMNS)
    assert (await exports.to_arrow([])).num_rows == 0
    file = io.BytesIO()
    assert await exports.write_ndjson([], file) == 0


@pytest.mark.parametrize("write", [exports.write_csv, exports.write_ndjson, exports.write_parquet])
async def test_error_of_the_stream(write: object) -> None:
    """An error of the stream is raised as it is."""

    async def failing() -> AsyncIterator[GroupClicks]:
        yield RECORDS[0]
        raise ZeroDivisionError("in the middle")

    with pytest.raises(ZeroDivisionError, match="in the middle"):
        await write(failing(), io.BytesIO())  # type: ignore[operator]


async def test_cancelled_parquet_export() -> None:
    """It ends while its thread waits for a stream that gives nothing more."""
    pytest.importorskip("arro3.io")
    waiting = asyncio.Event()

    async def hanging() -> AsyncIterator[GroupClicks]:
        yield RECORDS[0]
        waiting.set()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(exports.write_parquet(hanging(), io.BytesIO()))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records are read no more than a chunk ahead of the file."""
    monkeypatch.setattr(exports, "CHUNK_ROWS", 10)
    read = 0

    def source() -> Iterator[GroupClicks]:
        nonlocal read
        for _ in range(100):
            read += 1
            yield RECORDS[0]

    class File(io.BytesIO):
        ahead = 0

        def write(self, data: object) -> int:
            self.ahead = max(self.ahead, read - self.getvalue().count(b"\n"))
            return super().write(data)  # type: ignore[arg-type]

    file = File()
    await exports.write_csv(source(), file)
    assert file.ahead <= 11


def rows_of(table: Any) -> list[GroupClicks]:
    columns = [[value.as_py() for chunk in table.column(name).chunks for value in chunk] for name in exports.COLUMNS]
    return [GroupClicks(*row) for row in zip(*columns, strict=True)]
