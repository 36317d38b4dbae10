"""The decoding: what it costs to make records of a body, and which malformed bodies are accepted."""

from __future__ import annotations

from typing import Any

from benchmarks.decoders.malformed import BODIES
from benchmarks.harness import (
    Measures,
    Options,
    Side,
    in_fresh_process,
    machine,
    median,
    ratio,
    split_by_missing,
    table,
    take_turns,
)

ALONE = Side("orjson alone", "orjson_alone")
OURS = Side("clicksgroup", "clicksgroup_decoder")
SIDES = (
    ALONE,
    OURS,
    Side("cattrs", "cattrs_default"),
    Side("pydantic", "pydantic_lax", ("pydantic",)),
    Side("pydantic, strict", "pydantic_strict", ("pydantic",)),
    Side("msgspec", "msgspec_structs", ("msgspec",)),
)


def run(options: Options) -> str:
    """Run all decoders, and return the tables."""
    sides, left_out = split_by_missing(SIDES)
    times = 200 if options.quick else 20_000
    accepted: dict[str, list[str]] = {}

    def measure(side: Side) -> Measures:
        answer: dict[str, Any] = in_fresh_process("benchmarks.decoders", side=side.module, times=times)
        accepted[side.name] = answer.pop("accepted")
        return answer

    rounds = take_turns(sides, options.rounds, measure)
    costs = [
        (
            side.name,
            f"{median(rounds[side.name], 'cpu_us'):.1f}",
            f"{ratio(rounds[side.name], rounds[ALONE.name], 'cpu_us'):.2f}",
            f"{len(accepted[side.name])} of {len(BODIES)}",
        )
        for side in sides
    ]
    bodies = [
        (body, *("accepts" if body in accepted[side.name] else "·" for side in sides))
        for body in BODIES
        if any(body in accepted[side.name] for side in sides)
    ]
    versions = machine(["attrs", "cattrs", "orjson", "pydantic", "msgspec"])
    cost_table = table(("", "CPU a page of 30, µs", "× orjson", "malformed bodies accepted"), costs)
    refused = [body for body in BODIES if not any(body in names for names in accepted.values())]
    body_table = table(("malformed body", *(side.name for side in sides)), bodies)
    all_refuse = f"All refuse: {', '.join(refused)}."
    return "\n\n".join([versions, *(["\n".join(left_out)] if left_out else []), cost_table, body_table, all_refuse])
