"""The command line (extra `cli`): arguments, progress and exit status on top of the library. Provisional."""

from __future__ import annotations

import sys
from typing import Any

try:
    import click
    import rich as _rich  # noqa: F401 - tried here, so that the error names the extra
except ImportError as error:
    raise ImportError('the command line needs an extra: pip install "clicksgroup[cli]"') from error

from clicksgroup.cli import backfill, clicks, doctor, estimate, reading, sandbox
from clicksgroup.cli.console import say, speak_utf8
from clicksgroup.cli.run import guarded

__all__ = ["clicksgroup"]


class _OneLineErrors(click.Group):
    """Says wrong usage in one line, too."""

    def main(self, *args: Any, **options: Any) -> Any:
        do: Any = super().main
        if not options.pop("standalone_mode", True):
            return do(*args, standalone_mode=False, **options)
        speak_utf8()
        try:
            with guarded():
                sys.exit(do(*args, standalone_mode=False, **options) or 0)
        except click.ClickException as error:
            _show(error)
            sys.exit(error.exit_code)


def _show(error: click.ClickException) -> None:
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":  # which click 8.1 does not have
        error.show()
        return
    help_at = f" (see: {context.command_path} --help)" if context is not None else ""
    say(f"error: {error.format_message()}{help_at}", "bold red")


@click.group(
    cls=_OneLineErrors,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Try it without a key, against a made-up account on this machine:
  clicksgroup clicks yesterday --sandbox
  clicksgroup chart --sandbox

\b
With your own (see each command's --help):
  export CLICKSGROUP_API_KEY=... CLICKSGROUP_PLAN=business
  clicksgroup clicks yesterday
  clicksgroup backfill 2025-01 yesterday --store clicks.db
  clicksgroup chart --store clicks.db

\b
Exit status: 0 done, 1 failed, 2 wrong usage, 3 incomplete: run it again to go on,
130 or 143 interrupted: run it again to go on, where that applies.""",
)
@click.version_option(package_name="clicksgroup", message="%(package)s %(version)s")
def clicksgroup() -> None:
    """Clicks per link group from Vivoldi's API, within its quota.

    The quota is the scarce thing: a year of 100 groups takes an hour on Business. Commands that run at the same time
    on this machine share it by themselves; with --redis those on other machines do too.
    """


for _command in (
    clicks.clicks,
    estimate.estimate,
    backfill.backfill,
    reading.status,
    reading.export,
    reading.chart,
    doctor.doctor,
    sandbox.sandbox,
):
    clicksgroup.add_command(_command)
