"""Deployed as a bare folder, without its metadata, the package works, with the files that lie beside its code."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import clicksgroup

PACKAGE = Path(clicksgroup.__file__).parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of the package, and all that it needs, without the package's metadata."""
    folder = tmp_path_factory.mktemp("deployed")
    shutil.copytree(PACKAGE, folder / "clicksgroup", ignore=shutil.ignore_patterns("__pycache__"))
    for name in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for found in Path(name).iterdir():
            if not found.name.startswith(("clicksgroup", "_clicksgroup", "__editable__")):
                (folder / found.name).symlink_to(found)
    return folder


def run(folder: Path, *arguments: str) -> str:
    """What Python prints, with nothing but that folder to import from."""
    program = f"import sys, runpy; sys.path.insert(0, {str(folder)!r}); "
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program + arguments[0], *arguments[1:]],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


MODULE = "runpy.run_module('clicksgroup', run_name='__main__', alter_sys=True)"


def test_no_metadata(folder: Path) -> None:
    """The test's own premise: the metadata are not found."""
    program = """
import importlib.metadata, clicksgroup
try:
    importlib.metadata.version("clicksgroup")
except importlib.metadata.PackageNotFoundError:
    print(clicksgroup.__file__)
"""
    assert run(folder, program.strip()) == f"{folder / 'clicksgroup' / '__init__.py'}\n"


@pytest.mark.parametrize("arguments", ["'k'", "'k', user_agent='Acme Shop'"])
def test_client(folder: Path, arguments: str) -> None:
    """A client can be made; its User-Agent names an unknown version unless the caller names himself."""
    program = f"from clicksgroup import ClicksClient; print(ClicksClient({arguments})._headers['User-Agent'])"
    assert run(folder, program).strip() == ("Acme Shop" if "Acme" in arguments else "clicksgroup/unknown")


@pytest.mark.slow
def test_command_line(folder: Path) -> None:
    """`--version` and a command against the embedded sandbox."""
    assert "unknown" in run(folder, MODULE, "--version")
    assert run(folder, MODULE, "clicks", "2025-01-03", "--sandbox", "--format", "csv").startswith("date,")


@pytest.mark.slow
@pytest.mark.parametrize(
    "module", sorted({path.stem if path.stem != "__init__" else path.parent.name for path in PACKAGE.glob("*.py")})
)
def test_modules(folder: Path, module: str) -> None:
    """Every module can be imported, with the files that it reads from beside the code."""
    if module not in ("clicksgroup", "__main__"):
        run(folder, f"import clicksgroup.{module}")


@pytest.mark.slow
def test_packages(folder: Path) -> None:
    """So can the packages within."""
    names = [path.parent.name for path in PACKAGE.glob("*/__init__.py")]
    run(folder, f"import importlib; [importlib.import_module('clicksgroup.' + name) for name in {names}]")
