"""The walk: what it costs to read 150 dates of 10 pages with each client."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from benchmarks import openapi_generator
from benchmarks.harness import (
    Measures,
    Options,
    Rounds,
    Side,
    in_fresh_process,
    machine,
    median,
    ratio,
    split_by_missing,
    table,
    take_turns,
)
from benchmarks.page_server import page_server

PAGES = 10
LATENCY = 0.02
IN_FLIGHT = (1, 8, 32)

BARE = Side("bare loop", "bare_loop")
RECORDS = Side("bare loop + records", "bare_loop_records")
OURS = Side("clicksgroup", "clicksgroup_stream")
HTTPX = Side("httpx + pydantic", "httpx_pydantic", ("httpx", "pydantic"))
REQUESTS = Side("requests + threads", "requests_threads", ("requests",))
DLT = Side("dlt RESTClient", "dlt_rest", ("dlt",))
GENERATED = Side("openapi-python-client", "openapi_generated", ("openapi-python-client", "httpx"))

SIDES = (BARE, RECORDS, OURS, HTTPX, REQUESTS, DLT, GENERATED)
ASYNC_SIDES = (BARE, RECORDS, OURS, HTTPX, GENERATED)

CLOSE = (BARE, RECORDS, OURS)
CLOSE_RUNS = 5
"""Runs of these sides in each round: a tenth between them counts, but one run of half a second may be off by two."""

TARGETS = (
    (OURS, RECORDS, 1, "at most", 1.25),
    (OURS, RECORDS, 8, "at most", 1.35),
    (HTTPX, OURS, 1, "at least", 4.0),
    (HTTPX, OURS, 8, "at least", 6.0),
    (DLT, OURS, 1, "at least", 8.0),
    (DLT, OURS, 8, "at least", 8.0),
)
"""What the project promises of the CPU of a page without latency: side, compared side, in flight, bound."""


@attrs.frozen
class Case:
    """One task that all sides do: how many requests in flight, how many dates, seconds of latency, event loop."""

    in_flight: int
    dates: int
    latency: float = 0.0
    loop: str = "asyncio"

    def __str__(self) -> str:
        latency = f", {self.latency * 1e3:g} ms of latency" if self.latency else ""
        return f"{self.in_flight} in flight{latency}{', uvloop' if self.loop == 'uvloop' else ''}: {self.dates} dates"


def run(options: Options) -> str:
    """Run all cases, and return the tables."""
    sides, left_out = split_by_missing(SIDES)
    if GENERATED in sides:
        try:
            openapi_generator.generate(options.scratch)
        except RuntimeError as error:
            sides.remove(GENERATED)
            left_out.append(f"- {GENERATED.name} is left out: {error}")
    parts = []
    for case in _cases(options.quick):
        takes_part = [side for side in sides if case.loop == "asyncio" or side in ASYNC_SIDES]
        if case.loop == "uvloop" and (missing := Side("uvloop", "", ("uvloop",)).missing()):
            left_out.append(f"- uvloop is left out: `pip install {missing[0]}` brings it in")
            break
        rounds = _measure(takes_part, case, options)
        parts.append(f"**{case} of {PAGES} pages**\n\n{_table(takes_part, rounds)}")
        if case.loop == "asyncio" and not case.latency and not options.quick:
            parts.append(_targets(case, rounds))
    packages = [package for side in sides for package in side.needs]
    versions = machine(["aiohttp", "attrs", "orjson", "uvloop", *dict.fromkeys(packages)])
    return "\n\n".join([versions, *(["\n".join(left_out)] if left_out else []), *filter(None, parts)])


def _cases(quick: bool) -> Iterator[Case]:
    if quick:
        yield Case(2, 4)
        return
    for in_flight in IN_FLIGHT:
        yield Case(in_flight, 150)
    for in_flight in IN_FLIGHT:
        yield Case(in_flight, min(150, 15 * in_flight), LATENCY)
    for in_flight in IN_FLIGHT:
        yield Case(in_flight, 150, loop="uvloop")


def _measure(sides: Sequence[Side], case: Case, options: Options) -> Rounds:
    with page_server(PAGES, case.latency) as server:
        arguments: dict[str, Any] = {
            "url": server.url,
            "pages": PAGES,
            "dates": case.dates,
            "in_flight": case.in_flight,
            "loop": case.loop,
        }
        read: list[tuple[float, float]] = []

        def measure(side: Side) -> Measures:
            run = in_fresh_process("benchmarks.clients", path=options.scratch, side=side.module, **arguments)
            read.append((run["records"], run["clicks"]))
            if read[-1] != read[0]:
                raise RuntimeError(f"{side.name} read other records than {sides[0].name}")
            return run

        close_runs = 1 if case.latency or options.quick else CLOSE_RUNS
        return take_turns(sides, options.rounds, measure, close=CLOSE, close_runs=close_runs)


def _table(sides: Sequence[Side], rounds: Rounds) -> str:
    rows = []
    for side in sides:
        runs = rounds[side.name]
        to_bare, to_records = ratio(runs, rounds[BARE.name], "cpu_us"), ratio(runs, rounds[RECORDS.name], "cpu_us")
        rows.append(
            (
                side.name,
                f"{median(runs, 'cpu_us'):.0f}",
                f"{to_bare:.2f}",
                f"{to_records:.2f}",
                f"{median(runs, 'wall_s'):.2f}",
                f"{median(runs, 'first_ms'):.1f}",
                f"{median(runs, 'peak_mib'):.0f}",
            )
        )
    head = ("", "CPU a page, µs", "× bare", "× records", "wall, s", "first record, ms", "peak, MiB")
    return table(head, rows)


def _targets(case: Case, rounds: Rounds) -> str:
    lines = []
    for side, base, in_flight, bound, limit in TARGETS:
        if in_flight == case.in_flight and side.name in rounds:
            times = ratio(rounds[side.name], rounds[base.name], "cpu_us")
            held = times <= limit if bound == "at most" else times >= limit
            verdict = "held" if held else "**missed**"
            line = f"- {side.name} costs {times:.2f}× {base.name}; wanted {bound} {limit:g}×: {verdict}"
            # No client on aiohttp can be further away than the bare loop.
            if bound == "at least":
                line += f" (of the {BARE.name}: {ratio(rounds[side.name], rounds[BARE.name], 'cpu_us'):.2f}×)"
            lines.append(line)
    return "\n".join(lines)
