"""Where records go, and in which format: a table for people, CSV, NDJSON or Parquet for programs."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import os
import secrets
import select
import stat
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import attrs
import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clicksgroup import exports
from clicksgroup.cli.console import LiveLine, printable, stdout
from clicksgroup.errors import ConfigurationError
from clicksgroup.models import GroupClicks

F = TypeVar("F", bound=Callable[..., Any])
Batches = AsyncIterator[Sequence[GroupClicks]]

FORMATS = ("table", "csv", "ndjson", "parquet")
SUFFIXES = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson", ".parquet": "parquet", ".txt": "table"}

PIPE_BUF = getattr(select, "PIPE_BUF", 512)
"""Bytes that a pipe takes without blocking once it is reported as ready (Python's documentation of `select`)."""

_MAX_NAME_WIDTH = 48
_NARROW = 72
_FILE_WIDTH = 120


def options(command: F) -> F:
    """The options `--format` and `-o`; the command receives one `output`."""

    @functools.wraps(command)
    def wrapped(*args: Any, format: str | None, file: str | None, **kwargs: Any) -> Any:  # noqa: A002
        return command(*args, output=Output.chosen(format, file), **kwargs)

    form = click.option(
        "--format", type=click.Choice(FORMATS),
        help="Default: a table on a terminal, csv in a pipe, and with -o the format that FILE ends in.",
    )  # fmt: skip
    to_file = click.option(
        "-o", "--output", "file", metavar="FILE", help="Write to FILE, which appears only when it is complete."
    )
    return cast("F", form(to_file(wrapped)))


@attrs.frozen
class Output:
    """A format, and the file that it goes to: None for stdout."""

    format: str
    file: str | None

    @classmethod
    def chosen(cls, format: str | None, file: str | None) -> Output:  # noqa: A002
        """The format that was named, else the one that the file ends in, else a table on a terminal and CSV in a pipe.

        Raises:
            ConfigurationError: Parquet without a file.
        """
        if format is None:
            default = "table" if file is None and sys.stdout.isatty() else "csv"
            format = SUFFIXES.get(Path(file or "").suffix.lower(), default)  # noqa: A001
        if format == "parquet" and file is None:
            raise ConfigurationError("--format parquet: it needs a file: add -o FILE.parquet")
        return cls(format, file)

    async def write(self, batches: Batches, line: LiveLine) -> None:
        """Write records as they arrive, above the live line if both are on the terminal."""
        if self.file is None:
            await self._write(batches, sys.stdout.buffer, stdout(), line)
            return
        with atomic_file(self.file) as file:
            if self.format == "parquet":
                await exports.write_parquet((record async for records in batches for record in records), file)
            else:
                await self._write(batches, file, Console(file=io.StringIO(), width=_FILE_WIDTH), line)

    async def _write(self, batches: Batches, file: BinaryIO, console: Console, line: LiveLine) -> None:
        buffer = io.BytesIO()
        writer: exports.CsvWriter | exports.NdjsonWriter | TableWriter
        if self.format == "csv":
            writer = exports.CsvWriter(buffer)
        elif self.format == "ndjson":
            writer = exports.NdjsonWriter(buffer)
        else:
            writer = TableWriter(buffer, console)
        async for records in batches:
            writer.write(records)
            await _send(buffer, file, line)
        if isinstance(writer, TableWriter):
            writer.end()
        await _send(buffer, file, line)


async def _send(buffer: io.BytesIO, file: BinaryIO, line: LiveLine) -> None:
    """Move what is in the buffer to a file, a pipe or a terminal, without blocking the event loop."""
    data = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    # On a terminal, no other line may come between the rows of a page.
    size = len(data) if file.isatty() else PIPE_BUF
    while data:
        await _wait_until_writable(file)
        if file.isatty():
            line.hide()
        file.write(data[:size])
        file.flush()
        data = data[size:]


async def _wait_until_writable(file: BinaryIO) -> None:
    loop, writable = asyncio.get_running_loop(), asyncio.Event()
    try:
        loop.add_writer(file.fileno(), writable.set)
    except (OSError, NotImplementedError):
        # A file on disk never blocks. On Windows an event loop cannot watch a pipe.
        return
    try:
        await writable.wait()
    finally:
        loop.remove_writer(file.fileno())


class TableWriter:
    """Writes records as a table to a binary file, in any number of calls. Its columns keep their places if possible.

    Args:
        file: where to write. It is neither flushed nor closed.
        console: its width and colours hold.
    """

    def __init__(self, file: BinaryIO, console: Console) -> None:
        self._file = file
        self._console = console
        # Of the columns id, clicks and unique users.
        self._widths = [5, 9, 9] if console.width < _NARROW else [6, 11, 12]
        self._begun = False

    def write(self, records: Sequence[GroupClicks]) -> None:
        """Append a row for each record."""
        if not records:
            return
        rows = [(str(r.group_id), f"{r.clicks:,}", f"{r.unique_users:,}") for r in records]
        self._widths = [max(width, *(len(row[i]) for row in rows)) for i, width in enumerate(self._widths)]
        table = self._table()
        for record, (group_id, clicks, users) in zip(records, rows, strict=True):
            name = printable(record.group_name)
            table.add_row(str(record.date), group_id, Text(name) if name else Text("(no name)", "dim"), clicks, users)
        self._print(table)
        self._begun = True

    def end(self) -> None:
        """Append a note if there were no records."""
        if not self._begun:
            self._print(Text("no records", "dim"))

    def _print(self, what: Table | Text) -> None:
        with self._console.capture() as captured:
            self._console.print(what)
        self._file.write(captured.get().encode())

    def _table(self) -> Table:
        room = self._console.width - 10 - sum(self._widths) - 4 * 2
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=not self._begun, header_style="bold")
        table.add_column("date", width=10, no_wrap=True)
        table.add_column("id", justify="right", width=self._widths[0], no_wrap=True)
        table.add_column("group", width=max(min(room, _MAX_NAME_WIDTH), 8), no_wrap=True, overflow="ellipsis")
        table.add_column("clicks", justify="right", width=self._widths[1], no_wrap=True)
        users = "users" if self._widths[2] < len("unique users") else "unique users"
        table.add_column(users, justify="right", width=self._widths[2], no_wrap=True)
        return table


@contextlib.contextmanager
def atomic_file(name: str) -> Iterator[BinaryIO]:
    """A file to write. It replaces an older one of that name when the block ends without an error.

    Raises:
        ConfigurationError: it cannot be written there.
    """
    path = Path(name)
    if path.is_dir():
        raise ConfigurationError(f"-o: {name} is a folder; name a file")
    if path.exists() and not path.is_file():
        # A device such as /dev/null, or a pipe, cannot be replaced.
        with path.open("wb") as stream:
            yield stream
        return
    target = path.resolve()
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        stream = part.open("xb")
    except OSError as error:
        raise ConfigurationError(f"-o: cannot write {name}: {error.strerror or error}") from None
    try:
        with stream:
            if target.exists():
                part.chmod(stat.S_IMODE(target.stat().st_mode))
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
