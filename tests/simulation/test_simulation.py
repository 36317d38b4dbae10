"""Every promise in 300 worlds, other ones each day; `python -m tests.simulation --world SEED` replays one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.simulation.__main__ import first_seed
from tests.simulation.mutants import MUTANTS, hunt
from tests.simulation.world import run_world

WORLDS = 300
FOUND: dict[int, str] = {}
"""Worlds that showed a fault of the package once, by what they showed."""


@pytest.mark.parametrize("part", range(10))
def test_worlds(part: int) -> None:
    """Whatever network, vendor and readers do, all promises hold."""
    size = WORLDS // 10
    first = first_seed() + part * size
    failed = {}
    for seed in range(first, first + size):
        if found := run_world(seed).problems:
            failed[seed] = found
    said = "\n".join(f"python -m tests.simulation --world {seed}: {found[0]}" for seed, found in failed.items())
    assert not failed, said


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutants(mutant: str) -> None:
    """A fault that is put into the package is noticed within 300 worlds."""
    caught = hunt(mutant, range(1, WORLDS + 1))
    assert caught.seed is not None, caught


def test_replay() -> None:
    """A world is the same, byte for byte, in another process with another hash seed."""
    for seed in (8, 1002):
        here = run_world(seed, trace=True).trace
        command = [sys.executable, "-m", "tests.simulation", "--world", str(seed)]
        there = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONHASHSEED": str(seed)}).stdout
        assert len(here) > 20
        assert there.decode().splitlines() == [line for text in here for line in text.splitlines()]
