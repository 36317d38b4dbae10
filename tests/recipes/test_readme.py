"""What the README says of its own code: it links files that exist, and its blocks run where it says that they do."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import sys
from pathlib import Path

import pytest

from clicksgroup.sandbox import Sandbox

ROOT = Path(__file__).parent.parent.parent
README = ROOT / "README.md"
TEXT = README.read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)

PAGES = [README, ROOT / "benchmarks" / "README.md", ROOT / ".github" / "CONTRIBUTING.md"]

RECIPES = sorted(
    path
    for folder in ("web", "recipes")
    for path in (ROOT / "tests" / folder).glob("*.py")
    if not path.name.startswith(("test_", "conftest", "servers"))
)


def awaits(block: str) -> bool:
    """Whether the block needs `await` at its top level, as `python -m asyncio` and notebooks allow it."""
    code = compile(block, "README.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    return bool(code.co_flags & inspect.CO_COROUTINE)


def anchors(text: str) -> set[str]:
    """The anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^##+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_rooms() -> None:
    """The page for contributors names every module at the top of the package, and no file that does not exist."""
    text = (ROOT / ".github" / "CONTRIBUTING.md").read_text("utf-8")
    package = ROOT / "clicksgroup"
    for name in re.findall(r"`([\w/]+\.py)`", text):
        assert (package / name).exists() or (ROOT / name).exists(), name
    rooms = set(re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\| (`.*?) \|", text, re.MULTILINE))))
    modules = {path.stem for path in package.iterdir() if (path / "__init__.py").exists() or path.suffix == ".py"}
    assert modules - {"__init__", "__main__"} <= rooms


async def output_of(*command: str, stdin: str = "", expected: int = 0) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate(stdin.encode())
    assert process.returncode == expected, output.decode()
    return output.decode()


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links(page: Path) -> None:
    """Each relative link leads to a file, and each link within a page to a heading."""
    text = page.read_text("utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        file, _, anchor = target.partition("#")
        if target.startswith("https://"):
            continue
        # PyPI shows the README without the files beside it.
        assert page != README or not file, target
        linked = page.parent / file if file else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked.read_text("utf-8")), target


def test_named_files() -> None:
    """Each file that the README names by its path exists."""
    named = re.findall(r"`([\w.]+/[\w./]+\.\w+)`", TEXT)
    assert named
    for name in named:
        assert (ROOT / name).exists(), name


def test_length() -> None:
    """The README stays short."""
    assert len(TEXT.splitlines()) <= 350


def test_contents() -> None:
    """The contents name every section behind them."""
    [contents] = re.findall(r"^\*\*Contents:\*\* .*$", TEXT, re.MULTILINE)
    behind = TEXT[TEXT.index(contents) :]
    assert set(re.findall(r"\(#([^)]+)\)", contents)) == anchors(behind)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_recipe(recipe: Path) -> None:
    """The README names each recipe, or shows it word for word."""
    _, _, code = recipe.read_text("utf-8").partition('"""\n\n')
    assert f"`{recipe.relative_to(ROOT).as_posix()}`" in TEXT or code in BLOCKS


async def test_first_program(tmp_path: Path, environment: pytest.MonkeyPatch) -> None:
    """The first program prints what stands under it, without any setting."""
    for name in ("CLICKSGROUP_PLAN", "CLICKSGROUP_USER_AGENT"):
        environment.delenv(name)
    environment.setenv("PYTHONPATH", str(ROOT))
    environment.setenv("PYTHONIOENCODING", "utf-8")
    (tmp_path / "first.py").write_text(BLOCKS[0], "utf-8")
    [shown] = re.findall(r"^```python\n.*?^```text\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)[:1]
    assert (await output_of("first.py")).splitlines() == shown.splitlines()


@pytest.mark.parametrize("block", [pytest.param(b, id=str(n)) for n, b in enumerate(BLOCKS) if awaits(b)])
async def test_paste(sandbox: Sandbox, environment: pytest.MonkeyPatch, block: str) -> None:
    """A block with `async with` or `await` at the top level can be pasted into `python -m asyncio`."""
    environment.setenv("PYTHONPATH", str(ROOT))
    environment.setenv("PYTHONIOENCODING", "utf-8")
    output = await output_of("-m", "asyncio", stdin=f"{block}\nprint('all', 'pasted')\n")
    assert "all pasted" in output
    assert not re.search(r"\w*Error\b|Traceback", output), output


@pytest.mark.slow
async def test_fixture(tmp_path: Path, environment: pytest.MonkeyPatch) -> None:
    """The test that uses `clicks_sandbox` passes, with the setting that the README names."""
    environment.setenv("PYTHONPATH", str(ROOT))
    assert "`asyncio_mode = auto`" in TEXT
    [block] = [block for block in BLOCKS if "(clicks_sandbox)" in block]
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
    (tmp_path / "test_report.py").write_text(block, "utf-8")
    assert "1 passed" in await output_of("-m", "pytest", "-q", "-p", "no:cacheprovider")
