"""Which failed request is tried again, and when.

An error says itself whether the same request may succeed later (`ClicksGroupError.retryable`): by its class or HTTP
status (`errors.py`), by the failure of the connection (`transport_errors.py`), by whether its body was cut
(`protocol/decoding.py`), or since the date may have changed (`protocol/pagination.py`). By that `RetryBudget` decides
for one page. `CircuitBreaker` holds all pages of a client back while the server fails.
"""

from __future__ import annotations

import asyncio
import datetime
import email.utils
import math
import random
import re

import attrs

from clicksgroup.arguments import positive, whole_number
from clicksgroup.errors import RequestError


@attrs.frozen
class RetryPolicy:
    """How often and for how long a page is tried. Every attempt counts against the quota.

    >>> from clicksgroup import RetryPolicy
    >>> RetryPolicy(attempts=1)
    RetryPolicy(attempts=1, backoff=0.5, max_backoff=30.0, deadline=300.0)

    Args:
        attempts: requests for one page at the most, the first included.
        backoff: seconds; before the n-th retry a random time up to `backoff * 2**(n-1)` passes (full jitter).
        max_backoff: seconds; the most that such a random time may be.
        deadline: seconds for one page from its first attempt to its last. Waits for quota do not count. But where a
            pause after a 429 is longer than what is left, `RateLimitError` is raised without a request.

    Raises:
        ConfigurationError: fewer than one attempt, a negative time, a deadline that is not positive.
    """

    attempts: int = 10
    backoff: float = 0.5
    max_backoff: float = 30.0
    deadline: float = 300.0

    def __attrs_post_init__(self) -> None:
        whole_number("attempts", self.attempts)
        positive("backoff", self.backoff, zero=True)
        positive("max_backoff", self.max_backoff, zero=True)
        positive("deadline", self.deadline)

    def delay(self, attempts: int) -> float:
        """A random time to wait after so many attempts have failed."""
        return random.uniform(0, min(self.max_backoff, self.backoff * 2.0 ** min(attempts - 1, 60)))


class RetryBudget:
    """What is left of a policy for one page."""

    def __init__(self, policy: RetryPolicy) -> None:
        # How many attempts were begun, and why the last one failed.
        self.attempts = 0
        self.failure: RequestError | None = None
        # Seconds of the deadline. Waits for quota are not spent.
        self.time_left = policy.deadline
        self._policy = policy
        self._longest_attempt = 0.0

    @property
    def spare_time(self) -> float:
        """Seconds that may pass before the next attempt: what is left, less the longest attempt so far.

        An attempt with less time than those before it took is not worth a request.
        """
        return self.time_left - self._longest_attempt

    def attempt_ended(self, seconds: float) -> None:
        """An attempt has taken so long."""
        self.time_left -= seconds
        self._longest_attempt = max(self._longest_attempt, seconds)

    def backoff(self) -> float:
        """A random time to wait after the last attempt has failed."""
        return self._policy.delay(self.attempts)

    def next_delay(self, error: RequestError, *, pause: float | None, retry_after: float | None) -> float:
        """The seconds to wait before the next attempt. If there must be none, this raises the error.

        A pause of all requests after a 429 does not use up the deadline. But no page waits for one that is longer than
        what is left of it.
        """
        self.failure = error
        asked = retry_after or 0.0
        delay = pause if pause is not None else max(self.backoff(), asked)
        if not error.retryable:
            raise self._explained(error)
        if self.attempts >= self._policy.attempts:
            raise self._explained(
                error, f"RetryPolicy allows {self._policy.attempts}" if self._policy.attempts > 1 else ""
            )
        needed = max(delay, self._longest_attempt) if pause is not None else delay + self._longest_attempt
        if needed >= self.time_left:
            raise self.too_late(error, f"to wait {asked:g} s as asked" if 0 < self.time_left <= asked else "another")
        return delay

    def too_late(self, error: RequestError, what: str = "another") -> RequestError:
        """The error of the last attempt, since the deadline leaves no time for another."""
        return self._explained(error, f"{what} would pass RetryPolicy's deadline of {self._policy.deadline:g} s")

    def _explained(self, error: RequestError, reason: str = "") -> RequestError:
        """The error, with how often it was tried and why no more."""
        attempts = f"{self.attempts} attempts" if self.attempts > 1 else ""
        if said := "; ".join(filter(None, (attempts, reason))):
            error.args = (f"{error} ({said})",)
        return error


