"""The walk: 150 dates of 10 pages, what each way to read them costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from benchmarks import generator
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
from benchmarks.pageserver import page_server

PAGES = 10
LATENCY = 0.02
IN_FLIGHT = (1, 8, 32)

BARE = Side("bare loop", "bare")
RECORDS = Side("bare loop + records", "records")
OURS = Side("clicksgroup", "ours")
HTTPX = Side("httpx + pydantic", "httpx_pydantic", ("httpx", "pydantic"))
REQUESTS = Side("requests + threads", "requests_threads", ("requests",))
DLT = Side("dlt RESTClient", "dlt_rest", ("dlt",))
GENERATED = Side("openapi-python-client", "generated", ("openapi-python-client", "httpx"))

SIDES = (BARE, RECORDS, OURS, HTTPX, REQUESTS, DLT, GENERATED)
ASYNC_SIDES = (BARE, RECORDS, OURS, HTTPX, GENERATED)

CLOSE = (BARE, RECORDS, OURS)
TIMES = 5
"""How often those run in each round: tenths between them count, and one run of half a second may be off by two."""

TARGETS = (
    (OURS, BARE, 1, "at most", 1.25),
    (OURS, BARE, 8, "at most", 1.45),
    (OURS, RECORDS, 1, "at most", 1.15),
    (OURS, RECORDS, 8, "at most", 1.25),
    (HTTPX, OURS, 1, "at least", 4.0),
    (HTTPX, OURS, 8, "at least", 6.0),
    (DLT, OURS, 1, "at least", 8.0),
    (DLT, OURS, 8, "at least", 8.0),
)
"""What the project promises of the CPU a page, without latency: whose, against whose, how many in flight."""


@attrs.frozen
class Case:
    """What all sides are to do alike."""

    in_flight: int
    dates: int
    latency: float = 0.0
    loop: str = "asyncio"

    def __str__(self) -> str:
        latency = f", {self.latency * 1e3:g} ms of latency" if self.latency else ""
        return f"{self.in_flight} in flight{latency}{', uvloop' if self.loop == 'uvloop' else ''}: {self.dates} dates"


def run(options: Options) -> str:
    """Walk, and say what it cost."""
    sides, left_out = split_by_missing(SIDES)
    if GENERATED in sides:
        try:
            generator.generate(options.scratch)
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


def brief(tables: str) -> str:
    """What the README quotes of them: the first two cases, those that have targets."""
    head, *cases = tables.split("\n\n**")
    return "\n\n**".join([head, *cases[:2]])


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
    with page_server(PAGES, case.latency) as url:
        arguments: dict[str, Any] = {
            "url": url,
            "pages": PAGES,
            "dates": case.dates,
            "in_flight": case.in_flight,
            "loop": case.loop,
        }

        truth: list[tuple[float, float]] = []

        def measure(side: Side) -> Measures:
            run = in_fresh_process("benchmarks.walkers", path=options.scratch, side=side.module, **arguments)
            truth.append((run["records"], run["clicks"]))
            if truth[-1] != truth[0]:
                raise RuntimeError(f"{side.name} did not read what {sides[0].name} has read")
            return run

        times = 1 if case.latency or options.quick else TIMES
        return take_turns(sides, options.rounds, measure, close=CLOSE, times=times)


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
            if bound == "at least":  # no client on aiohttp can be further away than its bare loop
                line += f" (of the {BARE.name}: {ratio(rounds[side.name], rounds[BARE.name], 'cpu_us'):.2f}×)"
            lines.append(line)
    return "\n".join(lines)
