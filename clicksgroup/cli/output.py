"""In which format records are written: a table for people, CSV, NDJSON or Parquet for programs."""

from __future__ import annotations

import codecs
import csv
import functools
import io
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import attrs
import click
import orjson
from rich.text import Text

from clicksgroup import exports
from clicksgroup.cli.console import printable, stdout
from clicksgroup.cli.files import STDOUT, is_special, open_to_write, send
from clicksgroup.cli.options import gathered
from clicksgroup.errors import ConfigurationError
from clicksgroup.models import GroupClicks

F = TypeVar("F", bound=Callable[..., Any])
Batches = AsyncIterator[Sequence[Any]]

FORMATS = ("table", "csv", "ndjson", "parquet")
SMALL_FORMATS = FORMATS[:3]
"""For records that are few."""

ENDINGS = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson", ".parquet": "parquet", ".txt": "table"}

NARROW = 72
"""Columns. A narrower terminal gets narrower columns, and one blank between them instead of two."""

_FILE_WIDTH = 120
_LONGEST_NAME = 48
_SHORTEST_NAME = 5

# What a table calls the attributes that it shows. A column is as wide as its heading at the least, so that it keeps its
# place. A name gets the room that is left.
_NAMES = ("group_name", "name", "memo")
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
_NARROW_HEADINGS = _HEADINGS | {"group_id": "   id", "id": "   id", "clicks": " clicks", "unique_users": "  users"}

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
        try:
            async with open_to_write(self.file) as file:
                if self.form == "parquet":
                    await exports.write_parquet((one async for records in batches for one in records), file)
                else:
                    await self._write(batches, file, record)
        except BrokenPipeError:
            raise click.ClickException(f"-o: {self.file}: its reader has closed it before the end") from None

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
        self._widths = [0 if name in _NAMES else len(headings[name]) for name in self._names]
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