_SECONDS = re.compile(r"\d+(\.\d+)?", re.ASCII)


def parse_retry_after(value: str | None, answered_at: str | None) -> float | None:
    """The seconds that a `Retry-After` header asks for, or None where it says nothing that can be obeyed.

    Args:
        value: the header: seconds, with or without a fraction, or an HTTP date.
        answered_at: the answer's own `Date`, to which such a date is relative: our clock may be wrong, and counts
            only where there is none.
    """
    if value is None:
        return None
    value = value.strip()
    if _SECONDS.fullmatch(value):
        seconds = float(value)
        return seconds if seconds < math.inf else None
    until = parse_http_date(value)
    if until is None:
        return None
    now = parse_http_date(answered_at or "") or datetime.datetime.now(datetime.UTC)
    return max((until - now).total_seconds(), 0.0)


def parse_http_date(text: str) -> datetime.datetime | None:
    """The moment that an HTTP date means, in any of its three forms; None if it is not one."""
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=datetime.UTC)


class CircuitBreaker:
    """Holds requests back while the server fails, so that an outage does not multiply them.

    Closed: every page may send. After a failure it is open: pages wait and spend no attempts, except for one trial
    request at a time (half open). The page that failed first is the owner, and sends the trials on its own schedule.
    After a single failure one other page may also send a trial: if that succeeds, the server is up, and only the owner
    fails. An answer closes the breaker. Pages are told apart by identity.
    """

    def __init__(self) -> None:
        # In a row, over all pages.
        self._failures = 0
        # The owner, and the page whose trial request is under way.
        self._owner: object | None = None
        self._trial: object | None = None
        # Set by the next change, and then replaced by a new one.
        self._changed = asyncio.Event()
        # The owner, while it waits for quota. It may have been the owner of an earlier outage.
        self._waiting_owner: object | None = None

    @property
    def owner_waits_for_quota(self) -> bool:
        """Whether no trial request is sent because there is no quota for it."""
        return self._owner is not None and self._waiting_owner is self._owner

    def quota_wait_began(self, page: object) -> None:
        """`page` begins to wait for quota. If it is the owner, no trial is sent meanwhile."""
        if page is self._owner:
            self._waiting_owner = page
            self._wake()

    def quota_wait_ended(self, page: object) -> None:
        """It does not wait any more."""
        if page is self._waiting_owner:
            self._waiting_owner = None
            self._wake()

    def admits(self, page: object) -> bool:
        """Whether `page` may send a request now."""
        if not self._failures:
            return True
        if self._trial is not None:
            return False
        if self._owner is None:
            self._owner = page
        return page is self._owner or self._failures == 1

    async def changed(self) -> None:
        """Wait until `admits` or `owner_waits_for_quota` may have changed."""
        await self._changed.wait()

    def try_start(self, page: object) -> bool:
        """Begin a request for `page`, if it may still send one."""
        if not self.admits(page):
            return False
        if self._failures:
            self._trial = page
        return True

    def request_ended(self, page: object, *, failed: bool) -> None:
        """A request for `page` has ended. Unless it failed in a way that is retryable, the outage is over."""
        if failed:
            self._failures += 1
            if self._owner is None:
                self._owner = page
            self._trial_ended(page)
        elif self._failures:
            self._failures = 0
            self._owner = self._trial = None
            self._wake()

    def leave(self, page: object) -> None:
        """No more requests for `page` will be sent."""
        if not self._failures:
            return
        if self._owner is page:
            self._owner = None
            self._wake()
        self._trial_ended(page)

    def _trial_ended(self, page: object) -> None:
        if self._trial is page:
            self._trial = None
            self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
