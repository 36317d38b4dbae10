"""Records as a table for people, in any number of calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, BinaryIO

import attrs
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clicksgroup.cli.console import printable

NARROW = 72
"""Columns. A narrower terminal gets narrower columns, and one blank between them instead of two."""

_LONGEST_NAME = 48
_SHORTEST_NAME = 5


@attrs.frozen
class Column:
    """A column of a table.

    Args:
        heading: the heading.
        width: at the least; 0 for a name, which gets the room that is left.
        narrow: the same in a narrow terminal.
        short: the heading there.
    """

    heading: str
    width: int = 0
    narrow: int = 0
    short: str = ""


COLUMNS = {
    "date": Column("date", 10, 10),
    "group_id": Column("id", 6, 5),
    "id": Column("id", 6, 5),
    "group_name": Column("group"),
    "name": Column("group"),
    "memo": Column("memo"),
    "link_count": Column("links", 6, 5),
    "clicks": Column("clicks", 11, 7),
    "unique_users": Column("unique users", 12, 7, "users"),
}
"""The column of each attribute of a record that a table shows."""


class TableWriter:
    """Writes records as a table to a binary file. Its columns keep their places if possible, and are never cut.

    Width and colours are those of the console, which becomes wider where the columns need more.
    """

    def __init__(self, file: BinaryIO, console: Console, record: type) -> None:
        self._file = file
        self._console = console
        self._columns = {f.name: COLUMNS[f.name] for f in attrs.fields(record) if f.name in COLUMNS}
        self._is_narrow = console.width < NARROW
        self._room = console.width
        self._widths = [column.narrow if self._is_narrow else column.width for column in self._columns.values()]
        self._begun = False

    def write(self, records: Sequence[Any]) -> None:
        """Append a row for each record."""
        if not records:
            return
        rows = [[_cell(getattr(record, name), column) for name, column in self._columns.items()] for record in records]
        for i, width in enumerate(self._widths):
            if width:
                self._widths[i] = max(width, *(row[i].cell_len for row in rows))
        table = self._table(records[0])
        for row in rows:
            table.add_row(*row)
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

    def _table(self, record: Any) -> Table:
        blanks = 1 if self._is_narrow else 2
        names = self._widths.count(0)
        used = sum(self._widths) + blanks * (len(self._widths) - 1)
        name_width = max(min((self._room - used) // names, _LONGEST_NAME), _SHORTEST_NAME)
        # rich would cut the columns of a table that does not fit. A terminal wraps it.
        self._console.width = max(self._room, used + name_width * names)
        table = Table(
            box=None, pad_edge=False, padding=(0, blanks, 0, 0), show_header=not self._begun, header_style="bold"
        )
        for (name, column), width in zip(self._columns.items(), self._widths, strict=True):
            table.add_column(
                column.short if self._is_narrow and column.short else column.heading,
                justify="right" if isinstance(getattr(record, name), int) else "left",
                width=width or name_width,
                no_wrap=True,
                overflow="ellipsis",
            )
        return table


def _cell(value: object, column: Column) -> Text:
    if isinstance(value, int):
        return Text(str(value) if column.heading == "id" else f"{value:,}")
    text = printable(str(value))
    return Text("(no name)", "dim") if not text and column.heading == "group" else Text(text)
