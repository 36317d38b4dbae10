"""The options that commands share, and the values that they stand for."""

from __future__ import annotations

import datetime
import functools
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import attrs
import click
from click.core import ParameterSource

from clicksgroup.cli.dates import parse_dates, today_in
from clicksgroup.cli.run import VERBOSITY
from clicksgroup.dates import DateRange
from clicksgroup.errors import ConfigurationError
from clicksgroup.plans import Plan, Quota
from clicksgroup.settings import Secret

F = TypeVar("F", bound=Callable[..., Any])

_LONGEST_KEY = 4096
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST_DURATION = 10 * 365 * 86400  # of anything that one could mean
_REQUESTS = re.compile(r"[1-9]\d{0,8}", re.ASCII)
_GROUP_ID = re.compile(r"0*[1-9]\d{0,18}", re.ASCII)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)", re.ASCII)


@attrs.frozen
class Access:
    """How the API is reached: what the options of every command that sends requests say."""

    sandbox: bool
    plan: str | None
    plan_named: bool  # as an option, not by the environment
    limits: tuple[tuple[int, float], ...]
    in_flight: int | None
    redis: str | None = None
    base_url: str | None = None
    user_agent: str | None = None
    api_version: Any = "v1"
    check: Any = "strict"
    api_key: Secret | None = None

    def key(self) -> Secret:
        """The key; only `estimate` and the sandbox do without one."""
        assert self.api_key is not None
        return self.api_key

    @property
    def quota(self) -> Quota:
        """What may be sent: the plan's documented quota, but for what the options say."""
        documented = Quota.of(self.plan or Plan.PERSONAL)
        return Quota(*(self.limits or documented.limits), in_flight=self.in_flight or documented.in_flight)


def duration(text: str) -> datetime.timedelta:
    """`3d`, `12h`, `30m`, `90s`."""
    seconds = _seconds(text, bare=False)
    if seconds is None or seconds > _LONGEST_DURATION:
        raise click.BadParameter(f"{text!r} is no duration; write 3d, 12h, 30m or 90s")
    return datetime.timedelta(seconds=seconds)


def limit(text: str) -> tuple[int, float]:
    """`24/60`: requests per seconds; `1250/1h` is understood too."""
    count, _, window = text.partition("/")
    seconds = _seconds(window, bare=True)
    if not _REQUESTS.fullmatch(count) or not seconds or seconds > _LONGEST_DURATION:
        raise click.BadParameter(f"{text!r} is no limit; write REQUESTS/SECONDS, such as 24/60 or 1250/1h")
    return int(count), seconds


def group_ids(text: str) -> tuple[int, ...]:
    """`151,207`: ids, without repeats."""
    parts = [part.strip() for part in text.split(",")]
    if not all(_GROUP_ID.fullmatch(part) for part in parts):
        raise click.BadParameter(f"{text!r} is no list of group ids; write 151,207,209")
    return tuple(dict.fromkeys(map(int, parts)))


def _seconds(text: str, *, bare: bool) -> float | None:
    found = _DURATION.fullmatch(text)
    if found is None or not (found[2] or bare or float(found[1]) == 0):
        return None
    return float(found[1]) * _UNITS[found[2] or "s"]


def _be_verbose(ctx: click.Context, param: click.Parameter, count: int) -> None:  # noqa: ARG001
    ctx.meta[VERBOSITY] = count


verbose = click.option(
    "-v", "--verbose", count=True, expose_value=False, is_eager=True, callback=_be_verbose,
    help="Log pauses to stderr; -vv each request.",
)  # fmt: skip

check = click.option(
    "--check", type=click.Choice(["strict", "warn"]), default="strict", show_default=True,
    help="What to do where answers disagree with what the vendor documents: stop, or warn where nothing is lost.",
)  # fmt: skip

groups = click.option("--groups", type=group_ids, metavar="IDS", help="Only these group ids: 151,207.")

timezone = click.option(
    "--tz", default="UTC", metavar="ZONE",
    help="Time zone of today and yesterday, such as Asia/Seoul.  [default: UTC]",
)  # fmt: skip

_QUOTA: tuple[Any, ...] = (
    click.option("--sandbox", is_flag=True, help="Ask a made-up account on this machine instead: no key is needed."),
    click.option(
        "--plan", envvar="CLICKSGROUP_PLAN", metavar="PLAN",
        help="personal, premium, business, business_plus or enterprise: its rules and its quota.  "
        "[default: personal, safe on every plan; env: CLICKSGROUP_PLAN]",
    ),
    click.option(
        "--quota", "limits", multiple=True, type=limit, metavar="N/SECONDS",
        help="Send at most N requests in any SECONDS, instead of the plan's documented quota; repeat for more limits.",
    ),
    click.option("--in-flight", type=click.IntRange(1), metavar="N", show_default="the plan's",
        help="At most N requests open at once.",
    ),
)  # fmt: skip

