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
from rich.console import Console

from clicksgroup import exports
from clicksgroup.cli.console import note, stdout
from clicksgroup.cli.options import gathered
from clicksgroup.cli.progress import hide_progress
from clicksgroup.cli.tables import TableWriter
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

_FILE_WIDTH = 120

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
        """The format that was named, or that the file ends in; else a table on a terminal and CSV elsewhere.

        Raises:
            ConfigurationError: format, ending and `excel` do not agree, or nothing says the format of a file.
        """
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
            await self._write(batches, sys.stdout.buffer, stdout(), record)
            return
        try:
            async with open_to_write(self.file) as file:
                if self.form == "parquet":
                    await exports.write_parquet((one async for records in batches for one in records), file)
                else:
                    plain = Console(file=io.StringIO(), width=_FILE_WIDTH, force_terminal=False)
                    await self._write(batches, file, plain, record)
        except BrokenPipeError:
            raise click.ClickException(f"-o: {self.file}: its reader has closed it before the end") from None

    async def _write(self, batches: Batches, file: BinaryIO, console: Console, record: type) -> None:
        buffer = io.BytesIO()
        if self.excel:
            buffer.write(codecs.BOM_UTF8)
        table = TableWriter(buffer, console, record) if self.form == "table" else None
        write = table.write if table is not None else _writing(self.form, buffer, record)
        async for records in batches:
            write([_harmless(one) for one in records] if self.excel else records)
            await send(buffer, file)
        if table is not None:
            table.end()
        await send(buffer, file)


def _writing(form: str, buffer: io.BytesIO, record: type) -> Callable[[Sequence[Any]], None]:
    """A function that writes records of a class into the buffer, after the header."""
    if form == "ndjson":
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
    mode = _mode(name)
    opened = Path(name).absolute().parts[1:2] in (("dev",), ("proc",))
    return mode != 0 and (opened or not stat.S_ISREG(mode))


@contextlib.asynccontextmanager
async def open_to_write(name: str) -> AsyncIterator[BinaryIO]:
    """A file to write. A regular file replaces an older one of that name when the block ends without an error.

    Raises:
        ConfigurationError: it cannot be written there.
    """
    mode = _mode(name)
    if not name or stat.S_ISDIR(mode):
        raise ConfigurationError(f"-o: {name!r} is a folder; name a file")
    opened = await _open_special(name, is_pipe=stat.S_ISFIFO(mode)) if is_special(name) else _replacing(name, mode)
    with opened as stream:
        yield stream


@contextlib.contextmanager
def _replacing(name: str, mode: int) -> Iterator[BinaryIO]:
    if mode and not mode & 0o222:
        raise ConfigurationError(f"-o: cannot write {name}: it is read-only; name another file")
    # The target of a symbolic link is replaced, not the link.
    target = Path(name).resolve()
    part = target.with_name(f".clicksgroup-{secrets.token_hex(4)}.part")
    try:
        stream = part.open("xb")
    except OSError as error:
        raise _cannot_write(name, error) from None
    try:
        with stream:
            if mode:
                part.chmod(stat.S_IMODE(mode))
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _mode(name: str) -> int:
    """Its kind and permissions; 0 if it does not exist."""
    try:
        return Path(name).stat().st_mode
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise _cannot_write(name, error) from None


async def _open_special(name: str, *, is_pipe: bool) -> BinaryIO:
    """Open it without replacing it. A named pipe is opened once it has a reader, and does not block meanwhile."""
    flags = os.O_WRONLY | os.O_APPEND | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
    said = False
    while True:
        try:
            number = os.open(name, flags)
        except OSError as error:
            if error.errno != errno.ENXIO or not is_pipe:
                raise _cannot_write(name, error) from None
        else:
            os.set_blocking(number, True)
            return cast("BinaryIO", os.fdopen(number, "wb", buffering=0))
        if not said:
            note(f"waiting for a program that reads {name}")
            said = True
        await asyncio.sleep(READER_INTERVAL)


def _cannot_write(name: str, error: OSError) -> ConfigurationError:
    return ConfigurationError(f"-o: cannot write {name}: {error.strerror or error}")
