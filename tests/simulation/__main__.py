"""`python -m tests.simulation`: run many worlds, replay one, or see whether mutants are caught."""

from __future__ import annotations

import argparse
import concurrent.futures
import datetime
import gc
import sys
import time
from collections.abc import Iterable, Iterator

from tests.simulation.mutants import MUTANTS, hunt
from tests.simulation.world import Outcome, run_world

CHUNK = 50
"""Worlds that a process runs before it reports."""

SHOWN = 20
"""Worlds that fail, of which the problems are shown."""


def first_seed() -> int:
    """The first of the day's seeds, so that every day runs other worlds."""
    return datetime.datetime.now(datetime.UTC).date().toordinal() * 1_000_000


def run_worlds(seeds: Iterable[int]) -> list[Outcome]:
    """The outcomes of these worlds."""
    prepare()
    return [run_world(seed) for seed in seeds]


def prepare() -> None:
    """Exempt what is loaded, and what killed processes left suspended, from the garbage collection of each world."""
    run_world(0)
    gc.collect()
    gc.freeze()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--world", type=int, metavar="SEED", help="replay this world and print its trace")
    parser.add_argument("--worlds", type=int, default=300, metavar="N", help="run so many worlds (default: 300)")
    parser.add_argument("--first", type=int, metavar="SEED", help="the first seed (default: of the date)")
    parser.add_argument("--processes", type=int, default=1, metavar="P", help="in so many processes (default: 1)")
    parser.add_argument("--mutants", action="store_true", help="put faults into the package; each must be caught")
    options = parser.parse_args()
    first = first_seed() if options.first is None else options.first
    if options.world is not None:
        return _replay(options.world)
    seeds = range(first, first + options.worlds)
    return _hunt(seeds) if options.mutants else _run(seeds, options.processes)


def _replay(seed: int) -> int:
    outcome = run_world(seed, trace=True)
    print("\n".join(outcome.trace))
    return 1 if outcome.problems else 0


def _hunt(seeds: range) -> int:
    prepare()
    missed = 0
    for mutant in MUTANTS:
        caught = hunt(mutant, seeds)
        missed += caught.seed is None
        print(caught, flush=True)
    return 1 if missed else 0


def _run(seeds: range, processes: int) -> int:
    began = time.perf_counter()
    worlds = requests = failed = 0
    seconds = 0.0
    for outcomes in _outcomes(seeds, processes):
        for outcome in outcomes:
            worlds += 1
            requests += outcome.requests
            seconds += outcome.seconds
            failed += bool(outcome.problems)
            if outcome.problems and failed <= SHOWN:
                print(f"world {outcome.seed} fails: {outcome.problems[0]}")
                print(f"    python -m tests.simulation --world {outcome.seed}", flush=True)
    took = time.perf_counter() - began
    print(
        f"{worlds:,} worlds from {seeds[0]}, {failed} fail: {requests:,} requests, {seconds / 3600:,.0f} virtual hours "
        f"in {took:.0f} s: {worlds / took:.0f} worlds a second in {processes} processes"
    )
    return 1 if failed else 0


def _outcomes(seeds: range, processes: int) -> Iterator[list[Outcome]]:
    chunks = [seeds[i : i + CHUNK] for i in range(0, len(seeds), CHUNK)]
    if processes == 1:
        yield from map(run_worlds, chunks)
        return
    with concurrent.futures.ProcessPoolExecutor(processes) as pool:
        for future in concurrent.futures.as_completed([pool.submit(run_worlds, chunk) for chunk in chunks]):
            yield future.result()


if __name__ == "__main__":
    sys.exit(main())
