"""The quota: how many requests exceed it, and how much of it is used, by this project and by three limiters.

The vendor's minute is scaled down: 24 requests per 3 s, 2 at a time. All sides run at the same time, each in a process
of its own. A server records when requests arrive. A request is rejected if a strict sliding window would answer 429.

`python -m benchmarks.quota --lower` only runs the servers that allow less than is configured, in virtual time.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import attrs

from benchmarks.harness import Options, Side, in_fresh_process, machine, split_by_missing, table
from benchmarks.lower import lower_table
from benchmarks.page_server import page_server
from tests.checker import rejections, share_used

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
    """The task of all sides: a quota of `count` requests in `window` seconds, used up for `windows` windows."""

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
    """Run all sides in all cases, and return the table."""
    sides, left_out = split_by_missing(SIDES)
    cases = [attrs.evolve(case, windows=2, window=1.0) for case in CASES] if options.quick else CASES
    arrivals = [arrivals_of(case, sides) for case in cases]
    rows = [
        (
            side.name,
            *(
                f"{rejections(times[side.module], case.count, case.window)} of {len(times[side.module])}"
                for case, times in zip(cases, arrivals, strict=True)
            ),
            *(
                f"{share_used(times[side.module], case.count, case.window):.3f}"
                for case, times in zip(cases, arrivals, strict=True)
            ),
        )
        for side in sides
    ]
    head = [
        "limiter",
        *(f"rejected, {case.name}" for case in cases),
        *(f"quota used, {case.name}" for case in cases),
    ]
    case = cases[0]
    quota = f"{case.count} requests per {case.window:g} s, {case.in_flight} in flight, {case.windows} windows."
    lower = [
        "A server that allows less than is configured, in virtual time:",
        "",
        lower_table(2 if options.quick else 20),
    ]
    return "\n".join([quota, "", table(head, rows), "", *lower, "", *left_out, machine(PACKAGES)])


def arrivals_of(case: Case, sides: Sequence[Side]) -> Mapping[str, Sequence[float]]:
    """When the requests of each side arrived, by the side's module; all sides run at the same time."""
    with (
        page_server(pages=1, latency=case.latency, jitter=case.jitter) as server,
        ThreadPoolExecutor(len(sides)) as pool,
    ):
        runs = [
            pool.submit(
                in_fresh_process,
                "benchmarks.limiters",
                side=side.module,
                url=server.url,
                count=case.count,
                window=case.window,
                in_flight=case.in_flight,
                requests=case.windows * case.count + 1,
            )
            for side in sides
        ]
        for each in runs:
            each.result()
    return server.arrivals


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quota")
    parser.add_argument(
        "--lower", action="store_true", required=True, help="servers that allow less than is configured"
    )
    parser.parse_args()
    print(lower_table(20))
