"""One run of one side in its own process: `python -m benchmarks.stores ARGUMENTS`, arguments and result as JSON."""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path

from benchmarks.stores import generate


def main(side: str, folder: str, days: int, groups: int, url: str = "") -> dict[str, float]:
    """Write so many days, read them back, and check that they are the same."""
    module = importlib.import_module(f"benchmarks.stores.{side}")
    data = generate(days, groups)
    with module.Target(Path(folder), url) as target:
        prepared = target.prepare(data)
        cpu, started = time.process_time(), time.perf_counter()
        target.write(prepared)
        write, cpu = time.perf_counter() - started, time.process_time() - cpu
        started = time.perf_counter()
        found = target.read()
        read = time.perf_counter() - started
    expected = days * groups, sum(clicks for _, rows in data for _, _, clicks, _ in rows)
    if found != expected:
        raise RuntimeError(f"{side} holds {found} (records, clicks), but {expected} were written")
    return {"write_ms": write / days * 1e3, "cpu_ms": cpu / days * 1e3, "read_s": read}


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
