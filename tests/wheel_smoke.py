"""Checks the built wheel. Run it with an environment that has the wheel and its core dependencies, nothing else."""

import asyncio
import importlib
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import clicksgroup
from clicksgroup.sandbox import Sandbox


async def stream() -> int:
    async with Sandbox(groups=61, latency=0.001) as sandbox, sandbox.client() as client:
        return len([record async for record in client.clicks(["2025-01-01", "2025-01-02"])])


def imported(module: str) -> str:
    """The message of the import of a module whose extra is not installed."""
    try:
        importlib.import_module(module)
    except ImportError as error:
        return str(error)
    return "it was imported"


def main() -> None:
    package = Path(clicksgroup.__file__).parent
    assert "site-packages" in package.parts, f"not the installed package: {package}"
    assert (package / "py.typed").exists()
    assert asyncio.run(stream()) == 122
    for module, extra in {"clicksgroup.store": "store", "clicksgroup.redis": "redis", "clicksgroup.cli": "cli"}.items():
        said = imported(module)
        assert f"clicksgroup[{extra}]" in said, f"{module}: {said}"
    done = subprocess.run([sys.executable, "-m", "clicksgroup"], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done
    assert "clicksgroup[cli]" in done.stderr, done
    print(f"the wheel of {importlib.metadata.version('clicksgroup')} works with the core alone")


if __name__ == "__main__":
    main()
