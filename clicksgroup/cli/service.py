"""`clicksgroup doctor` and `sandbox`: whether the service is as documented, and a server that is."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import functools

import attrs
import click
from rich.table import Table
from rich.text import Text

from clicksgroup.cli import options
from clicksgroup.cli.console import format_count, note, print_json, printable, say, stdout
from clicksgroup.cli.resources import Access, open_client
from clicksgroup.cli.run import FAILED, run_async
from clicksgroup.dates import has_begun, parse_date
from clicksgroup.doctor import REQUESTS, Finding, Recorder, Verdict, examine
from clicksgroup.errors import ConfigurationError
from clicksgroup.plans import Quota
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
@options.access_that_warns
@options.verbose
@run_async
async def doctor(date: str | None, groups: tuple[int, ...] | None, as_json: bool, access: Access) -> int | None:
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
    recorder = Recorder()
    async with open_client(access, recorder, retry=RetryPolicy(attempts=1)) as opened:
        note(f"asking about {day}: two requests, or {REQUESTS} if there is more than one page", style="dim")
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


@click.command(
    short_help="Run a local server with made-up clicks, to develop against.",
    epilog="""\b
Examples:
  clicksgroup sandbox
  clicksgroup sandbox --port 8080 --groups 300 --plan premium --latency 0.2""",
)
@click.option(
    "--groups", type=click.IntRange(0, 10_000), default=95, show_default=True, metavar="N", help="Groups of each date."
)
@options.gathered(
    "access", functools.partial(Access, sandbox=False),
    click.option(
        "--plan", default="business", show_default=True, metavar="PLAN", help="Plan whose rules and quota hold."
    ),
    *options.QUOTA,
)  # fmt: skip
@click.option(
    "--seed", type=int, default=0, show_default=True, metavar="N", help="The same seed gives the same clicks."
)
@click.option(
    "--latency", type=click.FloatRange(0), default=0.0, metavar="SECONDS", help="Time that each answer takes."
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, show_default="any free port", help="Port to listen on."
)
@run_async
async def sandbox(groups: int, access: Access, seed: int, latency: float, port: int) -> None:
    """Run a server that behaves as the vendor documents its API, until it is interrupted.

    It listens on this machine only. It checks the key, the User-Agent and the plan, answers 429 to requests over the
    quota, and always lists the same made-up clicks. It prints the lines to paste into another shell.
    """
    from clicksgroup.sandbox import Sandbox

    async with contextlib.AsyncExitStack() as stack:
        server = Sandbox(groups, access.plan_in_force, seed, latency, access.quota, port=port)
        try:
            await stack.enter_async_context(server)
        except OSError as error:
            raise ConfigurationError(
                f"--port: cannot listen on port {port}: {error.strerror}; name another port"
            ) from None
        click.echo(f"export CLICKSGROUP_BASE_URL={server.url}")
        click.echo(f"export CLICKSGROUP_API_KEY={server.api_key}")
        click.echo(f"export CLICKSGROUP_PLAN={server.plan.value}")
        say(f"sandbox listening on {server.url}; paste the lines above into another shell. Ctrl-C ends it", "dim")
        if access.quota != Quota.of(server.plan):
            limits = "".join(f" --quota {count}/{window:g}" for count, window in access.quota.limits)
            say(f"its quota is not the plan's: give clients{limits} --in-flight {access.quota.in_flight}", "dim")
        await asyncio.Event().wait()
