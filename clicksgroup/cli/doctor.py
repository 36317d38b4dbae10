"""`clicksgroup doctor`: checks whether the service is as it is documented."""

from __future__ import annotations

import datetime

import attrs
import click
from rich.table import Table
from rich.text import Text

from clicksgroup.cli import options
from clicksgroup.cli.console import format_count, note, print_json, printable, stdout
from clicksgroup.cli.resources import new_session, open_client
from clicksgroup.cli.run import FAILED, run_async
from clicksgroup.dates import has_begun, parse_date
from clicksgroup.doctor import REQUESTS, Finding, Recorder, Verdict, examine
from clicksgroup.errors import ConfigurationError
from clicksgroup.retries import RetryPolicy

_STYLES = {Verdict.HELD: "green", Verdict.DIFFERS: "bold red", Verdict.NOT_SEEN: "yellow"}


@click.command(
    short_help="Check whether the service is as documented.",
    epilog="""\b
Examples:
  clicksgroup doctor
  clicksgroup doctor 2025-01-31 --groups 151,207,209
  clicksgroup doctor --sandbox

\b
--json prints one object: date, requests, findings; each finding has assumption, verdict ("held",
"differs" or "not seen"), came and advice.""",
)
@click.argument("date", required=False)
@options.group_ids
@options.as_json
@options.access
@options.verbose
@run_async
async def doctor(date: str | None, groups: tuple[int, ...] | None, as_json: bool, access: options.Access) -> int | None:
    """Ask for one date (by default the day before yesterday) and check each assumption about the service.

    This client was written from the vendor's documentation alone. Each assumption held, differs (then the command says
    what came and what to set), or was not seen. It takes two requests, or three if the date has more than 30 groups.
    Best is a date that is over, with more than 30 groups. The exit status is 1 if anything differs.
    """
    now = datetime.datetime.now(datetime.UTC)
    before_yesterday = now.date() - datetime.timedelta(days=2)
    day = parse_date(date, "DATE") if date is not None else before_yesterday
    if not has_begun(day, now):
        raise ConfigurationError(
            f"DATE: {day} has not begun anywhere on Earth; name one that is over, such as {before_yesterday}"
        )
    access = attrs.evolve(access, check="warn")
    note(f"asking about {day}: two requests, or {REQUESTS} if there is more than one page", "dim")
    recorder = Recorder()
    async with (
        new_session(access, recorder) as session,
        open_client(access, session=session, retry=RetryPolicy(attempts=1)) as opened,
    ):
        findings = await examine(opened.client, recorder, day, groups=groups)
        sent = opened.client.stats.requests
    if as_json:
        shown = [attrs.asdict(finding) | {"verdict": finding.verdict.value} for finding in findings]
        print_json({"date": day, "requests": sent, "findings": shown})
    else:
        _print(findings)
    verdicts = [finding.verdict for finding in findings]
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict.value}" for verdict in Verdict)
    note(f"{counts}; {format_count(sent, 'request')}")
    return FAILED if Verdict.DIFFERS in verdicts else None


def _print(findings: list[Finding]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for finding in findings:
        text = Text(finding.assumption)
        if finding.came:
            text.append(f": {printable(finding.came)}", "dim" if finding.verdict is Verdict.HELD else "")
        if finding.advice:
            text.append(f"\n→ {finding.advice}", "yellow")
        table.add_row(Text(finding.verdict.value, _STYLES[finding.verdict]), text)
    stdout().print(table)
