"""The command `clicksgroup`, also `python -m clicksgroup`."""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Run the command line (extra `cli`)."""
    for name in ("stdout", "stderr"):
        # The shell closes them with >&-.
        if getattr(sys, name) is None:
            # It stays open until the process ends.
            setattr(sys, name, open(os.open(os.devnull, os.O_WRONLY), "w", closefd=False))  # noqa: SIM115
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        # Ctrl-C ends the imports and the reading of arguments without a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
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
