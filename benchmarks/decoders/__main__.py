"""Runs one decoder in a process of its own: `python -m benchmarks.decoders ARGUMENTS`, where both ways are JSON."""

from __future__ import annotations

import importlib
import json
import sys
import time
from typing import Any

from benchmarks.decoders.malformed import BODIES
from benchmarks.page_server import page_body

WARM_UP = 20


def main(side: str, times: int) -> dict[str, Any]:
    """Decode a page of 30 records `times` times, then each malformed body once."""
    decode = importlib.import_module(f"benchmarks.decoders.{side}").decode
    body = page_body(1, 10)
    for _ in range(WARM_UP):
        assert len(decode(body)) == 30
    began = time.process_time()
    for _ in range(times):
        decode(body)
    cpu = time.process_time() - began
    return {"cpu_us": cpu / times * 1e6, "accepted": [name for name, bad in BODIES.items() if _accepts(decode, bad)]}


def _accepts(decode: Any, body: bytes) -> bool:
    try:
        decode(body)
    except Exception:
        return False
    return True


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
