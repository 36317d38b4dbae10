"""Where the data goes: endings, kinds of files, CSV for spreadsheets, and narrow terminals."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import stat
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len

from clicksgroup.sandbox import Fault, Sandbox
from tests.cli.calls import PointAt, call, call_beside, start

DATA = ("clicks", "2025-01-03", "--sandbox", "--groups", "151,207")
UNIX = pytest.mark.skipif(sys.platform == "win32", reason="there are no such files")


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (("-o", "x.xlsx"), ".xlsx is not the ending of a format; end the name in .csv, .ndjson, .jsonl, .parquet or"),
        (("-o", "x.json"), ".json is not"),
        (("-o", "x.csv.gz"), ".gz is not"),
        (("-o", "x.dat", "--format", "csv"), ".dat is not"),
        (("-o", "x.csv", "--format", "ndjson"), "x.csv ends as csv does, and --format says ndjson"),
        (("-o", "x.parquet", "--format", "table"), "leave one out"),
        (("-o", "x"), "nothing says its format"),
        (("-o", ""), "is a folder"),
        (("-o", "-", "--format", "parquet"), "regular file"),
        (("--excel", "--format", "ndjson"), "--excel"),
        (("--excel", "-o", "x.jsonl"), "--excel"),
    ],
)
def test_refused_file(args: tuple[str, ...], word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose ending is unknown, or contradicts the format, is refused, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    result = call(*DATA, *args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert word in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_file_without_ending(tmp_path: Path) -> None:
    """--format says the format of a file without an ending."""
    assert call(*DATA, "-o", str(tmp_path / "clicks"), "--format", "ndjson").exit_code == 0
    assert (tmp_path / "clicks").read_bytes().startswith(b'{"date"')


@pytest.mark.parametrize("name", ["-", pytest.param("/dev/stdout", marks=UNIX)])
def test_stdout_as_file(name: str) -> None:
    """`-o -` is stdout."""
    result = call(*DATA, "-o", name)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == call(*DATA).stdout


def test_chart_on_stdout() -> None:
    """`chart -o -` is stdout too."""
    assert call("chart", "2025-01", "--sandbox", "-o", "-").stdout == call("chart", "2025-01", "--sandbox").stdout


@UNIX
def test_appended_stdout(tmp_path: Path) -> None:
    """A file that the shell has opened is written into, never replaced."""
    file = tmp_path / "log"
    file.write_text("before\n")
    command = f"{sys.executable} -m clicksgroup {' '.join(DATA)}"
    assert os.system(f"{command} -o /dev/stdout >> {file}") == 0
    assert os.system(f"{command} -o /dev/fd/3 3>> {file}") == 0
    lines = file.read_text().splitlines()
    assert (lines[0], len(lines)) == ("before", 1 + 2 * 3)


@UNIX
async def test_named_pipe(tmp_path: Path) -> None:
    """A named pipe is written into once it has a reader, and a signal ends the wait for one."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = await start(*DATA, "-o", str(pipe))
    assert process.stderr is not None
    assert await process.stderr.readline() == f"waiting for a program that reads {pipe}\n".encode()
    assert (await asyncio.to_thread(pipe.read_bytes)).count(b"2025-01-03") == 2
    assert await process.wait() == 0
    process = await start(*DATA, "-o", str(pipe))
    assert process.stderr is not None
    await process.stderr.readline()
    process.terminate()
    assert await process.communicate() == (b"", b"interrupted\n")
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


