"""The command `clicksgroup`, also `python -m clicksgroup`."""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Run the command line (extra `cli`)."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed, with >&-
            setattr(sys, name, open(os.open(os.devnull, os.O_WRONLY), "w", closefd=False))  # noqa: SIM115 - for good
    if sys.platform != "win32" and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until there is work to end: at once, without a traceback
    try:
        from clicksgroup.cli import clicksgroup
    except ImportError as error:
        if "clicksgroup[cli]" not in str(error):
            raise
        print(error, file=sys.stderr)  # noqa: T201
        sys.exit(2)
    clicksgroup(prog_name="clicksgroup")


if __name__ == "__main__":
    main()
