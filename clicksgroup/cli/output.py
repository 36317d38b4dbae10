"""Where records go, and in which form: a table on a terminal, CSV, NDJSON or Parquet for programs."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import stat
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import attrs
import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clicksgroup import exports
from clicksgroup.cli.console import DataConsole, LiveLine, printable, stdout
from clicksgroup.errors import ConfigurationError
from clicksgroup.models import GroupClicks

F = TypeVar("F", bound=Callable[..., Any])
Batches = AsyncIterator[Sequence[GroupClicks]]

FORMATS = ("table", "csv", "ndjson", "parquet")
SUFFIXES = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson", ".parquet": "parquet", ".txt": "table"}

_WIDEST_NAME = 48
_NARROW = 72
_FILE_WIDTH = 120  # of a table that goes into a file


@attrs.frozen
class Output:
    """What `--format` and `-o` ask for."""

    format: str
    file: str | None

    @classmethod
    def chosen(cls, format: str | None, file: str | None) -> Output:  # noqa: A002
        """What was asked for, else what the file's name says, else a table for eyes and CSV for programs.

        Raises:
            ConfigurationError: Parquet for a terminal or a pipe.
        """
        if format is None:
            by_default = "table" if file is None and sys.stdout.isatty() else "csv"
            format = SUFFIXES.get(Path(file or "").suffix.lower(), by_default)  # noqa: A001
        if format == "parquet" and file is None:
            raise ConfigurationError("--format parquet: it needs a file: add -o FILE.parquet")
        return cls(format, file)

    async def write(self, batches: Batches, line: LiveLine) -> None:
        """Write records as they come. A file appears only when all is in it."""
        if self.file is None and self.format == "table":
            await _print_table(batches, stdout(), line)
        elif self.file is None:
            await _WRITERS[self.format](batches, sys.stdout.buffer, line)
        else:
            with atomic(self.file) as file:
                await _WRITERS[self.format](batches, file, LiveLine())


def options(command: F) -> F:
    """The options `--format` and `-o`; the command is given `format` and `output`."""
    form = click.option(
        "--format", type=click.Choice(FORMATS),
        help="Default: a table on a terminal, csv when piped; with -o what FILE's name ends in.",
    )  # fmt: skip
    file = click.option("-o", "--output", metavar="FILE", help="Write to FILE. It appears only when it is complete.")
    return form(file(command))


@contextlib.contextmanager
def atomic(file: str) -> Iterator[BinaryIO]:
    """A file to write that takes its name, and the place of an older one, when it is complete.

    Raises:
        ConfigurationError: it cannot be written there.
    """
    path = Path(file)
    if path.is_dir():
        raise ConfigurationError(f"-o: {file} is a folder; name a file")
    if path.exists() and not path.is_file():  # such as /dev/null, or a pipe of the shell's
        with path.open("wb") as stream:
            yield stream
        return
    target = path.resolve()
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        stream = part.open("xb")
    except OSError as error:
        raise ConfigurationError(f"-o: cannot write {file}: {error.strerror or error}") from None
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


async def _write_csv(batches: Batches, file: BinaryIO, line: LiveLine) -> None:
    begun = False
    async for records in batches:
        with line.aside():
            await _write_csv_part(records, file, header=not begun)
            begun = True
    if not begun:
        await exports.write_csv((), file)
        file.flush()


async def _write_csv_part(records: Sequence[GroupClicks], file: BinaryIO, *, header: bool) -> None:
    text = io.BytesIO()
    await exports.write_csv(records, text)
    file.write(text.getvalue() if header else text.getvalue().partition(b"\n")[2])
    file.flush()


async def _write_ndjson(batches: Batches, file: BinaryIO, line: LiveLine) -> None:
    async for records in batches:
        with line.aside():
            await exports.write_ndjson(records, file)
            file.flush()


async def _write_parquet(batches: Batches, file: BinaryIO, line: LiveLine) -> None:  # noqa: ARG001
    await exports.write_parquet(_flat(batches), file)


async def _flat(batches: Batches) -> AsyncIterator[GroupClicks]:
    async for records in batches:
        for record in records:
            yield record


async def _write_table(batches: Batches, file: BinaryIO, line: LiveLine) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", write_through=True)
    await _print_table(batches, DataConsole(file=text, width=_FILE_WIDTH, no_color=True), line)
    text.detach()


async def _print_table(batches: Batches, console: Console, line: LiveLine) -> None:
    table = RecordTable(console)
    async for records in batches:
        with line.aside():
            table.add(records)
    with line.aside():
        table.end()


_WRITERS: dict[str, Callable[[Batches, BinaryIO, LiveLine], Awaitable[None]]] = {
    "csv": _write_csv,
    "ndjson": _write_ndjson,
    "parquet": _write_parquet,
    "table": _write_table,
}


class RecordTable:
    """A table that grows while records come: its columns keep their places, as far as the numbers let them."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._widths = [5, 9, 9] if console.width < _NARROW else [6, 11, 12]  # of id, clicks, users
        self._begun = False

    def add(self, records: Sequence[GroupClicks]) -> None:
        """Print rows."""
        if not records:
            return
        rows = [(str(r.group_id), f"{r.clicks:,}", f"{r.unique_users:,}") for r in records]
        self._widths = [max(width, *(len(row[i]) for row in rows)) for i, width in enumerate(self._widths)]
        table = self._table()
        for record, (group_id, clicks, users) in zip(records, rows, strict=True):
            name = printable(record.group_name)
            table.add_row(str(record.date), group_id, Text(name) if name else Text("(no name)", "dim"), clicks, users)
        self._console.print(table)
        self._begun = True

    def end(self) -> None:
        """Say so where there was nothing."""
        if not self._begun:
            self._console.print("no records", style="dim")

    def _table(self) -> Table:
        room = self._console.width - 10 - sum(self._widths) - 4 * 2
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=not self._begun, header_style="bold")
        table.add_column("date", width=10, no_wrap=True)
        table.add_column("id", justify="right", width=self._widths[0], no_wrap=True)
        table.add_column("group", width=max(min(room, _WIDEST_NAME), 8), no_wrap=True, overflow="ellipsis")
        table.add_column("clicks", justify="right", width=self._widths[1], no_wrap=True)
        users = "users" if self._widths[2] < len("unique users") else "unique users"
        table.add_column(users, justify="right", width=self._widths[2], no_wrap=True)
        return table
