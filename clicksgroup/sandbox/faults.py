"""Misbehaviour by script: which request meets it, and what it is."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import attrs

from clicksgroup.dates import DateLike, parse_date
from clicksgroup.errors import ConfigurationError
from clicksgroup.sandbox.seen import SeenRequest


def _optional_date(value: DateLike | None) -> datetime.date | None:
    return None if value is None else parse_date(value)


@attrs.frozen(kw_only=True)
class Fault:
    """Something that goes wrong with a request: first which one, then what.

    The quota counts such a request as any other. What can be combined combines: `Fault(delay=0.1, status=503)`.

    >>> import datetime
    >>> from clicksgroup.sandbox import Fault
    >>> down = Fault(date="2025-01-03", page=2, attempts=2, status=503)
    >>> slow = Fault(delay=0.5, attempts=None)
    >>> def moved(envelope):
    ...     envelope["result"]["extra"]["totalCount"] += 1
    ...     return envelope
    >>> lying_chain = Fault(date=datetime.date(2025, 1, 4), change=moved)

    Args:
        date: only requests for that date (of a v2 range its start); None for any.
        page: only requests for the page of that number; None for any.
        attempts: only the first so many attempts of a page; None for all of them.
        status: the HTTP status, instead of 200. Unless `body` or `change` says otherwise, a small HTML body comes with
            it, as from a proxy.
        retry_after: the header `Retry-After`, in seconds or as a date in words; without a status it means 429.
        body: what comes instead of the page.
        change: is called with the envelope (a dict) that would have been sent, and returns the one to send.
        headers: further headers, which win over those there would be.
        cut: the connection closes after so many bytes of the body; `Content-Length` promises all of them.
        delay: seconds to wait before anything is answered, beside the sandbox's `latency`.
        reset: the connection is aborted without an answer.

    Raises:
        ConfigurationError: nothing would go wrong, or nothing could be matched.
    """

    date: datetime.date | None = attrs.field(default=None, converter=_optional_date)
    page: int | None = None
    attempts: int | None = 1
    status: int | None = None
    retry_after: float | str | None = None
    body: bytes | str | None = None
    change: Callable[[dict[str, Any]], Any] | None = None
    headers: Mapping[str, str] | None = attrs.field(default=None, hash=False)
    cut: int | None = None
    delay: float = 0.0
    reset: bool = False

    def __attrs_post_init__(self) -> None:
        if not (self.delay or self.reset) and all(
            part is None for part in (self.status, self.retry_after, self.body, self.change, self.headers, self.cut)
        ):
            raise ConfigurationError("a Fault that does nothing: say status, retry_after, body, change, cut, delay ...")
        for name, least in {"page": 1, "attempts": 1, "cut": 0, "delay": 0}.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigurationError(f"{name}: {value!r}: expected at least {least}")

    def hits(self, seen: SeenRequest) -> bool:
        """Whether that request meets this fault."""
        return (
            (self.date is None or self.date == seen.date)
            and (self.page is None or self.page == seen.page)
            and (self.attempts is None or seen.attempt <= self.attempts)
        )


Faults: TypeAlias = Iterable[Fault] | Callable[[SeenRequest], Fault | None]
"""A script: the first fault that hits a request is the one it meets. Or a function that decides for each request."""


def scripted(faults: Faults | None) -> Callable[[SeenRequest], Fault | None]:
    """The script as a function, whichever way it was written."""
    if callable(faults):
        return faults
    script = (faults,) if isinstance(faults, Fault) else tuple(faults or ())
    return lambda seen: next((fault for fault in script if fault.hits(seen)), None)