@UNIX
async def test_named_pipe_that_is_closed(tmp_path: Path) -> None:
    """A reader that closes a named pipe before the end makes the job fail, unlike one of stdout."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = await start("clicks", "2025-01", "--sandbox", "-o", str(pipe))
    reader = await asyncio.to_thread(os.open, pipe, os.O_RDONLY)
    assert await asyncio.to_thread(os.read, reader, 10)
    os.close(reader)
    _, stderr = await process.communicate()
    assert process.returncode == 1
    assert stderr.splitlines()[-1] == f"error: -o: {pipe}: its reader has closed it before the end".encode()


@UNIX
def test_device() -> None:
    """A device is written into; one that is full is an error."""
    assert call(*DATA, "-o", "/dev/null").exit_code == 0
    if Path("/dev/full").exists():
        full = call(*DATA, "-o", "/dev/full")
        assert (full.exit_code, "No space left" in full.stderr) == (1, True)


@UNIX
def test_link(tmp_path: Path) -> None:
    """The target of a symbolic link is replaced, also where it does not exist yet, and the link stays."""
    (tmp_path / "link.csv").symlink_to("target.csv")
    for _ in range(2):
        assert call(*DATA, "-o", str(tmp_path / "link.csv")).exit_code == 0
        assert (tmp_path / "link.csv").is_symlink()
        assert (tmp_path / "target.csv").read_text().startswith("date,")


@UNIX
@pytest.mark.parametrize("name", ["loop.csv", "readonly.csv", "file/x.csv", "f" * 300 + ".csv"])
async def test_file_that_cannot_be_replaced(name: str, point_at: PointAt, tmp_path: Path) -> None:
    """A file that cannot be written is one line, before a request is sent, and stays as it was."""
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    (tmp_path / "file").touch()
    (tmp_path / "readonly.csv").write_text("old")
    (tmp_path / "readonly.csv").chmod(0o444)
    before = sorted(path.name for path in tmp_path.iterdir())
    async with Sandbox(groups=1) as sandbox:
        point_at(sandbox)
        result = await call_beside("clicks", "2025-01-03", "-o", str(tmp_path / name))
        assert sandbox.requests == []
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert "cannot write" in result.stderr
    assert (tmp_path / "readonly.csv").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "state") == before


@UNIX
def test_longest_name(tmp_path: Path) -> None:
    """The longest name that a file can have is written, with its mode kept."""
    file = tmp_path / ("f" * 251 + ".csv")
    file.touch(mode=0o640)
    assert call(*DATA, "-o", str(file)).exit_code == 0
    assert (file.read_text()[:5], stat.S_IMODE(file.stat().st_mode)) == ("date,", 0o640)


def test_colours_stay_out_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table in a file has no colours, also where the environment forces them."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    assert call(*DATA, "-o", str(tmp_path / "x.txt")).exit_code == 0
    assert b"\x1b" not in (tmp_path / "x.txt").read_bytes()


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("=1+1", "'=1+1"),
        ("+82 10", "'+82 10"),
        ("-5 %", "'-5 %"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1+1", "'\t=1+1"),
        (" =1+1", "' =1+1"),
        ("\uff1d1", "'\uff1d1"),
        ("5-1 = 4", "5-1 = 4"),
        ("가구", "가구"),
    ],
)
async def test_excel(point_at: PointAt, name: str, written: str, tmp_path: Path) -> None:
    """--excel writes a byte order mark, and names that a spreadsheet does not take for formulas."""

    def rename(envelope: dict) -> dict:  # type: ignore[type-arg]
        envelope["result"]["list"][0]["grpNm"] = name
        return envelope

    async with Sandbox(groups=1, faults=[Fault(change=rename, attempts=None)]) as sandbox:
        point_at(sandbox)
        result = await call_beside("clicks", "2025-01-03", "--excel", "-o", str(tmp_path / "x.csv"))
        plain = await call_beside("clicks", "2025-01-03", "-o", str(tmp_path / "y.csv"))
    assert (result.exit_code, plain.exit_code) == (0, 0)
    assert (tmp_path / "x.csv").read_bytes().startswith(b"\xef\xbb\xbfdate,")
    with (tmp_path / "x.csv").open(encoding="utf-8-sig", newline="") as file:
        assert [row["group_name"] for row in csv.DictReader(file)] == [written]
    with (tmp_path / "y.csv").open(encoding="utf-8", newline="") as file:
        assert [row["group_name"] for row in csv.DictReader(file)] == [name]


@pytest.mark.parametrize("columns", ["0", "1", "40", "abc"])
def test_narrow_terminal(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 40 columns a table fits, and in any terminal no date and no number is cut."""
    monkeypatch.setenv("COLUMNS", columns)
    listed = call("clicks", "2025-01-03", "--sandbox", "--format", "csv").stdout
    _, *rows = csv.reader(io.StringIO(listed, newline=""))
    lines = call("clicks", "2025-01-03", "--sandbox", "--format", "table").stdout.splitlines()
    assert len(lines) == 1 + len(rows)
    if columns == "40":
        assert max(map(cell_len, lines)) <= 40
    for line, row in zip(lines[1:], rows, strict=True):
        date, group_id, *_, clicks, users = line.split()
        assert [date, group_id, clicks, users] == [row[0], row[1], f"{int(row[3]):,}", f"{int(row[4]):,}"]
