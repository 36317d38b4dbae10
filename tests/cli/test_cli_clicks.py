"""`clicks` and `estimate`: data on stdout, everything else on stderr."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import stat
import sys
from pathlib import Path

import pytest

from clicksgroup import GroupClicks, Quota, date_range
from clicksgroup.quota.file import default_path
from clicksgroup.sandbox import Fault, Sandbox
from tests.cli.calls import PointAt, call, call_beside, start

FAST = Quota(in_flight=4)


def rows(records: list[GroupClicks]) -> list[list[str]]:
    return [[str(r.date), str(r.group_id), r.group_name, str(r.clicks), str(r.unique_users)] for r in records]


def truth(start: str, end: str) -> list[GroupClicks]:
    return [record for date in date_range(start, end) for record in Sandbox().truth(date)]


def test_csv() -> None:
    """A pipe gets CSV with the clicks that the server has."""
    result = call("clicks", "2025-01-01", "2025-01-05", "--sandbox")
    header, *body = csv.reader(io.StringIO(result.stdout, newline=""))
    assert result.exit_code == 0
    assert header == ["date", "group_id", "group_name", "clicks", "unique_users"]
    assert body == rows(truth("2025-01-01", "2025-01-05"))


def test_ndjson() -> None:
    """NDJSON holds the clicks that the server has."""
    result = call("clicks", "2025-01-01", "--sandbox", "--format", "ndjson")
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [[str(value) for value in record.values()] for record in found] == rows(truth("2025-01-01", "2025-01-01"))


def test_parquet(tmp_path: Path) -> None:
    """A Parquet file holds the clicks that the server has."""
    parquet = pytest.importorskip("pyarrow.parquet")
    result = call("clicks", "2025-01-01", "2025-01-02", "--sandbox", "-o", str(tmp_path / "x.parquet"))
    assert (result.exit_code, result.stdout) == (0, "")
    table = parquet.read_table(tmp_path / "x.parquet").to_pylist()
    assert [[str(value) for value in record.values()] for record in table] == rows(truth("2025-01-01", "2025-01-02"))


def test_groups() -> None:
    """Only the groups that were named are printed, each once."""
    result = call("clicks", "2025-01-01", "--sandbox", "--groups", "207,151,207")
    assert [line.split(",")[1] for line in result.stdout.splitlines()[1:]] == ["151", "207"]


def test_table() -> None:
    """A table shows thousands separators, and complete names where there is room."""
    result = call("clicks", "2025-01-03", "--sandbox", "--format", "table")
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["date", "id", "group", "clicks", "unique", "users"]
    assert lines[2].split() == ["2025-01-03", "207", "Kitchenware", "15,994", "11,472"]
    assert len(lines) == 96


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_table_width(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows of a table have the same width, on any terminal."""
    from rich.cells import cell_len

    monkeypatch.setenv("COLUMNS", str(columns))
    result = call("clicks", "2025-01-03", "--sandbox", "--format", "table")
    lines = result.stdout.splitlines()
    assert len({cell_len(line.rstrip()) for line in lines}) == 1
    assert cell_len(lines[0]) <= max(columns, 55)


async def test_control_characters(point_at: PointAt) -> None:
    """Control characters in a name do not reach the terminal."""

    def rename(envelope: dict) -> dict:  # type: ignore[type-arg]
        envelope["result"]["list"][0]["grpNm"] = "a\x1b[2Jb\nc"
        return envelope

    async with Sandbox(groups=1, quota=FAST, faults=[Fault(change=rename)]) as sandbox:
        point_at(sandbox)
        result = await call_beside("clicks", "2025-01-03", "--format", "table")
    assert "a\N{REPLACEMENT CHARACTER}[2Jb c" in result.stdout
    assert "\x1b" not in result.stdout


async def test_no_records(point_at: PointAt) -> None:
    """A date without records gives the CSV header alone, or a table that says so."""
    async with Sandbox(groups=0, quota=FAST) as sandbox:
        point_at(sandbox)
        listed = await call_beside("clicks", "2025-01-03")
        table = await call_beside("clicks", "2025-01-03", "--format", "table")
    assert listed.stdout == "date,group_id,group_name,clicks,unique_users\n"
    assert table.stdout == "no records\n"


@pytest.mark.slow
async def test_rows_arrive_with_pages(point_at: PointAt) -> None:
    """The first page can be read from the pipe before the second is answered."""
    async with Sandbox(groups=60, quota=FAST, faults=[Fault(page=2, delay=3600)]) as sandbox:
        point_at(sandbox)
        process = await start("clicks", "2025-01-03")
        assert process.stdout is not None
        lines = [await process.stdout.readline() for _ in range(31)]
        process.terminate()
        await process.communicate()
    assert lines[30].split(b",")[0] == b"2025-01-03"


