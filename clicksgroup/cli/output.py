"""Where records go, and in which format: a table for people, CSV, NDJSON or Parquet for programs."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import csv
import errno
import functools
import io
import os
import secrets
import select
import stat
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import attrs
import click
import orjson
from rich.text import Text

from clicksgroup import exports
from clicksgroup.cli.console import hide_progress, note, printable, stdout
from clicksgroup.cli.options import gathered
from clicksgroup.errors import ConfigurationError
from clicksgroup.models import GroupClicks

F = TypeVar("F", bound=Callable[..., Any])
Batches = AsyncIterator[Sequence[Any]]

FORMATS = ("table", "csv", "ndjson", "parquet")
SMALL_FORMATS = FORMATS[:3]
"""For records that are few."""

ENDINGS = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson", ".parquet": "parquet", ".txt": "table"}

STDOUT = ("-", "/dev/stdout", "/dev/fd/1")
"""Names of stdout."""

PIPE_BUF = getattr(select, "PIPE_BUF", 512)
"""Bytes that a pipe takes without blocking once it is reported as ready (Python's documentation of `select`)."""

READER_INTERVAL = 0.1
"""Seconds between two attempts to open a named pipe that has no reader. The system does not tell when it has one."""

NARROW = 72
"""Columns. A narrower terminal gets narrower columns, and one blank between them instead of two."""

_FILE_WIDTH = 120
_LONGEST_NAME = 48
_SHORTEST_NAME = 5

# What a table calls the attributes that it shows. A column is as wide as its heading at the least, so that it keeps its
# place. A name gets the room that is left.
_TEXTS = ("group_name", "name", "memo")
_HEADINGS = {
    "date": "date      ",
    "group_id": "    id",
    "id": "    id",
    "group_name": "group",
    "name": "group",
    "memo": "memo",
    "link_count": " links",
    "clicks": "     clicks",
    "unique_users": "unique users",
}
_NARROW_HEADINGS = _HEADINGS | {
    "group_id": "   id",
    "id": "   id",
    "link_count": "links",
    "clicks": " clicks",
    "unique_users": "  users",
}

_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""A text that begins with one of these, also in full width, is a formula to a spreadsheet
(https://owasp.org/www-community/attacks/CSV_Injection, read on 2026-11-29)."""


def output_options(formats: Sequence[str] = FORMATS) -> Callable[[F], F]:
    """The options `--format`, `-o` and `--excel`; the command receives one `output`."""
    endings = {ending: form for ending, form in ENDINGS.items() if form in formats}
    return gathered(
        "output", functools.partial(Output.chosen, endings),
        click.option(
            "--format", "form", type=click.Choice(formats),
            help="Default: a table on a terminal, csv in a pipe, and with -o the format that FILE ends in.",
        ),
        click.option(
            "-o", "--output", "file", metavar="FILE", type=click.Path(),
            help="Write to FILE, which appears only when it is complete; - is stdout. "
            f"It ends in {', '.join(endings)}.",
        ),
        click.option(
            "--excel", is_flag=True,
            help="CSV for spreadsheets: with a byte order mark, and a ' before names that would be taken for formulas.",
        ),
    )  # fmt: skip


@attrs.frozen
class Output:
    """A format, and the file that it goes to: None for stdout. `excel` makes CSV fit for spreadsheets."""

    form: str
    file: str | None
    excel: bool

    @classmethod
    def chosen(cls, endings: Mapping[str, str], form: str | None, file: str | None, excel: bool) -> Output:
        """The format that was named, or that the file ends in; else a table on a terminal and CSV elsewhere."""
        file = None if file in STDOUT else file
        suffix = Path(file or "").suffix.lower()
        ending = endings.get(suffix)
        *first, last = endings
        end_in = f"end the name in {', '.join(first)} or {last}"
        if suffix and not ending:
            raise ConfigurationError(f"-o: {file}: {suffix} is not the ending of a format; {end_in}")
        if excel and {form, ending} - {None, "csv"}:
            raise ConfigurationError("--excel: it is CSV; leave --format out, and end the file in .csv")
        if form and ending and form != ending:
            raise ConfigurationError(f"-o: {file} ends as {ending} does, and --format says {form}; leave one out")
        if form is None and ending is None and file is not None and not is_special(file):
            raise ConfigurationError(f"-o: {file}: nothing says its format; add --format, or {end_in}")
        on_terminal = file is None and not excel and sys.stdout.isatty()
        form = form or ending or ("table" if on_terminal else "csv")
        if form == "parquet" and (file is None or is_special(file)):
            raise ConfigurationError("--format parquet: it needs a regular file: add -o FILE.parquet")
        return cls(form, file, excel)

    async def write(self, batches: Batches, record: type = GroupClicks) -> None:
        """Write records of a class as they arrive, above the live line if both are on the terminal."""
        if self.file is None:
            await self._write(batches, sys.stdout.buffer, record)
            return
        async with open_to_write(self.file) as file:
            if self.form == "parquet":
                await exports.write_parquet((one async for records in batches for one in records), file)
            else:
                await self._write(batches, file, record)

    async def _write(self, batches: Batches, file: BinaryIO, record: type) -> None:
        buffer = io.BytesIO()
        if self.excel:
            buffer.write(codecs.BOM_UTF8)
        write = self._writer(buffer, record)
        is_empty = True
        async for records in batches:
            if records:
                is_empty = False
                write([_harmless(one) for one in records] if self.excel else records)
                await send(buffer, file)
        if is_empty and self.form == "table":
            buffer.write(b"no records\n")
        await send(buffer, file)

    def _writer(self, buffer: io.BytesIO, record: type) -> Callable[[Sequence[Any]], None]:
        """A function that writes records of a class into the buffer, after the header."""
        if self.form == "table":
            return _TableWriter(buffer, record, _FILE_WIDTH if self.file else stdout().width).write
        if self.form == "ndjson":
            return lambda records: buffer.writelines(map(_json_line, records))
        if record is GroupClicks:
            return exports.CsvWriter(buffer).write
        buffer.write(_csv_line(field.name for field in attrs.fields(record)))
        return lambda records: buffer.writelines(_csv_line(attrs.astuple(one)) for one in records)


def _json_line(record: Any) -> bytes:
    return orjson.dumps(attrs.asdict(record, recurse=False), option=orjson.OPT_APPEND_NEWLINE)


def _csv_line(row: Iterable[object]) -> bytes:
    text = io.StringIO(newline="")
    # Fields with characters of the line's end are quoted: this one makes it quote a lone carriage return.
    csv.writer(text, lineterminator="\r\n").writerow(row)
    return text.getvalue().removesuffix("\r\n").encode() + b"\n"


def _harmless(record: Any) -> Any:
    texts = {name: value for name, value in attrs.asdict(record).items() if isinstance(value, str)}
    formulas = {name: f"'{text}" for name, text in texts.items() if text.lstrip().startswith(_FORMULA)}
    return attrs.evolve(record, **formulas) if formulas else record


class _TableWriter:
    """Writes rows whose columns keep their places, unless a later number needs more room. No number is cut."""

    def __init__(self, buffer: io.BytesIO, record: type, width: int) -> None:
        headings = _NARROW_HEADINGS if width < NARROW else _HEADINGS
        self._buffer = buffer
        self._names = [field.name for field in attrs.fields(record) if field.name in headings]
        self._header: list[list[str]] = [[headings[name] for name in self._names]]
        self._widths = [0 if name in _TEXTS else len(headings[name]) for name in self._names]
        self._gap = " " if width < NARROW else "  "
        self._room = width - len(self._gap) * (len(self._names) - 1)

    def write(self, records: Sequence[Any]) -> None:
        """Append a row for each record, after the header."""
        rows = self._header + [[_cell(name, getattr(record, name)) for name in self._names] for record in records]
        self._header = []
        for i, width in enumerate(self._widths):
            if width:
                self._widths[i] = max(width, *(len(row[i]) for row in rows))
        name_width = (self._room - sum(self._widths)) // self._widths.count(0)
        name_width = max(min(name_width, _LONGEST_NAME), _SHORTEST_NAME)
        for row in rows:
            columns = zip(row, self._widths, strict=True)
            cells = [cell.rjust(width) if width else _fitted(cell, name_width) for cell, width in columns]
            self._buffer.write(f"{self._gap.join(cells)}\n".encode())


def _cell(name: str, value: object) -> str:
    if isinstance(value, int):
        return str(value) if name in ("id", "group_id") else f"{value:,}"
    return printable(str(value)) or ("" if name == "memo" else "(no name)")


def _fitted(text: str, width: int) -> str:
    """The text in so many columns of the terminal."""
    fitted = Text(text)
    fitted.truncate(width, overflow="ellipsis", pad=True)
    return fitted.plain


async def send(buffer: io.BytesIO, file: BinaryIO) -> None:
    """Move what is in the buffer to a file, a pipe or a terminal, without blocking the event loop."""
    data = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    # On a terminal, no other line may come between the rows of a page.
    size = len(data) if file.isatty() else PIPE_BUF
    while data:
        await _wait_until_writable(file)
        if file.isatty():
            hide_progress()
        # A raw file may take less than it was given.
        data = data[file.write(data[:size]) :]
        file.flush()


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


def is_special(name: str) -> bool:
    """Whether it is a device, a pipe or an open file (`/dev/fd/3`), which cannot be replaced."""
    path = Path(name)
    try:
        is_regular = stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False
    return not is_regular or path.absolute().parts[1:2] in (("dev",), ("proc",))


@contextlib.asynccontextmanager
async def open_to_write(name: str) -> AsyncIterator[BinaryIO]:
    """A file to write. A regular file replaces an older one of that name when the block ends without an error."""
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(await _open_special(name) if is_special(name) else _replacing(Path(name)))
        except OSError as error:
            raise ConfigurationError(f"-o: cannot write {name}: {error.strerror or error}") from None
        try:
            yield file
        except BrokenPipeError:
            raise click.ClickException(f"-o: {name}: its reader has closed it before the end") from None


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        mode = None
    if mode is not None and not mode & 0o222:
        raise PermissionError(errno.EACCES, "it is read-only; name another file")
    # The target of a symbolic link is replaced, not the link.
    target = path.resolve()
    part = target.with_name(f".clicksgroup-{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            if mode is not None:
                part.chmod(mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


async def _open_special(name: str) -> BinaryIO:
    """Open it without replacing it. A named pipe is opened once it has a reader, and does not block meanwhile."""
    file = _try_to_open(name)
    if file is None:
        note(f"waiting for a program that reads {name}")
    while file is None:
        await asyncio.sleep(READER_INTERVAL)
        file = _try_to_open(name)
    return file


def _try_to_open(name: str) -> BinaryIO | None:
    """Open a device or a pipe; None if it is a named pipe without a reader."""
    if Path(name).is_dir():
        raise ConfigurationError(f"-o: {name!r} is a folder; name a file")
    flags = os.O_WRONLY | os.O_APPEND | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
    try:
        number = os.open(name, flags)
    except OSError as error:
        if error.errno == errno.ENXIO and Path(name).is_fifo():
            return None
        raise
    os.set_blocking(number, True)
    return cast("BinaryIO", os.fdopen(number, "wb", buffering=0))
