"""`clicksgroup backfill`: fill the store with what is missing or not final."""

from __future__ import annotations

import datetime
import time
from typing import TYPE_CHECKING

import attrs
import click
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from clicksgroup.cli import options, progress, words
from clicksgroup.cli.console import LiveLine, is_watched, say, stderr
from clicksgroup.cli.run import FAILED, INCOMPLETE, Resumption, run
from clicksgroup.cli.session import Session, open_client
from clicksgroup.dates import DateRange
from clicksgroup.errors import ConfigurationError

if TYPE_CHECKING:
    from clicksgroup.store import BackfillProgress, BackfillReport

LINE_SECONDS = 300.0
"""Between two lines of progress where nobody watches, so that a log of hours stays within a screen or two."""

MOST_FAILURES = 10
"""Failed dates that are named."""

_WIDEST_BAR = 72
_AGAIN = "run the same command again to go on where it stopped"
_AGAIN_AFTER_REFRESH = "run it again without --refresh to fetch what is missing"  # with it, all would be asked anew


@click.command(
    short_help="Fetch what a store lacks, and keep it.",
    epilog="""\b
Examples:
  clicksgroup backfill 2025-01 yesterday --store clicks.db
  clicksgroup backfill 2024-01 2024-12 --store clicks.db --plan business
  clicksgroup backfill 2025-01 --sandbox --store try.db

\b
Every day at seven, with store, key and plan in the environment:
  0 7 * * * clicksgroup backfill 2025-01 yesterday --settle 3d""",
)
@options.dates()
@options.store
@options.settle
@options.groups
@click.option("--refresh", is_flag=True, help="Ask for dates again that are final.")
@options.access
@options.check
@options.verbose
def backfill(
    dates: DateRange,
    choice: options.StoreChoice,
    settle: datetime.timedelta,
    groups: tuple[int, ...] | None,
    refresh: bool,
    access: options.Access,
) -> None:
    """Fetch the dates from START to END that the store lacks, or has from before they were final.

    Each date is stored as soon as it is complete. Whatever ends the job (Ctrl-C, an outage, a reboot), the same
    command goes on where it stopped, and once all is there it sends nothing.

    A date is final when it was fetched after it had ended everywhere on Earth (12:00 UTC of the next day), plus
    --settle.
    """
    resumption = Resumption(_AGAIN_AFTER_REFRESH if refresh else _AGAIN)
    run(_backfill(dates, choice, settle, groups, refresh, access, resumption), resumption)


async def _backfill(
    dates: DateRange,
    choice: options.StoreChoice,
    settle: datetime.timedelta,
    groups: tuple[int, ...] | None,
    refresh: bool,
    access: options.Access,
    resumption: Resumption,
) -> int | None:
    from clicksgroup.cli.stores import open_to_write
    from clicksgroup.store.coverage import has_begun

    if not has_begun(dates[-1], datetime.datetime.now(datetime.UTC)):
        raise ConfigurationError(
            f"END: {dates[-1]} has not begun anywhere on Earth; say yesterday or today: "
            f"clicksgroup backfill {dates[0]} yesterday"
        )
    async with open_to_write(choice, settle, sandbox=access.sandbox) as store, open_client(access) as session:
        shown = _Shown(session, len(dates))
        try:
            async with progress.ticking(shown.tick):
                report = await store.backfill(
                    session.client, dates, groups=groups, progress=shown.update, refresh=refresh
                )
        finally:
            shown.end()
            resumption.begun = session.client.stats.requests > 0
    return _summarise(report, refresh=refresh)


@attrs.define
class _Shown:
    """How far the job is: a bar where somebody watches, else a line now and then."""

    session: Session
    total: int
    line: LiveLine = attrs.field(factory=LiveLine)
    now: BackfillProgress | None = None
    heard_at: float = 0.0
    said_at: float = attrs.field(factory=time.monotonic)

    def update(self, now: BackfillProgress) -> None:
        self.now = now
        self.heard_at = time.monotonic()

    def tick(self) -> None:
        if is_watched():
            self.line.show(self._drawn())
        elif time.monotonic() - self.said_at >= LINE_SECONDS:
            self.said_at = time.monotonic()
            say(self._text())

    def end(self) -> None:
        self.line.hide()

    def _drawn(self) -> Table:
        drawn = Table.grid()
        done = self.now.done if self.now else 0
        drawn.add_row(ProgressBar(total=self.total, completed=done, width=min(stderr.width, _WIDEST_BAR)))
        drawn.add_row(Text(self._text(), style="dim", no_wrap=True, overflow="ellipsis"))
        return drawn

    def _text(self) -> str:
        now = self.now
        eta = now.eta if now is not None else None
        if eta:
            eta = max(eta - (time.monotonic() - self.heard_at), 0.0)
        parts = [
            f"{now.done if now else 0:,} of {words.count(self.total, 'date')}",
            words.count(self.session.client.stats.requests, "request"),
            progress.waiting(self.session),
            progress.left(eta),
        ]
        return " · ".join(part for part in parts if part)


def _summarise(report: BackfillReport, *, refresh: bool) -> int | None:
    failed = len(report.failed)
    parts = [
        f"{words.count(report.fetched, 'date')} fetched",
        f"{report.skipped:,} final already" if report.skipped else "",
        f"{failed:,} failed" if failed else "",
        words.count(report.requests, "request"),
        words.duration(report.seconds),
    ]
    for date in sorted(report.failed)[:MOST_FAILURES]:
        say(f"failed: {report.failed[date]}", "red")
    if failed > MOST_FAILURES:
        say(f"… and {words.count(failed - MOST_FAILURES, 'date')} more: clicksgroup status shows which", "red")
    say(" · ".join(part for part in parts if part))
    if not failed:
        return None
    if report.fetched + report.skipped == 0:
        return FAILED
    say(_AGAIN_AFTER_REFRESH if refresh else "run the same command again to ask for those that failed")
    return INCOMPLETE
