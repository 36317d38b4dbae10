"""Runs one client in a process of its own: `python -m benchmarks.clients ARGUMENTS`, where both ways are JSON."""

from __future__ import annotations

import asyncio
import datetime
import importlib
import inspect
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.clients import Tally

FIRST = datetime.date(1950, 1, 1)
WARM_UP_DATES = 3
"""Dates that are read first and not measured, since the first requests are slower and may import modules."""


def main(side: str, url: str, dates: int, in_flight: int, pages: int, loop: str = "asyncio") -> dict[str, float]:
    """Read this many dates, and return what it cost."""
    read_all = importlib.import_module(f"benchmarks.clients.{side}").read_all
    factory = importlib.import_module("uvloop").new_event_loop if loop == "uvloop" else None
    all_dates = [FIRST + datetime.timedelta(days=day) for day in range(dates)]
    _run(read_all, url, all_dates[:WARM_UP_DATES], in_flight, factory)
    cpu, began = _cpu_seconds(), time.perf_counter()
    tally = _run(read_all, url, all_dates, in_flight, factory)
    wall, cpu = time.perf_counter() - began, _cpu_seconds() - cpu
    return {
        "cpu_us": cpu / dates / pages * 1e6,
        "wall_s": wall,
        "first_ms": (tally.first - began) * 1e3,
        "peak_mib": _peak_mib(),
        "records": tally.records,
        "clicks": tally.clicks,
    }


def _run(
    read_all: Callable[..., Any],
    url: str,
    dates: Sequence[datetime.date],
    in_flight: int,
    factory: Callable[[], asyncio.AbstractEventLoop] | None,
) -> Tally:
    tally = Tally()
    if inspect.iscoroutinefunction(read_all):
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(read_all(url, dates, in_flight, tally))
    else:
        read_all(url, dates, in_flight, tally)
    return tally


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _peak_mib() -> float:
    """The peak memory of this process; `ru_maxrss` would include that of the process that started it."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        unit = 2**20 if sys.platform == "darwin" else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**10


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
