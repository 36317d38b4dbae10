"""Sides that are compared: each run in a process of its own, in turns, and put into a table as ratios."""

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
"""What one run of one side measured."""

Rounds: TypeAlias = Mapping[str, Sequence[Measures]]
"""What all runs measured, by the side's name."""


@attrs.frozen
class Options:
    """How a part is to be run.

    Args:
        quick: once, with as little as shows that it works; the numbers mean nothing.
        rounds: how often each side runs.
        scratch: a folder for files that are needed on the way.
    """

    quick: bool
    rounds: int
    scratch: Path


@attrs.frozen
class Side:
    """One of those that are compared.

    Args:
        name: what the tables call it.
        module: the module that does it, in the part's own package.
        needs: the packages it is made of, as pip knows them; they need not be installed.
    """

    name: str
    module: str
    needs: tuple[str, ...] = ()

    def missing(self) -> list[str]:
        """The packages that are not installed."""
        return [package for package in self.needs if version_of(package) is None]


def split_by_missing(sides: Iterable[Side]) -> tuple[list[Side], list[str]]:
    """Those that can run, and a line of words for each that cannot."""
    here, words = [], []
    for side in sides:
        if missing := side.missing():
            words.append(f"- {side.name} is left out: `pip install {' '.join(missing)}` brings it in")
        else:
            here.append(side)
    return here, words


def in_fresh_process(module: str, *, path: Path | None = None, **arguments: object) -> dict[str, Any]:
    """What `python -m module` prints as JSON, given its arguments as JSON.

    Args:
        module: reads one argument, prints one line.
        path: a folder to import from besides.
        arguments: what it is given.

    Raises:
        RuntimeError: it failed.
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
    times: int = 1,
) -> Rounds:
    """Run A B C, A B C, …: whatever else the machine does meets them alike.

    Args:
        sides: who is measured.
        rounds: how many rounds there are.
        measure: does it once.
        close: sides that are so close to each other that one run a round tells little.
        times: how often those run in each round, in turns as well; what the round says of them is the median.
    """
    measured: dict[str, list[Measures]] = {side.name: [] for side in sides}
    for number in range(rounds):
        runs: dict[str, list[Measures]] = {side.name: [] for side in sides}
        for turn in range(times):
            for side in sides:
                if turn == 0 or side in close:
                    print(f"  round {number + 1} of {rounds}: {side.name}", file=sys.stderr)
                    runs[side.name].append(measure(side))
        for name, of_round in runs.items():
            measured[name].append({key: median(of_round, key) for key in of_round[0]})
    return measured


def median(rounds: Sequence[Measures], key: str) -> float:
    """The median of one measure."""
    return statistics.median(measures[key] for measures in rounds)


def ratio(rounds: Sequence[Measures], base: Sequence[Measures], key: str) -> float:
    """How many times the base's one side's measure is: the median of the rounds' own ratios."""
    return statistics.median(mine[key] / other[key] for mine, other in zip(rounds, base, strict=True))


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Markdown; all columns but the first stand to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def machine(packages: Iterable[str]) -> str:
    """What it ran on, and the versions of those packages that are installed."""
    versions = [f"{package} {version}" for package in packages if (version := version_of(package)) is not None]
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return (
        f"{_cpu()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}, {python}; {', '.join(versions)}"
    )


def version_of(package: str) -> str | None:
    """The version that is installed, or None."""
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
