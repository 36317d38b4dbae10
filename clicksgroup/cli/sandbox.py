"""`clicksgroup sandbox`: the made-up account as a server of its own."""

from __future__ import annotations

import asyncio
import contextlib

import click

from clicksgroup.cli import options
from clicksgroup.cli.console import say
from clicksgroup.cli.run import run
from clicksgroup.errors import ConfigurationError
from clicksgroup.plans import Plan, Quota


@click.command(
    short_help="A made-up account as a local server, to develop against.",
    epilog="""\b
Examples:
  clicksgroup sandbox
  clicksgroup sandbox --port 8080 --groups 300 --plan premium --latency 0.2""",
)
@click.option("--groups", type=click.IntRange(0, 10_000), default=95, show_default=True, help="Groups a date lists.")
@click.option("--plan", default="business", show_default=True, help="Whose rules and quota hold.")
@click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same clicks.")
@click.option("--latency", type=click.FloatRange(0), default=0.0, help="Seconds that every answer takes.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Where to listen.  [default: any free port]")
@click.option(
    "--quota", "limits", multiple=True, type=options.limit, metavar="N/SECONDS",
    help="Allow N requests in any SECONDS, instead of the plan's documented quota; repeat for more limits.",
)  # fmt: skip
@click.option("--in-flight", type=click.IntRange(1), metavar="N", help="Allow N requests open at once.")
def sandbox(
    groups: int,
    plan: str,
    seed: int,
    latency: float,
    port: int,
    limits: tuple[tuple[int, float], ...],
    in_flight: int | None,
) -> None:
    """Run a server that behaves as the vendor's API is documented to, until it is interrupted.

    It listens on this machine only, checks key, User-Agent and plan, keeps the quota (429 to what goes over it), and
    lists the same made-up clicks for ever. What it prints are the lines to paste into another shell.
    """
    documented = Quota.of(plan)
    quota = Quota(*(limits or documented.limits), in_flight=in_flight or documented.in_flight)
    run(_serve(groups, Plan.parse(plan), seed, latency, port, quota))


async def _serve(groups: int, plan: Plan, seed: int, latency: float, port: int, quota: Quota) -> None:
    from clicksgroup.sandbox import Sandbox

    async with contextlib.AsyncExitStack() as exits:
        try:
            sandbox = await exits.enter_async_context(Sandbox(groups, plan, seed, latency, quota, port=port))
        except OSError as error:
            raise ConfigurationError(f"--port: cannot listen on port {port}: {error.strerror}; name another") from None
        click.echo(f"export CLICKSGROUP_BASE_URL={sandbox.url}")
        click.echo(f"export CLICKSGROUP_API_KEY={sandbox.api_key}")
        click.echo(f"export CLICKSGROUP_PLAN={plan.value}")
        say(f"sandbox listening on {sandbox.url}; paste the lines above into another shell. Ctrl-C ends it", "dim")
        if quota != Quota.of(plan):
            say(f"its quota is not the plan's: give clients {_as_options(quota)}", "dim")
        await asyncio.Event().wait()


def _as_options(quota: Quota) -> str:
    limits = [f"--quota {count}/{window:g}" for count, window in quota.limits]
    return " ".join([*limits, f"--in-flight {quota.in_flight}"])
