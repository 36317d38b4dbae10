"""Wrong usage is one line that says what to do, before any request: exit status 2."""

from __future__ import annotations

import builtins
import datetime
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from clicksgroup import __main__
from clicksgroup.cli.options import parse_duration
from clicksgroup.cli.resources import read_key
from tests.cli.calls import call

COMMANDS = (*("backfill", "chart", "clicks", "doctor", "estimate", "export", "groups", "sandbox", "status", "totals"),)


@pytest.mark.parametrize("command", COMMANDS)
def test_command_help(command: str) -> None:
    """The help of each command has examples."""
    result = call(command, "--help")
    assert result.exit_code == 0
    assert f"  clicksgroup {command}" in result.stdout


def test_help() -> None:
    """The help names every command, and what to try first."""
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
        (["clicks", "2025-01", "--sandbox", "--plan", "premium"], "must name its groups"),
        (["clicks", "2025-01", "--sandbox", "--tz", "Mars"], "Asia/Seoul"),
        (["clicks", "2025-01", "--sandbox", "--format", "parquet"], "-o FILE"),
        (["clicks", "2025-01", "--sandbox", "--format", "xml"], "parquet"),
        (["clicks", "2025-01", "--sandbox", "-o", "/no/such/folder/x.csv"], "cannot write"),
        (["clicks", "2025-01", "--api-key-file", "/no/such/key"], "cannot read"),
        (["backfill", "2025-01", "--sandbox", "--settle", "3"], "3d"),
        (["backfill", "2999-01-01", "--sandbox"], "has not begun anywhere on Earth; the latest date to ask for is"),
        (["clicks", "2025-01", "2999-01-01", "--sandbox"], "anywhere on Earth; write 2025-01-01 yesterday"),
        (["totals", "2025-01", "2999-01-01", "--sandbox"], "anywhere on Earth; the latest date to ask for is 20"),
        (["doctor", "2999-01-01", "--sandbox"], "DATE: 2999-01-01 has not begun anywhere on Earth; name one"),
        (["status"], "CLICKSGROUP_STORE"),
        (["status", "--store", "/no/such/file.db"], "backfill"),
        (["chart", "--sandbox", "-o", "x.pdf"], ".svg"),
        (["doctor", "31.1.2025", "--sandbox"], "YYYY-MM-DD"),
        (["estimate", "2025-01", "--plan", "gold"], "business_plus"),
        (["sandbox", "--plan", "gold"], "business_plus"),
        (["nonsense"], "nonsense"),
    ],
)
def test_wrong_usage(args: list[str], word: str) -> None:
    """Wrong usage is one line that says what to do, and status 2."""
    result = call(*args)
    assert result.exit_code == 2
    assert result.stdout == ""
    *_, line = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert word in line
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("clicksgroup clicks --plan bus", ["plain,business", "plain,business_plus"]),
        ("clicksgroup backfill --store cli", ["file,cli"]),
        ("clicksgroup clicks -o cli", ["file,cli"]),
        ("clicksgroup chart -o cli", ["file,cli"]),
        ("clicksgroup clicks --api-key-file k", ["file,k"]),
        ("clicksgroup back", ["plain,backfill"]),
    ],
)
def test_completion(words: str, offered: list[str]) -> None:
    """The shell completes commands, plans and files."""
    environment = {"_CLICKSGROUP_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run(
        [sys.executable, "-m", "clicksgroup"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.splitlines(), done.stderr) == (offered, "")


def test_zero_duration() -> None:
    """A duration of 0 needs no unit."""
    assert parse_duration("0") == parse_duration("0d") == datetime.timedelta(0)


def test_unusable_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that no header can hold is refused, and not shown."""
    monkeypatch.setenv("CLICKSGROUP_API_KEY", "secret\x01part")
    result = call("clicks", "2025-01-01")
    assert (result.exit_code, "api_key" in result.stderr, "secret" in result.output) == (2, True, False)


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_missing_cli_extra(missing: str) -> None:
    """Without the extra `cli`, one line names it."""
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


@pytest.mark.slow
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
def test_missing_extra(args: list[str], extra: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that needs a missing extra names it, and the others work."""
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


def test_port_in_use() -> None:
    """A port that is in use is refused."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = call("sandbox", "--port", str(taken.getsockname()[1]))
    assert (result.exit_code, result.stderr.startswith("error: --port: cannot listen on port ")) == (2, True)


@pytest.mark.slow
def test_module() -> None:
    """`python -m clicksgroup` is the same command."""
    done = subprocess.run(
        [sys.executable, "-m", "clicksgroup", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("clicksgroup ")


def test_failed_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed import inside the package is not reported as a missing extra."""
    really_import = builtins.__import__

    def import_(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "clicksgroup.cli":
            raise ModuleNotFoundError("No module named 'other'", name="other")
        return really_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", import_)
    with pytest.raises(ModuleNotFoundError):
        __main__.main()


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n"])
def test_key_file(tmp_path: Path, ending: bytes) -> None:
    """The key is read from a file, with any line ending."""
    file = tmp_path / "key"
    file.write_bytes(b"the-key" + ending)
    assert read_key(str(file)) == "the-key"
    assert "the-key" not in repr(read_key(str(file)))


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"k" * 5000])
def test_bad_key_file(tmp_path: Path, content: bytes) -> None:
    """A file without a key is refused."""
    (tmp_path / "key").write_bytes(content)
    result = call("clicks", "2025-01-01", "--api-key-file", str(tmp_path / "key"))
    assert (result.exit_code, "--api-key-file" in result.stderr) == (2, True)
