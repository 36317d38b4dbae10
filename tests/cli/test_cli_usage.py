"""Wrong usage is said in one line, with what to do, before any request: exit status 2."""

from __future__ import annotations

import builtins
import datetime
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from clicksgroup import __main__
from clicksgroup.cli.parsing import parse_duration, read_key
from tests.cli.calls import call

COMMANDS = ("backfill", "chart", "clicks", "doctor", "estimate", "export", "sandbox", "status")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_examples(command: str) -> None:
    result = call(command, "--help")
    assert result.exit_code == 0
    assert f"  clicksgroup {command}" in result.stdout


def test_the_overview_names_every_command_and_what_to_try_first() -> None:
    result = call("--help")
    assert all(f"\n  {command} " in result.stdout for command in COMMANDS)
    assert "clicksgroup clicks yesterday --sandbox" in result.stdout


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (["clicks", "2025-01-01"], "CLICKSGROUP_API_KEY"),
        (["clicks", "2025-01-01"], "--sandbox"),
        (["clicks"], "START"),
        (["clicks", "2025-02", "2025-01", "--sandbox"], "before START"),
        (["clicks", "2025-01", "--sandbox", "--groups", "a"], "151,207"),
        (["clicks", "2025-01", "--sandbox", "--groups", ""], "151,207"),
        (["clicks", "2025-01", "--sandbox", "--groups", "0"], "151,207"),
        (["clicks", "2025-01", "--sandbox", "--quota", "24"], "24/60"),
        (["clicks", "2025-01", "--sandbox", "--quota", "0/60"], "24/60"),
        (["clicks", "2025-01", "--sandbox", "--quota", "24/0"], "24/60"),
        (["clicks", "2025-01", "--sandbox", "--in-flight", "0"], "--in-flight"),
        (["clicks", "2025-01", "--sandbox", "--plan", "gold"], "business_plus"),
        (["clicks", "2025-01", "--sandbox", "--plan", "premium"], "requires"),
        (["clicks", "2025-01", "--sandbox", "--tz", "Mars"], "Asia/Seoul"),
        (["clicks", "2025-01", "--sandbox", "--format", "parquet"], "-o FILE"),
        (["clicks", "2025-01", "--sandbox", "--format", "xml"], "parquet"),
        (["clicks", "2025-01", "--sandbox", "-o", "/no/such/folder/x.csv"], "cannot write"),
        (["clicks", "2025-01", "--api-key-file", "/no/such/key"], "cannot read"),
        (["backfill", "2025-01", "--sandbox", "--settle", "3"], "3d"),
        (["backfill", "2999-01-01", "--sandbox"], "yesterday"),
        (["status"], "CLICKSGROUP_STORE"),
        (["status", "--store", "/no/such/file.db"], "backfill"),
        (["chart", "--sandbox", "-o", "x.pdf"], ".svg"),
        (["doctor", "31.1.2025", "--sandbox"], "YYYY-MM-DD"),
        (["estimate", "2025-01", "--plan", "gold"], "business_plus"),
        (["sandbox", "--plan", "gold"], "business_plus"),
        (["nonsense"], "nonsense"),
    ],
)
def test_what_cannot_be_right_is_one_line_that_says_what_to_do(args: list[str], word: str) -> None:
    result = call(*args)
    assert result.exit_code == 2
    assert result.stdout == ""
    *_, line = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert word in line
    assert "Traceback" not in result.stderr


def test_a_duration_of_nothing_needs_no_unit() -> None:
    assert parse_duration("0") == parse_duration("0d") == datetime.timedelta(0)


def test_a_key_that_no_header_can_hold_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLICKSGROUP_API_KEY", "secret\x01part")
    result = call("clicks", "2025-01-01")
    assert (result.exit_code, "api_key" in result.stderr, "secret" in result.output) == (2, True, False)


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_one_line_names_it(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from clicksgroup.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == 'the command line needs an extra: pip install "clicksgroup[cli]"\n'


WITHOUT_EXTRAS = """
import sys
for name in ("sqlalchemy", "aiosqlite", "asyncpg", "redis", "arro3", "vl_convert"):
    sys.modules[name] = None
from clicksgroup.__main__ import main
main()
"""


@pytest.mark.parametrize(
    ("args", "extra"),
    [
        (["clicks", "2025-01-03", "--sandbox", "-o", "x.csv"], None),
        (["doctor", "--sandbox"], None),
        (["clicks", "2025-01-03", "--sandbox", "-o", "x.parquet"], "arrow"),
        (["backfill", "2025-01-03", "--sandbox"], "store"),
        (["status", "--sandbox"], "store"),
        (["clicks", "2025-01-03", "--redis", "redis://127.0.0.1"], "redis"),
    ],
)
def test_a_command_whose_extra_is_missing_names_it_and_the_others_work(
    args: list[str], extra: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLICKSGROUP_API_KEY", "a-key")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRAS, *args], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    if extra is None:
        assert (done.returncode, "error" in done.stderr) == (0, False)
    else:
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1].startswith("error: ")
        assert re.search(rf'pip install "?clicksgroup\[{extra}\]', done.stderr)
        assert "Traceback" not in done.stderr
        assert [path.name for path in tmp_path.iterdir()] in ([], ["state"])


def test_a_port_that_is_taken_is_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = call("sandbox", "--port", str(taken.getsockname()[1]))
    assert (result.exit_code, result.stderr.startswith("error: --port: cannot listen on port ")) == (2, True)


def test_it_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "clicksgroup", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("clicksgroup ")


def test_a_bug_in_a_part_is_not_mistaken_for_a_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    really_import = builtins.__import__

    def import_(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "clicksgroup.cli":
            raise ModuleNotFoundError("No module named 'other'", name="other")
        return really_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", import_)
    with pytest.raises(ModuleNotFoundError):
        __main__.main()


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n"])
def test_the_key_may_come_from_a_file(tmp_path: Path, ending: bytes) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"the-key" + ending)
    assert read_key(str(file)) == "the-key"
    assert "the-key" not in repr(read_key(str(file)))


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"k" * 5000])
def test_a_file_that_holds_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    result = call("clicks", "2025-01-01", "--api-key-file", str(tmp_path / "key"))
    assert (result.exit_code, "--api-key-file" in result.stderr) == (2, True)
