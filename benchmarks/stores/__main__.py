"""One landing in a process of its own: `python -m benchmarks.stores ARGUMENTS` prints what it took, both as JSON."""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path

from benchmarks.stores import made_up


def main(side: str, folder: str, days: int, groups: int, url: str = "") -> dict[str, float]:
    """Land so many days, read them back, and see that they are what was landed."""
    module = importlib.import_module(f"benchmarks.stores.{side}")
    place = module.Place(Path(folder), url)
    data = made_up(days, groups)
    with place:
        cpu, began = time.process_time(), time.perf_counter()
        place.land(data)
        landed, cpu = time.perf_counter() - began, time.process_time() - cpu
        began = time.perf_counter()
        found = place.read()
        read = time.perf_counter() - began
    truth = days * groups, sum(clicks for _, rows in data for _, _, clicks, _ in rows)
    if found != truth:
        raise RuntimeError(f"{side} holds {found}, but {truth} was landed (records, clicks)")
    return {"land_ms": landed / days * 1e3, "cpu_ms": cpu / days * 1e3, "read_s": read}


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
