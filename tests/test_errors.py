"""The tree of errors: what is caught with what, and that nothing is lost on the way to another process."""

from __future__ import annotations

import copy
import datetime
import pickle
from typing import Any

import pytest

import clicksgroup
from clicksgroup import (
    APIError,
    AuthenticationError,
    ClicksGroupError,
    ClientClosedError,
    ConfigurationError,
    DecodeError,
    ForbiddenError,
    PaginationError,
    PaginationWarning,
    QuotaUnavailableError,
    RateLimitError,
    RequestError,
    ServerError,
    StatusError,
    StoreError,
    TransportError,
)

WHERE: dict[str, Any] = {"date": datetime.date(2025, 1, 3), "page": 2, "attempts": 3}
ERRORS: list[ClicksGroupError] = [
    ClicksGroupError("text"),
    ConfigurationError("text"),
    ClientClosedError("text"),
    QuotaUnavailableError("text"),
    StoreError("text"),
    RequestError("text", **WHERE),
    TransportError("text", **WHERE),
    StatusError("text", status=404, **WHERE),
    AuthenticationError("text", status=401, **WHERE),
    ForbiddenError("text", status=403, **WHERE),
    RateLimitError("text", status=429, retry_after=1.5, **WHERE),
    ServerError("text", status=503, **WHERE),
    APIError("text", code=7, message="no plan", **WHERE),
    DecodeError("text", field="result.list[3].acesCnt", snippet="{", **WHERE),
    PaginationError("text", **WHERE),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("send", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
def test_errors_travel(error: ClicksGroupError, send: object) -> None:
    """An error that is copied or pickled has the same type, text and attributes."""
    assert callable(send)
    back = send(error)
    assert back is not error
    assert (type(back), str(back), back.args, vars(back)) == (type(error), str(error), error.args, vars(error))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_notes_travel(protocol: int) -> None:
    """Attributes and notes that were set later travel too."""
    error = TransportError("text", retryable=False, stops_all=True, **WHERE)
    error.add_note("a note")
    back = pickle.loads(pickle.dumps(error, protocol))
    assert (back.retryable, back.stops_all, back.__notes__) == (False, True, ["a note"])


@pytest.mark.parametrize(
    ("error", "retryable", "stops_all"),
    [
        (TransportError(**WHERE), True, False),
        (ServerError(status=500, **WHERE), True, False),
        (ServerError(status=599, **WHERE), True, False),
        (StatusError(status=408, **WHERE), True, False),
        (StatusError(status=425, **WHERE), True, False),
        (StatusError(status=404, **WHERE), False, False),
        (StatusError(status=302, **WHERE), False, False),
        (RateLimitError(**WHERE), True, True),
        (AuthenticationError(status=401, **WHERE), False, True),
        (ForbiddenError(status=403, **WHERE), False, True),
        (DecodeError(field="", **WHERE), True, False),
        (DecodeError(field="code", **WHERE), False, False),
        (APIError(code=1, **WHERE), False, False),
        (PaginationError(**WHERE), False, False),
        (ConfigurationError(), False, True),
        (ClientClosedError(), False, True),
        (QuotaUnavailableError(), True, True),
        (StoreError(), False, True),
    ],
    ids=repr,
)
def test_classification(error: ClicksGroupError, retryable: bool, stops_all: bool) -> None:
    """Nobody else decides that, and its maker can say otherwise."""
    assert (error.retryable, error.stops_all) == (retryable, stops_all)
    where = WHERE if isinstance(error, RequestError) else {}
    changed = type(error)("text", retryable=not retryable, stops_all=not stops_all, **where)
    assert (changed.retryable, changed.stops_all) == (not retryable, not stops_all)


@pytest.mark.parametrize(
    ("error", "base"),
    [
        (ConfigurationError, ValueError),
        (ClientClosedError, RuntimeError),
        (TransportError, RequestError),
        (StatusError, RequestError),
        (APIError, RequestError),
        (DecodeError, RequestError),
        (PaginationError, RequestError),
        (AuthenticationError, StatusError),
        (ForbiddenError, StatusError),
        (RateLimitError, StatusError),
        (ServerError, StatusError),
        (PaginationWarning, UserWarning),
    ],
)
def test_tree_of_errors(error: type[Exception], base: type[Exception]) -> None:
    """Each error has the base that is documented."""
    assert issubclass(error, base)


def test_base_of_errors() -> None:
    """One base catches every error."""
    public = [getattr(clicksgroup, name) for name in clicksgroup.__all__]
    errors = {thing for thing in public if isinstance(thing, type) and issubclass(thing, Exception)}
    assert all(issubclass(error, ClicksGroupError) for error in errors - {PaginationWarning})
    assert {type(error) for error in ERRORS} == errors - {PaginationWarning}
