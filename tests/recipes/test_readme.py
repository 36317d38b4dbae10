"""What the README shows of web backends and recipes is what is tested here, word for word."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
README = ROOT / "README.md"

FILES = sorted(
    path
    for folder in ("web", "recipes")
    for path in (ROOT / "tests" / folder).glob("*.py")
    if not path.name.startswith(("test_", "conftest", "servers"))
)


def blocks(section: str) -> list[str]:
    """The blocks of Python in a section of the README."""
    parts = re.split(r"^## (.*)\n", README.read_text("utf-8"), flags=re.MULTILINE)
    return re.findall(r"^```python\n(.*?)^```", parts[parts.index(section) + 1], re.MULTILINE | re.DOTALL)


def shown(path: Path) -> str:
    """A file as the README shows it: without its docstring, and without imports of what is shown above it."""
    _, _, text = path.read_text("utf-8").partition('"""\n\n')
    return re.sub(r"^from tests\..*\n", "", text, flags=re.MULTILINE)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_readme_shows_the_file_that_is_tested(path: Path) -> None:
    assert shown(path) in blocks("Web backends") + blocks("Recipes")


def test_the_readme_shows_no_other_recipes() -> None:
    assert len(blocks("Web backends") + blocks("Recipes")) == len(FILES)
