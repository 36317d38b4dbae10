"""Every code block of the README and of the docstrings runs, against a sandbox that accepts the key shown there."""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sybil import Example, Sybil
from sybil.document import Document, PythonDocStringDocument
from sybil.parsers.markdown import CodeBlockParser
from sybil.parsers.rest import DocTestParser

from clicksgroup import Quota
from clicksgroup.sandbox import Sandbox
from clicksgroup.sandbox.server import run_in_thread

ROOT = Path(__file__).parent.parent
NOT_RUN_HERE = ("pip install", "docker ", "export ", "#", "15 ")
"""Beginnings of lines that are not run here, because they install, set or schedule something."""


def run_python(example: Example) -> None:
    """Run a block of Python; `await` is allowed at its top level."""
    code = compile(
        f"{chr(10) * example.line}{example.parsed}",
        example.path,
        "exec",
        ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
        dont_inherit=True,
    )
    example.namespace.setdefault("__name__", "__main__")
    result = eval(code, example.namespace)
    if inspect.iscoroutine(result):
        asyncio.run(result)


def run_shell(example: Example) -> None:
    """Run the commands of this package in a block, with this interpreter."""
    for line in str(example.parsed).replace("\\\n", " ").splitlines():
        command = line.removeprefix("pip install uv && ").removeprefix("uv run ").strip()
        if not command or command == "pytest" or command.startswith(NOT_RUN_HERE):
            continue
        words = shlex.split(command, comments=True)
        assert words[0] == "clicksgroup", f"no test runs this command: {line}"
        done = subprocess.run(
            [sys.executable, "-m", *words], capture_output=True, text=True, timeout=100, encoding="utf-8", check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"


markdown = [CodeBlockParser(language="python", evaluator=run_python)]
readme = Sybil([*markdown, CodeBlockParser(language="sh", evaluator=run_shell)])
docstrings = Sybil([*markdown, DocTestParser()], document_types={".py": PythonDocStringDocument})


@pytest.fixture(scope="module")
def sandbox_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A sandbox in a thread of its own, since the blocks run event loops of their own; the variables that name it."""
    with run_in_thread(Sandbox(groups=12, plan="enterprise", quota=Quota(in_flight=50), api_key="my-key")) as sandbox:
        yield {
            "CLICKSGROUP_BASE_URL": sandbox.url,
            "CLICKSGROUP_API_KEY": sandbox.api_key,
            "CLICKSGROUP_PLAN": "enterprise",
            "CLICKSGROUP_USER_AGENT": "Example Inc.",
            "PYTHONIOENCODING": "utf-8",
        }


@pytest.fixture(autouse=True)
def place(sandbox_environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working folder, and the environment variables that the README tells users to set."""
    for name in [name for name in os.environ if name.startswith("CLICKSGROUP_")]:
        if not name.startswith("CLICKSGROUP_TEST_"):
            monkeypatch.delenv(name)
    for name, value in sandbox_environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)


def run_all(document: Document) -> int:
    examples = list(document.examples())
    for example in examples:
        example.evaluate()
    return len(examples)


@pytest.mark.slow
def test_readme() -> None:
    """Every block of code in the README runs."""
    assert run_all(readme.parse(ROOT / "README.md")) >= 10


def test_readme_languages() -> None:
    """The README has no block in a language that is not run here."""
    fences = [line for line in (ROOT / "README.md").read_text("utf-8").splitlines() if line.startswith("```")]
    assert set(fences) <= {"```", "```python", "```sh", "```text"}


@pytest.mark.parametrize(
    "module", sorted((ROOT / "clicksgroup").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_docstrings(module: Path) -> None:
    """Every example of a docstring runs."""
    run_all(docstrings.parse(module))
