"""One step of one side in its own process: `python -m benchmarks.stores ARGUMENTS`, arguments and result as JSON."""

from __future__ import annotations

import functools
import importlib
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from benchmarks.stores import generate, generate_day
from clicksgroup import exports


def main(step: str, side: str, folder: str, days: int, groups: int, url: str, schema: str) -> dict[str, float]:
    """Write so many days, or read them back in each way and check that they are the same."""
    module = importlib.import_module(f"benchmarks.stores.{side}")
    with module.Target(Path(folder), url, schema) as target:
        if step == "write":
            prepared = target.prepare(generate(days, groups))
            cpu = time.process_time()
            write = _seconds(lambda: target.write(prepared))
            return {"write_ms": write / days * 1e3, "cpu_ms": (time.process_time() - cpu) / days * 1e3}
        return _read(target, Path(folder), days, groups)


def _read(target: Any, folder: Path, days: int, groups: int) -> dict[str, float]:
    records = days * groups
    expected = records, sum(clicks for day in range(days) for _, _, clicks, _ in generate_day(day, groups))
    found: list[tuple[int, int]] = []
    measures = {"read_us": _seconds(lambda: found.append(target.read())) / records * 1e6}
    if found != [expected]:
        raise RuntimeError(f"{target} holds {found} (records, clicks), but {expected} were written")
    if hasattr(target, "columns"):
        # The table, which is held in memory, comes after the peak was measured.
        for name, export in (("csv", exports.write_csv), ("parquet", exports.write_parquet)):
            with (folder / f"clicks.{name}").open("wb") as file:
                work = functools.partial(_export, target, export, file)
                measures[f"{name}_us"] = _seconds(work) / records * 1e6
        measures["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        measures["arrow_us"] = _seconds(lambda: target.run(exports.to_arrow(target))) / records * 1e6
    return measures


def _export(target: Any, export: Any, file: BinaryIO) -> None:
    target.run(export(target, file))


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
