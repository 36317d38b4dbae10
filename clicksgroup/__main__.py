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
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("click", "rich"):
            raise
        print('the command line needs an extra: pip install "clicksgroup[cli]"', file=sys.stderr)  # noqa: T201
        sys.exit(2)
    clicksgroup(prog_name="clicksgroup")


if __name__ == "__main__":
    main()
