"""Runs the sides of a comparison in turns, each run in a process of its own, and makes tables of the ratios."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import attrs

ROOT = Path(__file__).parent.parent

Measures: TypeAlias = Mapping[str, float]
"""The results of one run of one side, by name."""

Rounds: TypeAlias = Mapping[str, Sequence[Measures]]
"""The results of all rounds, by the name of the side."""


@attrs.frozen
class Options:
    """How a part is run.

    Args:
        quick: runs once and as little as possible, to show that it works; the numbers mean nothing.
        rounds: how many times each side runs.
        scratch: a folder for temporary files.
    """

    quick: bool
    rounds: int
    scratch: Path


@attrs.frozen
class Side:
    """One side of a comparison.

    Args:
        name: its name in the tables.
        module: the module that runs it, in the package of the part.
        needs: the packages that it needs, by their names on PyPI; a side whose packages are missing is left out.
    """

    name: str
    module: str
    needs: tuple[str, ...] = ()

    def missing(self) -> list[str]:
        """The packages that are not installed."""
        return [package for package in self.needs if version_of(package) is None]


def split_by_missing(sides: Iterable[Side]) -> tuple[list[Side], list[str]]:
    """The sides that can run, and a line of Markdown for each that cannot."""
    here, left_out = [], []
    for side in sides:
        if missing := side.missing():
            left_out.append(f"- {side.name} is left out; it needs `pip install {' '.join(missing)}`")
        else:
            here.append(side)
    return here, left_out


def in_fresh_process(module: str, *, path: Path | None = None, **arguments: object) -> dict[str, Any]:
    """Run `python -m module ARGUMENTS`, where both the arguments and the last line that it prints are JSON.

    Args:
        module: the module to run.
        path: a further folder to import from.
        arguments: the arguments of the module's `main`.

    Raises:
        RuntimeError: the process failed.
    """
    env = dict(os.environ)
    if path is not None:
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(path), env.get("PYTHONPATH")]))
    command = [sys.executable, "-m", module, json.dumps(arguments)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{module} failed with {arguments}:\n{done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def take_turns(
    sides: Sequence[Side],
    rounds: int,
    measure: Callable[[Side], Measures],
    *,
    close: Sequence[Side] = (),
    close_runs: int = 1,
) -> Rounds:
    """Run A B C, A B C and so on, so that other load on the machine affects all sides alike.

    Args:
        sides: what is compared.
        rounds: how many rounds there are.
        measure: runs a side once.
        close: sides so close to each other that one run in each round says little.
        close_runs: how many times those run in each round, also in turns; their median counts.
    """
    measured: dict[str, list[Measures]] = {side.name: [] for side in sides}
    for number in range(rounds):
        runs: dict[str, list[Measures]] = {side.name: [] for side in sides}
        for turn in range(close_runs):
            for side in sides:
                if turn == 0 or side in close:
                    print(f"  round {number + 1} of {rounds}: {side.name}", file=sys.stderr)
                    runs[side.name].append(measure(side))
        for name, of_round in runs.items():
            measured[name].append({key: median(of_round, key) for key in of_round[0]})
    return measured


def median(rounds: Sequence[Measures], key: str) -> float:
    """The median of one result over all rounds."""
    return statistics.median(measures[key] for measures in rounds)


def ratio(rounds: Sequence[Measures], base: Sequence[Measures], key: str) -> float:
    """The ratio of a result to that of the base: the median of the ratios of the rounds."""
    return statistics.median(mine[key] / other[key] for mine, other in zip(rounds, base, strict=True))


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown; all columns but the first are aligned to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def machine(packages: Iterable[str]) -> str:
    """The machine, and the versions of those packages that are installed."""
    versions = [f"{package} {version}" for package in packages if (version := version_of(package)) is not None]
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return (
        f"{_cpu()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}, {python}; {', '.join(versions)}"
    )


def version_of(package: str) -> str | None:
    """The installed version of a package, or None."""
    try:
        return importlib.metadata.version(package.partition("[")[0])
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown CPU"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown CPU")