async def test_head(point_at: PointAt) -> None:
    """A reader such as `head` ends the command quietly, and the requests with it."""
    async with Sandbox(quota=FAST) as sandbox:
        point_at(sandbox)
        process = await asyncio.create_subprocess_shell(
            f"{sys.executable} -m clicksgroup clicks 2024-01 2024-12 | head -n 1",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert len(sandbox.requests) < 366 * 4
    assert (out, err) == (b"date,group_id,group_name,clicks,unique_users\n", b"")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["csv", "table", "ndjson"])
async def test_closed_pipe(form: str) -> None:
    """A closed pipe is not a failure, in any format."""
    reads, writes = os.pipe()
    os.close(reads)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "clicksgroup", "clicks", "2025-01-03", "--sandbox", "--format", form),
        stdout=writes,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(writes)
    _, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a shell closes them as on Unix")
@pytest.mark.parametrize(
    ("form", "closed", "out"),
    [("csv", ">&-", b""), ("table", ">&-", b""), ("csv", "2>&-", b"date"), ("csv", "<&-", b"date")],
)
async def test_closed_streams(form: str, closed: str, out: bytes) -> None:
    """The command works with stdin, stdout or stderr closed."""
    process = await asyncio.create_subprocess_shell(
        f"{sys.executable} -W error -m clicksgroup clicks 2025-01-03 --sandbox --format {form} {closed}",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    came, err = await process.communicate()
    assert (process.returncode, came[:4], err) == (0, out, b"")


@pytest.mark.skipif(sys.platform == "win32", reason="a shell closes them as on Unix")
async def test_key_from_closed_stdin() -> None:
    """A key that is to come from a closed stdin is one line."""
    process = await asyncio.create_subprocess_shell(
        f"{sys.executable} -W error -m clicksgroup clicks 2025-01-03 --api-key-file - <&-",
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await process.communicate()
    assert (process.returncode, len(err.splitlines())) == (2, 1)
    assert b"--api-key-file: stdin is closed" in err


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("form", ["csv", "table", "ndjson"])
async def test_full_disk(form: str) -> None:
    """A full disk is status 1 and one line, in any format."""
    process = await asyncio.create_subprocess_shell(
        f"{sys.executable} -m clicksgroup clicks 2025-01-03 --sandbox --format {form} > /dev/full",
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await process.communicate()
    assert (process.returncode, err) == (1, b"error: cannot write the output: No space left on device\n")


@pytest.mark.slow
async def test_utf8(point_at: PointAt, monkeypatch: pytest.MonkeyPatch) -> None:
    """The output is UTF-8 in any locale."""
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    async with Sandbox(quota=FAST) as sandbox:
        point_at(sandbox)
        for form in ("csv", "ndjson", "table"):
            process = await start("clicks", "2025-01-03", "--format", form)
            out, _ = await process.communicate()
            assert process.returncode == 0
            assert "가구 유튜브" in out.decode()


async def test_failure_keeps_the_old_file(point_at: PointAt, tmp_path: Path) -> None:
    """A failed command leaves the old file as it was, and no temporary file."""
    file = tmp_path / "clicks.csv"
    file.write_text("old")
    async with Sandbox(groups=60, quota=FAST, faults=[Fault(page=2, status=404, attempts=None)]) as sandbox:
        point_at(sandbox)
        result = await call_beside("clicks", "2025-01-03", "-o", str(file))
    assert (result.exit_code, file.read_text()) == (1, "old")
    assert [path.name for path in tmp_path.iterdir() if path.name != "state"] == ["clicks.csv"]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such modes")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666])
def test_file_mode(tmp_path: Path, mode: int) -> None:
    """A file that replaces another keeps its mode."""
    file = tmp_path / "clicks.csv"
    file.touch()
    file.chmod(mode)
    assert call("clicks", "2025-01-03", "--sandbox", "-o", str(file)).exit_code == 0
    assert file.read_text().startswith("date,")
    assert stat.S_IMODE(file.stat().st_mode) == mode


async def test_file_that_cannot_be_written(point_at: PointAt, tmp_path: Path) -> None:
    """A file that cannot be written is refused before a request is sent."""
    async with Sandbox(quota=FAST) as sandbox:
        point_at(sandbox)
        result = await call_beside("clicks", "2025-01-03", "-o", str(tmp_path / "no" / "clicks.csv"))
        assert (result.exit_code, sandbox.requests) == (2, [])


async def test_error_line(point_at: PointAt) -> None:
    """An error is one line, without the key."""
    async with Sandbox(quota=FAST) as sandbox:
        point_at(sandbox)
        result = await call_beside("clicks", "2025-01-03", "--api-key-file", "-", stdin="another-key\n")
    assert (result.exit_code, result.stdout) == (1, "")
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("error: 2025-01-03 page 1: HTTP 401: ")
    assert "another-key" not in result.output


async def test_rows_before_a_failure(point_at: PointAt) -> None:
    """All dates before the one that fails are printed."""
    async with Sandbox(groups=3, quota=FAST, faults=[Fault(date="2025-01-03", status=404, attempts=None)]) as sandbox:
        point_at(sandbox)
        result = await call_beside("clicks", "2025-01-01", "2025-01-05")
    assert result.exit_code == 1
    assert {line[:10] for line in result.stdout.splitlines()[1:]} == {"2025-01-01", "2025-01-02"}


async def test_quota_file(point_at: PointAt) -> None:
    """The quota's file is where the library puts it, so that all programs of the machine share it."""
    async with Sandbox(groups=1, quota=FAST) as sandbox:
        point_at(sandbox)
        result = await call_beside("clicks", "2025-01-03")
        path = default_path(sandbox.url, sandbox.api_key)
    assert (result.exit_code, path.exists()) == (0, True)
    assert sandbox.api_key not in path.read_text() + str(path)


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="the folder is another one")
@pytest.mark.parametrize("folder", ["state", "", "./x"])
def test_relative_state_folder(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative XDG_STATE_HOME is ignored, as its specification says."""
    monkeypatch.setenv("XDG_STATE_HOME", folder)
    assert default_path("https://vivoldi.com:443", "a-key").is_relative_to(Path.home() / ".local" / "state")


def test_sandbox_ignores_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--sandbox leaves no file, and ignores what the environment says of the real account."""
    monkeypatch.setenv("CLICKSGROUP_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("CLICKSGROUP_PLAN", "premium")
    result = call("clicks", "2025-01-03", "--sandbox")
    assert result.exit_code == 0
    assert not (tmp_path / "state").exists()


async def test_check_warn(point_at: PointAt) -> None:
    """With --check warn each field that disagrees is one line for a page."""

    def as_text(envelope: dict) -> dict:  # type: ignore[type-arg]
        for record in envelope["result"]["list"]:
            record["acesCnt"] = str(record["acesCnt"])
        return envelope

    async with Sandbox(groups=30, quota=FAST, faults=[Fault(change=as_text, attempts=None)]) as sandbox:
        point_at(sandbox)
        strict = await call_beside("clicks", "2025-01-03")
        warned = await call_beside("clicks", "2025-01-03", "--check", "warn")
        records = sandbox.truth("2025-01-03")
    assert (strict.exit_code, strict.stdout) == (1, "")
    assert "result.list[0].acesCnt" in strict.stderr
    assert warned.exit_code == 0
    assert list(csv.reader(io.StringIO(warned.stdout, newline="")))[1:] == rows(records)
    (line,) = warned.stderr.splitlines()
    assert "warning: 2025-01-03 page 1: result.list[*].acesCnt: 30 strings taken as numbers, the first " in line


async def test_v2(point_at: PointAt) -> None:
    """Version 2 of the API gives the same records."""
    async with Sandbox(quota=FAST) as sandbox:
        point_at(sandbox)
        v1 = await call_beside("clicks", "2025-01-03")
        v2 = await call_beside("clicks", "2025-01-03", "--api-version", "v2")
        assert {request.path.split("/")[3] for request in sandbox.requests} == {"v1", "v2"}
    assert v1.stdout == v2.stdout


async def test_user_agent(point_at: PointAt) -> None:
    """--user-agent is sent."""
    async with Sandbox(groups=1, quota=FAST) as sandbox:
        point_at(sandbox)
        await call_beside("clicks", "2025-01-03", "--user-agent", "Smith & Co")
        assert sandbox.requests[0].user_agent == "Smith & Co"


async def test_verbose(point_at: PointAt) -> None:
    """-vv logs each request, without the key; without -v nothing is logged."""
    async with Sandbox(groups=1, quota=FAST) as sandbox:
        point_at(sandbox)
        result = await call_beside("clicks", "2025-01-03", "-vv")
        quiet = await call_beside("clicks", "2025-01-03")
    assert "debug: 2025-01-03 page 1: attempt 1, HTTP 200" in result.stderr
    assert sandbox.api_key not in result.output
    assert quiet.stderr == ""


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["2025-01-01", "2025-12-31", "--group-count", "100", "--plan", "business"], "1,460 requests, about 1 h"),
        (["2025-01", "--plan", "personal"], "at least 31 requests, at least 3 min"),
        (["2025-01", "--groups", "151,207", "--plan", "personal"], "31 requests, about 3 min"),
        (["2025-01-01", "--plan", "personal"], "at least 1 request, at once"),
        (["2025-01", "--group-count", "95", "--quota", "10/1h"], "124 requests, about 12 h"),
        (["2025-01", "--group-count", "95", "--sandbox"], "124 requests, at once"),
    ],
)
def test_estimate(args: list[str], said: str) -> None:
    """`estimate` prints requests and time, without a key."""
    result = call("estimate", *args)
    assert (result.exit_code, result.stdout) == (0, said + "\n")
