"""The scale: one stream over more and more dates; a page must not get dearer, and memory must not grow."""

from __future__ import annotations

from benchmarks.harness import Measures, Options, Side, in_fresh_process, machine, median, table, take_turns
from benchmarks.pageserver import page_server

PAGES = 4
IN_FLIGHT = 8
DATES = (100, 1_500, 20_000)
QUICK_DATES = (5, 10)

MOST_GROWTH = 6.0
"""MiB of memory that the longest stream may take more than the shortest."""

MOST_MEMORY = 64.0
"""MiB that it may take in all."""


def run(options: Options) -> str:
    """Stream, and say what it costs."""
    lengths = QUICK_DATES if options.quick else DATES
    sides = {Side(f"{dates:,} dates", "ours"): dates for dates in lengths}
    with page_server(PAGES) as url:

        def measure(side: Side) -> Measures:
            dates = sides[side]
            return in_fresh_process(
                "benchmarks.walkers", side=side.module, url=url, dates=dates, in_flight=IN_FLIGHT, pages=PAGES
            )

        rounds = take_turns(list(sides), options.rounds, measure)
    peaks = [median(runs, "peak_mib") for runs in rounds.values()]
    rows = [
        (
            name,
            f"{runs[0]['records']:,}",
            f"{median(runs, 'cpu_us'):.0f}",
            f"{peak:.1f}",
        )
        for (name, runs), peak in zip(rounds.items(), peaks, strict=True)
    ]
    growth = peaks[-1] - peaks[0]
    held = growth <= MOST_GROWTH and max(peaks) < MOST_MEMORY
    verdict = (
        f"- memory grows by {growth:.1f} MiB to {max(peaks):.1f}; wanted at most {MOST_GROWTH:g}, below "
        f"{MOST_MEMORY:g} in all: {'held' if held else '**missed**'}"
    )
    head = (f"{PAGES} pages a date, {IN_FLIGHT} in flight", "records", "CPU a page, µs", "peak, MiB")
    return "\n\n".join([machine(["aiohttp", "attrs", "orjson"]), table(head, rows), verdict])
