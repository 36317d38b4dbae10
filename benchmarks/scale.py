"""The scale: one stream over more and more dates; the cost of a page and the memory must not grow."""

from __future__ import annotations

from benchmarks.harness import Measures, Options, Side, in_fresh_process, machine, median, table, take_turns
from benchmarks.page_server import page_server

PAGES = 4
IN_FLIGHT = 8
DATES = (100, 1_500, 20_000)
QUICK_DATES = (5, 10)

MAX_GROWTH = 6.0
"""MiB of memory by which the longest stream may exceed the shortest."""

MAX_MEMORY = 64.0
"""MiB of memory that a stream may take."""


def run(options: Options) -> str:
    """Run all lengths, and return the table."""
    lengths = QUICK_DATES if options.quick else DATES
    sides = {Side(f"{dates:,} dates", "clicksgroup_stream"): dates for dates in lengths}
    with page_server(PAGES) as server:

        def measure(side: Side) -> Measures:
            dates = sides[side]
            return in_fresh_process(
                "benchmarks.clients", side=side.module, url=server.url, dates=dates, in_flight=IN_FLIGHT, pages=PAGES
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
    held = growth <= MAX_GROWTH and max(peaks) < MAX_MEMORY
    verdict = (
        f"- memory grows by {growth:.1f} MiB to {max(peaks):.1f}; wanted at most {MAX_GROWTH:g}, below "
        f"{MAX_MEMORY:g} in all: {'held' if held else '**missed**'}"
    )
    head = (f"{PAGES} pages a date, {IN_FLIGHT} in flight", "records", "CPU a page, µs", "peak, MiB")
    return "\n\n".join([machine(["aiohttp", "attrs", "orjson"]), table(head, rows), verdict])
