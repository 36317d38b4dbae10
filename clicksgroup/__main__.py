"""The command `clicksgroup`, also `python -m clicksgroup`."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run the command line (extra `cli`)."""
    if sys.platform != "win32":
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
