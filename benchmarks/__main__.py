"""`python -m benchmarks [PART ...]`: compare clients, decoders, limiters and stores, and print Markdown."""

from __future__ import annotations

import argparse
import importlib
import re
import sys
import tempfile
from pathlib import Path

from benchmarks.harness import Options

PARTS = {
    "walk": "What a page costs",
    "decode": "What decoding costs, and what it lets through",
    "scale": "A longer stream",
    "latency": "How long a user waits for a large date",
    "quota": "What is used of a quota, and what goes over it",
    "store": "Storing a year",
}
ROUNDS = 5


def main(arguments: list[str] | None = None) -> None:
    """Run the named parts, or all of them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="only show that it runs; the numbers mean nothing")
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, help="how many times each side runs (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="also write a file with the tables of each part")
    parser.add_argument(
        "--refresh",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="also put the tables into a Markdown file, between <!-- PART --> and <!-- /PART -->",
    )
    chosen = parser.parse_args(arguments)
    for part in chosen.parts or PARTS:
        if part not in PARTS:
            parser.error(f"there is no part {part!r}; there are {', '.join(PARTS)}")
    if chosen.out is not None:
        chosen.out.mkdir(parents=True, exist_ok=True)
    for part in chosen.parts or PARTS:
        with tempfile.TemporaryDirectory(prefix="clicksgroup-benchmarks-") as scratch:
            options = Options(chosen.quick, 1 if chosen.quick else chosen.rounds, Path(scratch))
            print(f"{part}:", file=sys.stderr)
            module = importlib.import_module(f"benchmarks.{part}")
            tables: str = module.run(options)
        print(f"## {part}: {PARTS[part]}\n\n{tables}\n", flush=True)
        if chosen.out is not None:
            (chosen.out / f"{part}.md").write_text(f"{tables}\n")
        for file in chosen.refresh:
            refresh(file, part, tables)


def refresh(file: Path, part: str, tables: str) -> None:
    """Replace the text between the marks of a part, where the file has them."""
    marks = re.compile(rf"(<!-- {part} -->\n).*?(<!-- /{part} -->)", re.DOTALL)
    file.write_text(marks.sub(lambda found: f"{found[1]}\n{tables}\n\n{found[2]}", file.read_text()))


if __name__ == "__main__":
    main()
