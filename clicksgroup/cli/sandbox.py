"""`clicksgroup sandbox`: a server with made-up clicks."""

from __future__ import annotations

import asyncio
import contextlib

import click

from clicksgroup.cli.console import say
from clicksgroup.cli.parsing import parse_limit
from clicksgroup.cli.run import run_async
from clicksgroup.errors import ConfigurationError
from clicksgroup.plans import Quota


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
@click.option("--plan", default="business", show_default=True, metavar="PLAN", help="Plan whose rules and quota hold.")
@click.option(
    "--seed", type=int, default=0, show_default=True, metavar="N", help="The same seed gives the same clicks."
)
@click.option(
    "--latency", type=click.FloatRange(0), default=0.0, metavar="SECONDS", help="Time that each answer takes."
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, show_default="any free port", help="Port to listen on."
)
@click.option(
    "--quota", "limits", multiple=True, type=parse_limit, metavar="N/SECONDS",
    help="Allow N requests in SECONDS, such as 24/60, instead of the plan's documented quota. Repeat it for several "
    "limits.",
)  # fmt: skip
@click.option(
    "--in-flight", type=click.IntRange(1), show_default="the plan's", metavar="N", help="Allow N open requests."
)
@run_async
async def sandbox(
    groups: int,
    plan: str,
    seed: int,
    latency: float,
    port: int,
    limits: tuple[tuple[int, float], ...],
    in_flight: int | None,
) -> None:
    """Run a server that behaves as the vendor documents its API, until it is interrupted.

    It listens on this machine only. It checks the key, the User-Agent and the plan, answers 429 to requests over the
    quota, and always lists the same made-up clicks. It prints the lines to paste into another shell.
    """
    from clicksgroup.sandbox import Sandbox

    documented = Quota.of(plan)
    quota = Quota(*(limits or documented.limits), in_flight=in_flight or documented.in_flight)
    async with contextlib.AsyncExitStack() as stack:
        try:
            server = await stack.enter_async_context(Sandbox(groups, plan, seed, latency, quota, port=port))
        except OSError as error:
            raise ConfigurationError(
                f"--port: cannot listen on port {port}: {error.strerror}; name another port"
            ) from None
        click.echo(f"export CLICKSGROUP_BASE_URL={server.url}")
        click.echo(f"export CLICKSGROUP_API_KEY={server.api_key}")
        click.echo(f"export CLICKSGROUP_PLAN={server.plan.value}")
        say(f"sandbox listening on {server.url}; paste the lines above into another shell. Ctrl-C ends it", "dim")
        if quota != documented:
            say(f"its quota is not the plan's: give clients {_as_options(quota)}", "dim")
        await asyncio.Event().wait()


def _as_options(quota: Quota) -> str:
    limits = [f"--quota {count}/{window:g}" for count, window in quota.limits]
    return " ".join([*limits, f"--in-flight {quota.in_flight}"])