_ACCESS: tuple[Any, ...] = (
    *_QUOTA,
    click.option(
        "--redis", envvar="CLICKSGROUP_REDIS", metavar="URL",
        help="Share the quota across machines through this Redis; without it, across the processes of this machine.  "
        "[env: CLICKSGROUP_REDIS]",
    ),
    click.option(
        "--api-key-file", metavar="FILE",
        help="Read the API key from FILE (- for stdin); else from the environment, CLICKSGROUP_API_KEY.",
    ),
    click.option(
        "--user-agent", envvar="CLICKSGROUP_USER_AGENT", metavar="NAME",
        help="Who calls, by company or brand: the vendor refuses callers it cannot identify.  "
        "[env: CLICKSGROUP_USER_AGENT]",
    ),
    click.option(
        "--base-url", envvar="CLICKSGROUP_BASE_URL", metavar="URL",
        help="Where the API is.  [default: https://vivoldi.com; env: CLICKSGROUP_BASE_URL]",
    ),
    click.option(
        "--api-version", type=click.Choice(["v1", "v2"]), default="v1", show_default=True,
        help="Which of the vendor's APIs to ask.",
    ),
)  # fmt: skip

_STORE: tuple[Any, ...] = (
    click.option(
        "--store", "store_url", envvar="CLICKSGROUP_STORE", metavar="FILE|URL",
        help="A file (SQLite) or a URL such as postgresql+asyncpg://user@host/name.  [env: CLICKSGROUP_STORE, so that "
        "a password need not be an argument]",
    ),
    click.option(
        "--account", default="default", metavar="NAME", show_default=True,
        help="Keeps the dates of several keys apart in one store.",
    ),
)  # fmt: skip

settle = click.option(
    "--settle", type=duration, default="0d", metavar="DURATION",
    help="A date is final when it was fetched so long after its end: 3d, 12h. For counts that are corrected later.",
)  # fmt: skip


def access(command: F) -> F:
    """The options of a command that sends requests; it is given one `access`, its key read."""
    return _with_access(command, _ACCESS, needs_key=True)


def access_without_key(command: F) -> F:
    """Those of them that say how many requests may be sent; it is given one `access` too."""
    return _with_access(command, _QUOTA, needs_key=False)


def _with_access(command: F, options: tuple[Any, ...], *, needs_key: bool) -> F:
    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        source = click.get_current_context().get_parameter_source("plan")
        values = {field.name: kwargs.pop(field.name) for field in attrs.fields(Access) if field.name in kwargs}
        file = kwargs.pop("api_key_file", None)
        if needs_key and not values["sandbox"]:
            values["api_key"] = read_key(file)
        return command(*args, access=Access(plan_named=source is ParameterSource.COMMANDLINE, **values), **kwargs)

    return _decorated(cast("F", wrapped), options)


@attrs.frozen
class StoreChoice:
    """Which store, and whose dates in it."""

    location: str | None
    named: bool  # as an option, not by the environment
    account: str


def store(command: F) -> F:
    """The options that name a store; the command is given one `choice`."""

    @functools.wraps(command)
    def wrapped(*args: Any, store_url: str | None, account: str, **kwargs: Any) -> Any:
        source = click.get_current_context().get_parameter_source("store_url")
        choice = StoreChoice(store_url, source is ParameterSource.COMMANDLINE, account)
        return command(*args, choice=choice, **kwargs)

    return _decorated(cast("F", wrapped), _STORE)


def dates(*, optional: bool = False) -> Callable[[F], F]:
    """The arguments START and END, as `dates`; None where START is optional and left out."""

    def decorate(command: F) -> F:
        @functools.wraps(command)
        def wrapped(*args: Any, start: str | None, end: str | None, tz: str, **kwargs: Any) -> Any:
            span: DateRange | None = None
            if start is not None:
                span = parse_dates(start, end, today_in(tz))
            return command(*args, dates=span, **kwargs)

        arguments = click.argument("start", required=not optional), click.argument("end", required=False), timezone
        return _decorated(cast("F", wrapped), arguments)

    return decorate


def _decorated(command: F, decorators: tuple[Any, ...]) -> F:
    for decorator in reversed(decorators):
        command = decorator(command)
    return command


def read_key(file: str | None) -> Secret:
    """The API key, out of a file (`-` for stdin) or the environment.

    Raises:
        ConfigurationError: there is none, or the file cannot be read.
    """
    if file is None:
        key = os.environ.get("CLICKSGROUP_API_KEY", "")
        if not key:
            raise ConfigurationError(
                "there is no API key: set CLICKSGROUP_API_KEY, or name a file with --api-key-file; "
                "to try without one, add --sandbox"
            )
        return Secret(key)
    try:
        if file == "-":
            raw = sys.stdin.buffer.read(_LONGEST_KEY + 1)
        else:
            with Path(file).open("rb") as stream:
                raw = stream.read(_LONGEST_KEY + 1)
        key = raw.decode("utf-8-sig").rstrip("\r\n")
    except OSError as error:
        raise ConfigurationError(f"--api-key-file: cannot read {file}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"--api-key-file: {file} is no text") from None
    if not key or len(raw) > _LONGEST_KEY:
        raise ConfigurationError(f"--api-key-file: {file} {'holds no key' if not key else 'is too long for a key'}")
    return Secret(key)
