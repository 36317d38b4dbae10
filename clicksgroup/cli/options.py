"""The options and arguments that commands share."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import attrs
import click
from click.core import ParameterSource

from clicksgroup.cli.console import VERBOSITY
from clicksgroup.cli.parsing import (
    ALL,
    parse_dates,
    parse_duration,
    parse_groups,
    parse_limit,
    parse_proxy,
    require_begun,
    today_in,
)
from clicksgroup.dates import DateRange
from clicksgroup.plans import Plan, Quota

F = TypeVar("F", bound=Callable[..., Any])

SANDBOX_IN_FLIGHT = 4
"""The only limit of a sandbox without --plan: it is there to try things out."""


@attrs.frozen
class Access:
    """How a command reaches the API, or a sandbox on this machine instead."""

    sandbox: bool
    plan: str | None = None
    # Pairs of requests and seconds, instead of the plan's.
    limits: tuple[tuple[int, float], ...] = ()
    in_flight: int | None = None
    redis: str | None = None
    base_url: str | None = None
    user_agent: str | None = None
    api_version: Any = "v1"
    check: Any = "strict"
    proxy: str | None = None
    # None for the key of the environment, `-` for stdin.
    api_key_file: str | None = None

    @property
    def plan_in_force(self) -> Plan:
        """The plan that was named, or the default."""
        return Plan.parse(self.plan or (Plan.BUSINESS if self.sandbox else Plan.PERSONAL))

    @property
    def quota(self) -> Quota:
        """The plan's documented quota, as far as the options do not replace it. A sandbox without a plan is fast."""
        unlimited = self.sandbox and self.plan is None
        documented = Quota(in_flight=SANDBOX_IN_FLIGHT) if unlimited else Quota.of(self.plan_in_force)
        return Quota(*(self.limits or documented.limits), in_flight=self.in_flight or documented.in_flight)


@attrs.frozen
class StoreChoice:
    """Which store, whose dates in it, and which of them are final. A sandbox without a location has made-up clicks."""

    location: str | None
    account: str
    settle: datetime.timedelta = datetime.timedelta(0)
    sandbox: bool = False


def gathered(name: str, make: Callable[..., object], *options: Any) -> Callable[[F], F]:
    """Options that a command receives as one argument: `name`, which `make` makes of their values."""

    def decorate(command: F) -> F:
        @functools.wraps(command)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            made = make(**{value: kwargs.pop(value) for value in values})
            return command(*args, **{name: made}, **kwargs)

        return together(*options)(cast("F", wrapped))

    values = [str(parameter.name) for parameter in click.command(together(*options)(lambda: None)).params]
    return decorate


def together(*decorators: Any) -> Callable[[F], F]:
    """Several decorators as one, in the order in which --help lists them."""
    return lambda command: functools.reduce(lambda decorated, add: add(decorated), reversed(decorators), command)


def dates(*, optional: bool = False, begun: bool = False, longest: int | None = None) -> Callable[[F], F]:
    """The arguments START and END; the command receives `dates`, None where START is optional and missing.

    With `begun`, dates that have not begun anywhere on Earth are refused. Every plan allows to ask for `longest` days.
    """

    def parse(start: str | None, end: str | None, tz: str) -> DateRange | None:
        today = today_in(tz)
        span = parse_dates(start, end, today) if start is not None else None
        if begun and span is not None:
            require_begun(span, today, longest=longest)
        return span

    return gathered(
        "dates", parse,
        click.argument("start", required=not optional),
        click.argument("end", required=False),
        click.option(
            "--tz", default="UTC", show_default=True, metavar="ZONE",
            help="Time zone of today and yesterday, such as Asia/Seoul.",
        ),
    )  # fmt: skip


