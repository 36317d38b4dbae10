"""What can go wrong, as a tree: catch `ClicksGroupError` for all of it, or the branch that you can act on.

Every error says itself whether the same call may succeed later (`retryable`) and whether every other date would fail
the same way (`stops_all`). The retry loop, the backfill and the command line read these two, and so can you.

Every error pickles. None holds the API key: not in its text, its attributes, its cause or its context.
"""

from __future__ import annotations

import datetime
from typing import Any, TypedDict, Unpack

RETRYABLE_STATUSES = frozenset({408, 425, 429})
"""Besides 5xx: the statuses that say that the same request may succeed later (RFC 9110, 8470 and 6585)."""


class ClicksGroupError(Exception):
    """The base of every error that this package raises on purpose.

    Args:
        message: what happened, where, what was expected, and what to do.
        retryable: the same call may succeed later. None for what is usual of this kind of error.
        stops_all: every other date would fail the same way, so a job of many dates ends with this error. None for
            what is usual of this kind of error.
    """

    retryable: bool = False
    stops_all: bool = False

    def __init__(self, message: str = "", *, retryable: bool | None = None, stops_all: bool | None = None) -> None:
        super().__init__(message)
        if retryable is not None:
            self.retryable = retryable
        if stops_all is not None:
            self.stops_all = stops_all

    def __reduce__(self) -> tuple[Any, ...]:
        # Without `__init__`: the arguments that an error needs besides its message are in its attributes.
        return Exception.__new__, (type(self), *self.args), self.__dict__


class ConfigurationError(ClicksGroupError, ValueError):
    """Refused before any request: a key, URL, plan, date, group list or header value that cannot be right."""

    stops_all = True


class ClientClosedError(ClicksGroupError, RuntimeError):
    """The client, or a stream of its, was used outside its `async with` block or in another event loop."""

    stops_all = True


class QuotaUnavailableError(ClicksGroupError):
    """The file or server that keeps the shared quota was out of reach for longer than its `outage_timeout`."""

    retryable = True
    stops_all = True


class StoreError(ClicksGroupError):
    """The store cannot be opened, read or written."""

    stops_all = True


class RequestError(ClicksGroupError):
    """One page could not be fetched. The last cause is `__cause__`, where it carries no secret.

    Args:
        message: what happened, and what to do.
        date: the date that was asked for; of a range its start; of the list of groups today's (UTC).
        page: the number of the page.
        attempts: how many requests were spent on it.
        retryable: as for `ClicksGroupError`.
        stops_all: as for `ClicksGroupError`.
    """

    def __init__(
        self,
        message: str = "",
        *,
        date: datetime.date,
        page: int,
        attempts: int = 0,
        retryable: bool | None = None,
        stops_all: bool | None = None,
    ) -> None:
        super().__init__(message, retryable=retryable, stops_all=stops_all)
        self.date = date
        self.page = page
        self.attempts = attempts


class PageLocation(TypedDict):
    """Which page an error is about."""

    date: datetime.date
    page: int


class _Where(PageLocation, total=False):
    """What every kind of `RequestError` takes besides its own."""

    attempts: int
    retryable: bool | None
    stops_all: bool | None


class TransportError(RequestError):
    """No usable answer: DNS, connect, TLS, reset, timeout, truncated or malformed HTTP.

    An untrusted certificate is neither retryable nor one date's own; everything else is a matter of the moment.
    """

    retryable = True


class StatusError(RequestError):
    """An HTTP status that is no success.

    Args:
        message: what happened, and what to do.
        status: its number, which says whether it is retryable; of `RateLimitError` 429.
        retry_after: seconds that the server asked to wait, or None where it did not say.
        where: as for `RequestError`.
    """

    status: int = 0

    def __init__(
        self,
        message: str = "",
        *,
        status: int | None = None,
        retry_after: float | None = None,
        **where: Unpack[_Where],
    ) -> None:
        super().__init__(message, **where)
        self.status = type(self).status if status is None else status
        self.retry_after = retry_after
        if where.get("retryable") is None:
            self.retryable = self.status >= 500 or self.status in RETRYABLE_STATUSES


class AuthenticationError(StatusError):
    """401: the key is not accepted."""

    stops_all = True


class ForbiddenError(StatusError):
    """403: the plan or the User-Agent is not accepted."""

    stops_all = True


class RateLimitError(StatusError):
    """429: the quota is used up."""

    stops_all = True
    status = 429


class ServerError(StatusError):
    """5xx: the server failed."""


class APIError(RequestError):
    """An envelope whose `code` is not 0. `code` and `message` are the vendor's."""

    def __init__(self, text: str = "", *, code: int = 0, message: str = "", **where: Unpack[_Where]) -> None:
        super().__init__(text, **where)
        self.code = code
        self.message = message


class DecodeError(RequestError):
    """A body that is not what the API promises.

    `field` is the path of what is wrong, such as `result.list[3].acesCnt` (`$` for the whole document), and empty
    for a body that is not JSON at all. Such a body may have been cut on its way, so it is retryable. `snippet` is the
    beginning of what came, bounded.
    """

    def __init__(self, message: str = "", *, field: str = "", snippet: str = "", **where: Unpack[_Where]) -> None:
        super().__init__(message, **where)
        self.field = field
        self.snippet = snippet
        if where.get("retryable") is None:
            self.retryable = not field


class PaginationError(RequestError):
    """Pages that do not add up to one list: the chain, the counts or the groups disagree.

    It is retryable where the date may have changed while it was read.
    """


class PaginationWarning(UserWarning):
    """With `check="warn"`: a disagreement that was let pass. It is in `Day.problems` too."""
