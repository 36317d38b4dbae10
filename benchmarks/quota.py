"""The quota: what goes over it, and how much of it is used, by this project and by three limiters that many use.

A checker in a process of its own counts each side's requests in a strict sliding window, the vendor's minute scaled
down: 24 requests per 3 s, 2 at a time. All sides run at the same time, each in a process of its own. Rejected is what
such a server would have answered with 429.

What it is compared with is not needed by the project itself: `pip install aiolimiter limits pyrate-limiter`.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs

from benchmarks.checker import Verdicts, checker_process
from benchmarks.harness import Options, Side, in_fresh_process, machine, split_by_missing, table

OURS = Side("clicksgroup", "clicksgroup")
SIDES = (
    OURS,
    Side("aiolimiter", "aiolimiter", ("aiolimiter",)),
    Side("limits, moving window", "limits", ("limits",)),
    Side("pyrate-limiter", "pyrate_limiter", ("pyrate-limiter",)),
)
PACKAGES = ("clicksgroup", "aiolimiter", "limits", "pyrate-limiter", "aiohttp")


@attrs.frozen
class Case:
    """What all sides are to do alike. Seconds, but for `windows`, which is how many windows it lasts."""

    name: str
    latency: float
    jitter: float
    windows: int = 20
    count: int = 24
    window: float = 3.0
    in_flight: int = 2


CASES = (
    Case("LAN: 5 ms", latency=0.005, jitter=0.0),
    Case("jitter: 0 to 100 ms each way", latency=0.005, jitter=0.1),
)


def run(options: Options) -> str:
    """Judge all sides in all cases."""
    sides, left_out = split_by_missing(SIDES)
    cases = [attrs.evolve(case, windows=2, window=1.0) for case in CASES] if options.quick else CASES
    verdicts = [judged(case, sides) for case in cases]
    rows = [
        (
            side.name,
            *(f"{seen[side.module]['rejected']:.0f} of {seen[side.module]['requests']:.0f}" for seen in verdicts),
            *(f"{seen[side.module]['used']:.3f}" for seen in verdicts),
        )
        for side in sides
    ]
    head = [
        "limiter",
        *(f"rejected, {case.name}" for case in cases),
        *(f"quota used, {case.name}" for case in cases),
    ]
    case = cases[0]
    words = f"{case.count} requests per {case.window:g} s, {case.in_flight} in flight, {case.windows} windows."
    return "\n".join([words, "", table(head, rows), "", *left_out, machine(PACKAGES)])


def judged(case: Case, sides: Sequence[Side]) -> Verdicts:
    """What the checker says of each side; all run at the same time."""
    with (
        checker_process(case.count, case.window, latency=case.latency, jitter=case.jitter) as session,
        ThreadPoolExecutor(len(sides)) as pool,
    ):
        work = [
            pool.submit(
                in_fresh_process,
                "benchmarks.limiters",
                side=side.module,
                url=session.url,
                count=case.count,
                window=case.window,
                in_flight=case.in_flight,
                requests=case.windows * case.count + 1,
            )
            for side in sides
        ]
        for each in work:
            each.result()
    return session.verdicts


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quota", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="see that it works; the numbers mean nothing")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        print(run(Options(chosen.quick, 1, Path(scratch))))