def _unless_sandbox(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """The value, unless --sandbox is given and it comes from the environment, which describes the real account."""
    named = context.get_parameter_source(str(parameter.name)) is ParameterSource.COMMANDLINE
    return value if named or not context.params["sandbox"] else None


def _set_verbosity(context: click.Context, parameter: click.Parameter, value: int) -> None:
    if value:
        context.meta[VERBOSITY] = -1 if parameter.name == "quiet" else value


quiet = click.option(
    "-q", "--quiet", is_flag=True, expose_value=False, callback=_set_verbosity,
    help="Print nothing but data and errors, so that a cron job that succeeds sends no mail.",
)  # fmt: skip

verbose = together(
    click.option(
        "-v", "--verbose", count=True, expose_value=False, callback=_set_verbosity,
        help="Log pauses to stderr; -vv logs each request too.",
    ),
    quiet,
)  # fmt: skip

groups = click.option(
    "--groups", type=parse_groups, metavar="IDS|all",
    help="Only the groups with these ids, such as 151,207; `all` is the default, except for Premium, where all groups "
    "of the account are listed first.",
)  # fmt: skip

group_ids = click.option(
    "--groups", type=parse_groups, metavar="IDS|all", callback=lambda _c, _p, value: None if value == ALL else value,
    help="Only the groups with these ids, such as 151,207.",
)  # fmt: skip

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object to stdout (its keys: below).")


def _complete_plans(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """What the shell offers for --plan."""
    return [plan.value for plan in Plan if plan.value.startswith(incomplete)]


QUOTA: tuple[Any, ...] = (
    click.option(
        "--quota", "limits", multiple=True, type=parse_limit, metavar="N/SECONDS",
        help="At most N requests in SECONDS, such as 24/60 or 1250/1h, instead of the plan's documented quota. "
        "Repeat it for several limits.",
    ),
    click.option(
        "--in-flight", type=click.IntRange(1), metavar="N", show_default="the plan's",
        help="At most N requests that are open at once.",
    ),
)  # fmt: skip

_PLAN: tuple[Any, ...] = (
    click.option(
        "--sandbox", is_flag=True, is_eager=True,
        help="Use made-up clicks from a sandbox on this machine. No key is needed.",
    ),
    click.option(
        "--plan", envvar="CLICKSGROUP_PLAN", show_envvar=True, metavar="PLAN", shell_complete=_complete_plans,
        callback=_unless_sandbox, show_default="personal, which is safe on every plan",
        help="personal, premium, business, business_plus or enterprise: its rules and its quota.",
    ),
)  # fmt: skip

_CONNECTION: tuple[Any, ...] = (
    click.option(
        "--redis", envvar="CLICKSGROUP_REDIS", show_envvar=True, metavar="URL",
        help="Share the quota with other machines through this Redis. Without it, the processes of this machine "
        "share the quota.",
    ),
    click.option(
        "--api-key-file", metavar="FILE", type=click.Path(), show_default="the key in CLICKSGROUP_API_KEY",
        help="Read the API key from FILE, or from stdin if FILE is -.",
    ),
    click.option(
        "--user-agent", envvar="CLICKSGROUP_USER_AGENT", show_envvar=True, metavar="NAME",
        help="Company or brand of the caller. The vendor refuses callers that it cannot identify.",
    ),
    click.option(
        "--base-url", envvar="CLICKSGROUP_BASE_URL", show_envvar=True, show_default="https://vivoldi.com",
        metavar="URL", help="Address of the API.",
    ),
    click.option(
        "--proxy", envvar="CLICKSGROUP_PROXY", show_envvar=True, metavar="URL", type=parse_proxy,
        help="Send all requests through this HTTP proxy, such as http://proxy.example:3128. Other variables, such as "
        "HTTPS_PROXY, are ignored. A URL with a password belongs in the environment.",
    ),
    click.option(
        "--api-version", type=click.Choice(["v1", "v2"]), default="v1", show_default=True,
        help="Version of the vendor's API.",
    ),
)  # fmt: skip

_CHECK = click.option(
    "--check", type=click.Choice(["strict", "warn"]), default="strict", show_default=True,
    help="Where an answer disagrees with the vendor's documents: stop, or warn and go on if no data is lost.",
)  # fmt: skip

access = gathered("access", Access, *_PLAN, *QUOTA, *_CONNECTION, _CHECK)
"""The options of a command that sends requests; it receives one `access`."""

access_that_warns = gathered("access", functools.partial(Access, check="warn"), *_PLAN, *QUOTA, *_CONNECTION)
access_without_key = gathered("access", Access, *_PLAN, *QUOTA)

_STORE: tuple[Any, ...] = (
    click.option(
        "--store", "location", envvar="CLICKSGROUP_STORE", show_envvar=True, metavar="FILE|URL", type=click.Path(),
        callback=_unless_sandbox,
        help="A SQLite file, or a URL such as postgresql+asyncpg://user@host/name. A URL with a password belongs in "
        "the environment.",
    ),
    click.option(
        "--account", default="default", metavar="NAME", show_default=True,
        help="Keep the dates of this account apart from others in the same store.",
    ),
)  # fmt: skip

_SETTLE = click.option(
    "--settle", type=parse_duration, default="0d", metavar="DURATION",
    help="Call a date final only if it was fetched this long after its end, such as 3d or 12h. "
    "For counts that the vendor corrects later.",
)  # fmt: skip

_SANDBOX = click.option(
    "--sandbox", is_flag=True, is_eager=True,
    help="Without --store, show made-up clicks: the dates from START to END, by default the last 90 days.",
)  # fmt: skip

store = gathered("choice", StoreChoice, *_STORE, _SETTLE)
"""The options that name a store, and say which of its dates are final; the command receives one `choice`."""

store_to_read = gathered("choice", StoreChoice, *_STORE, _SANDBOX)
store_and_settle_to_read = gathered("choice", StoreChoice, *_STORE, _SETTLE, _SANDBOX)
