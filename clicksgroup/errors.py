"""What can go wrong, as a tree: catch `ClicksGroupError` for all of it, or the branch you can act on.

Every error pickles, and none holds the API key: not in its text, its attributes, its cause or its context.
"""

from __future__ import annotations

import datetime


class ClicksGroupError(Exception):
    """The base of every error that this package raises on purpose."""


class ConfigurationError(ClicksGroupError, ValueError):
    """Refused before any request: a key, URL, plan, date, group list or header value that cannot be right."""


class ClientClosedError(ClicksGroupError, RuntimeError):
    """The client, or a stream of its, was used outside its `async with` block or in another event loop."""


class QuotaUnavailableError(ClicksGroupError):
    """The file or engine that holds the shared quota stayed away longer than its `patience`."""


class StoreError(ClicksGroupError):
    """The store cannot be opened, read or written."""


class RequestError(ClicksGroupError):
    """One page could not be had.

    `date` is the date that was asked for (of a range its start), `page` the number of the page, `attempts` how many
    requests it took. The last cause is `__cause__`, where it carries no secret.
    """

    _permanent = False  # set where the kind of error may pass by itself, but this one will not

    def __init__(
        self, message: str = "", *, date: datetime.date | None = None, page: int | None = None, attempts: int = 0
    ) -> None:
        super().__init__(message)
        self.date = date
        self.page = page
        self.attempts = attempts


class TransportError(RequestError):
    """No usable answer: DNS, connect, TLS, reset, timeout, truncated or malformed HTTP."""


class StatusError(RequestError):
    """An HTTP status that is no success. `status` is its number."""

    def __init__(
        self,
        message: str = "",
        *,
        status: int = 0,
        date: datetime.date | None = None,
        page: int | None = None,
        attempts: int = 0,
    ) -> None:
        super().__init__(message, date=date, page=page, attempts=attempts)
        self.status = status


class AuthenticationError(StatusError):
    """401: the key is not accepted."""


class ForbiddenError(StatusError):
    """403: the plan or the User-Agent is not accepted."""


class RateLimitError(StatusError):
    """429: the quota is used up. `retry_after` is the seconds the server asked for, or None where it did not say."""

    def __init__(
        self,
        message: str = "",
        *,
        status: int = 429,
        retry_after: float | None = None,
        date: datetime.date | None = None,
        page: int | None = None,
        attempts: int = 0,
    ) -> None:
        super().__init__(message, status=status, date=date, page=page, attempts=attempts)
        self.retry_after = retry_after


class ServerError(StatusError):
    """5xx: the server failed."""


class APIError(RequestError):
    """An envelope whose `code` is not 0. `code` and `message` are the vendor's."""

    def __init__(
        self,
        text: str = "",
        *,
        code: int = 0,
        message: str = "",
        date: datetime.date | None = None,
        page: int | None = None,
        attempts: int = 0,
    ) -> None:
        super().__init__(text, date=date, page=page, attempts=attempts)
        self.code = code
        self.message = message


class DecodeError(RequestError):
    """A body that is not what the API promises.

    `field` is the path of what is wrong, such as `result.list[3].acesCnt` (`$` for the whole document), and empty
    for a body that is no JSON at all. `snippet` is the beginning of what came, bounded.
    """

    def __init__(
        self,
        message: str = "",
        *,
        field: str = "",
        snippet: str = "",
        date: datetime.date | None = None,
        page: int | None = None,
        attempts: int = 0,
    ) -> None:
        super().__init__(message, date=date, page=page, attempts=attempts)
        self.field = field
        self.snippet = snippet


class PaginationError(RequestError):
    """Pages that do not add up to one list: the chain, the counts or the groups disagree."""

    _moved = False  # set where the date may have changed while it was read, so that reading it again may help


class PaginationWarning(UserWarning):
    """With `check="warn"`: a disagreement that was let pass. It is in `Day.problems` too."""
