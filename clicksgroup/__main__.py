"""The command `clicksgroup`, also `python -m clicksgroup`."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from types import FrameType


def main() -> None:
    """Run the command line (extra `cli`)."""
    _open_closed_streams()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signum = getattr(signal, name, signal.SIGTERM)
        if signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, _interrupted)
    try:
        from clicksgroup.cli import clicksgroup
    except ImportError as error:
        if "clicksgroup[cli]" not in str(error):
            raise
        print(error, file=sys.stderr)  # noqa: T201
        sys.exit(2)
    clicksgroup(prog_name="clicksgroup")


def _interrupted(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
    """Before and after the work, a signal ends the process at once, with one line."""
    with contextlib.suppress(OSError):
        os.write(2, b"interrupted\n")
    os._exit(128 + signum)


def _open_closed_streams() -> None:
    """Open what the shell has closed with `>&-`, so that no other file gets its number and what is printed there."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # It gets the lowest number that is free.
            os.open(os.devnull, os.O_RDWR)
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w", closefd=False))  # noqa: SIM115


if __name__ == "__main__":
    main()
