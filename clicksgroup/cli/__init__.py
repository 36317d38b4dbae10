"""The command line (extra `cli`): arguments, progress and exit status on top of the library. Provisional."""

from __future__ import annotations

import io
import sys
from typing import Any, NoReturn

try:
    import click

    # Imported here only so that the error names the extra.
    import rich as _rich  # noqa: F401
except ImportError as error:
    raise ImportError('the command line needs an extra: pip install "clicksgroup[cli]"') from error

from clicksgroup.cli import backfill, clicks, reading, service
from clicksgroup.cli.run import exit_on_error
from clicksgroup.settings import package_version

__all__ = ["clicksgroup"]


class _Commands(click.Group):
    """Every error is one line on stderr, wrong usage included."""

    def main(self, *args: Any, **options: Any) -> NoReturn:
        for stream in (sys.stdout, sys.stderr):
            # UTF-8 whatever the locale is. A character that cannot be encoded is escaped.
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(encoding="utf-8", errors="backslashreplace")
        with exit_on_error():
            call: Any = super().main
            sys.exit(call(*args, **(options | {"standalone_mode": False})) or 0)


@click.group(
    cls=_Commands,
    commands=[
        clicks.clicks,
        clicks.totals,
        clicks.groups,
        backfill.estimate,
        backfill.backfill,
        reading.status,
        reading.export,
        reading.chart,
        service.doctor,
        service.sandbox,
    ],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Try it without a key, with made-up clicks:
  clicksgroup clicks yesterday --sandbox
  clicksgroup chart --sandbox

\b
With your own key (each command has a --help):
  export CLICKSGROUP_API_KEY=... CLICKSGROUP_PLAN=business
  clicksgroup clicks yesterday
  clicksgroup backfill 2025-01 yesterday --store clicks.db
  clicksgroup chart --store clicks.db

\b
Completion of commands, plans and files (for zsh or fish, write that instead of bash):
  eval "$(_CLICKSGROUP_COMPLETE=bash_source clicksgroup)"

\b
Exit status: 0 done, 1 failed, 2 wrong usage, 3 incomplete (run the command again to continue),
129, 130 or 143 interrupted by SIGHUP, SIGINT or SIGTERM (backfill continues where it stopped).""",
)
@click.version_option(package_version(), message="clicksgroup %(version)s")
def clicksgroup() -> None:
    """Fetch clicks per link group from Vivoldi's API, within its quota.

    The quota decides how long a job takes: a year of 100 groups takes an hour on the Business plan. Commands that run
    on this machine at the same time share the quota of a key. With --redis, other machines share it too.
    """
