"""The arguments and options that commands share, and the parsers of their values."""

from __future__ import annotations

import calendar
import datetime
import functools
import math
import re
import zoneinfo
from collections.abc import Callable
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import click
from click.core import ParameterSource

from clicksgroup.cli.console import VERBOSITY
from clicksgroup.cli.resources import ALL, ONE_DAY, Access, GroupChoice, StoreChoice
from clicksgroup.dates import DateRange, date_range, latest_date, parse_date
from clicksgroup.errors import ConfigurationError
from clicksgroup.plans import Plan

F = TypeVar("F", bound=Callable[..., Any])

_MAX_SECONDS = 10 * 365 * 86400
"""Ten years: a longer duration is a typing error."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd])", re.ASCII)
_REQUESTS = re.compile(r"[1-9]\d{0,8}", re.ASCII)
_GROUP_ID = re.compile(r"0*[1-9]\d{0,18}", re.ASCII)
_DATE_OR_MONTH = re.compile(r"(\d{4})-(\d{2})(?:-(\d{2}))?", re.ASCII)


def parse_dates(start: str, end: str | None, today: datetime.date) -> DateRange:
    """The dates from START to END, both included. Without END they are those of START: one date or a whole month."""
    first, last = _first_and_last(start, "START", today)
    if end is not None:
        last = _first_and_last(end, "END", today)[1]
    if last < first:
        advice = "; swap them" if first <= today else ", which has not begun"
        raise ConfigurationError(f"END: {last} is before START, {first}{advice}")
    return date_range(first, last)


def require_begun(dates: DateRange, today: datetime.date, *, longest: int | None = None) -> None:
    """Refuse dates that have not begun anywhere on Earth, and suggest others: up to today, at most `longest` days."""
    latest = latest_date(datetime.datetime.now(datetime.UTC))
    if dates[-1] <= latest:
        return
    ends = {"yesterday": today - ONE_DAY, "today": today}
    accepted = [word for word, end in ends.items() if 0 <= (end - dates[0]).days < (longest or math.inf)]
    advice = f"write {dates[0]} {accepted[0]}" if accepted else f"the latest date to ask for is {latest}"
    raise ConfigurationError(f"END: {dates[-1]} has not begun anywhere on Earth; {advice}")


def today_in(zone: str, now: datetime.datetime | None = None) -> datetime.date:
    """Today's date in a time zone, such as `Asia/Seoul`."""
    now = now or datetime.datetime.now(datetime.UTC)
    if zone.upper() == "UTC":
        return now.astimezone(datetime.UTC).date()
    try:
        return now.astimezone(zoneinfo.ZoneInfo(zone)).date()
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        has_data = bool(zoneinfo.available_timezones())
        advice = "name one such as Asia/Seoul" if has_data else "it has no time zone data: pip install tzdata"
        raise ConfigurationError(f"--tz: {zone!r} is not a time zone that this system knows; {advice}") from None


def _first_and_last(text: str, name: str, today: datetime.date) -> tuple[datetime.date, datetime.date]:
    words = {"today": today, "yesterday": today - ONE_DAY}
    if text in words:
        return words[text], words[text]
    found = _DATE_OR_MONTH.fullmatch(text)
    if not found:
        raise ConfigurationError(
            f"{name}: {text!r} is not a date; write 2025-01-31, 2025-01 (the whole month), today or yesterday"
        )
    if found[3]:
        date = parse_date(text, name)
        return date, date
    try:
        first = datetime.date(int(found[1]), int(found[2]), 1)
    except ValueError:
        raise ConfigurationError(f"{name}: {text} is not a month; write YYYY-MM, such as 2025-01") from None
    return first, first.replace(day=calendar.monthrange(first.year, first.month)[1])


def parse_duration(text: str) -> datetime.timedelta:
    """`3d`, `12h`, `30m`, `90s`; `0` needs no unit."""
    seconds = _seconds("0s" if text == "0" else text)
    if seconds is None:
        raise click.BadParameter(f"{text!r} is not a duration; write a number and a unit, such as 3d, 12h, 30m or 90s")
    return datetime.timedelta(seconds=seconds)


def parse_limit(text: str) -> tuple[int, float]:
    """`24/60` is 24 requests in 60 seconds; `1250/1h` is understood too."""
    count, _, window = text.partition("/")
    seconds = _seconds(window) or _seconds(f"{window}s")
    if not _REQUESTS.fullmatch(count) or not seconds:
        raise click.BadParameter(f"{text!r} is not a limit; write REQUESTS/SECONDS, such as 24/60 or 1250/1h")
    return int(count), seconds


def _seconds(text: str) -> float | None:
    found = _DURATION.fullmatch(text)
    seconds = float(found[1]) * _UNITS[found[2]] if found else math.inf
    return seconds if seconds <= _MAX_SECONDS else None


def parse_groups(text: str) -> GroupChoice:
    """`151,207`, or `all`; repeats are dropped."""
    if text == ALL:
        return ALL
    parts = [part.strip() for part in text.split(",")]
    if not all(_GROUP_ID.fullmatch(part) for part in parts):
        raise click.BadParameter(f"{text!r} is not a list of group ids; write them as 151,207,209")
    return tuple(dict.fromkeys(map(int, parts)))


def parse_proxy(url: str) -> str | None:
    """`http://proxy.example:3128`, as it is. The message does not show it: it may hold a password."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if url and not usable:
        raise click.BadParameter("it is not the URL of an HTTP proxy; write one such as http://proxy.example:3128")
    return url or None


def gathered(name: str, make: Callable[..., object], *options: Any) -> Callable[[F], F]:
    """Options that a command receives as one argument: `name`, which `make` makes of their values."""
    values = [str(parameter.name) for parameter in click.command(together(*options)(lambda: None)).params]

    def decorate(command: F) -> F:
        @functools.wraps(command)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            made = make(**{value: kwargs.pop(value) for value in values})
            return command(*args, **{name: made}, **kwargs)

        return together(*options)(cast("F", wrapped))

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
        help="At most N open requests.",
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
