"""The limit of one window: what is configured, or a lower one that was learned from answers of 429.

Whether a request may start within these limits is decided by `Ledger.delay` (`ledger.py`).
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from clicksgroup.plans import Quota

RAISE_AFTER = 10
"""Windows without a 429 until a learned limit is raised; at most 8 times as many after repeated ones."""

LONGEST_RAISE_AFTER = 3600.0
"""Seconds. A window that is longer than this tenfold would take days to recover; it is raised once a window."""

LONG_WINDOW = 60.0
"""Seconds. Answers of 429 for other reasons must not close a longer window for hours, so they halve it at most."""


@attrs.define
class Limit:
    """One window of a quota, and what was learned about it. Times are seconds of the clock of who keeps the quota.

    A 429 that comes although our own windows allowed the request says that the server allows less. What it allows was
    seen: the requests that were answered without a 429 in that window. A fall below half of the limit is believed
    only when it is seen twice, and in two windows where the server was seen to allow more a short while ago. So a
    single 429 for another reason, early in a window, costs nothing. Where for a whole window nothing but 429s came, the
    server may count what it rejects: then one request a window is what can still be answered.

    Args:
        configured: requests in a window that the quota allows: never more.
        window: seconds.
        in_force: requests in a window that may start.
        raise_at: when the limit may be raised by a step. It is raised only if a request needs it.
        step: by how much it was raised last. It doubles with each raise until the next 429; 0 after one.
        interval: in units of `RAISE_AFTER` windows, how long the next raise waits after a 429. 0 before the first.
        suspected: a fall below half of the limit that was seen once, and when.
        starved_since: when the first 429 came since the last answer, with none in the window before it.
    """

    configured: int
    window: float
    in_force: int
    raise_at: float = 0.0
    step: int = 0
    interval: int = 0
    suspected: tuple[int, float] | None = None
    starved_since: float | None = None

    def succeeded(self, accepted: int, now: float) -> None:
        """So many requests of this window were answered without a 429."""
        self.starved_since = None
        # One window of ours can hold the requests of two fixed windows of the server.
        if self.suspected is not None and (accepted > 2 * self.suspected[0] or self._is_old(self.suspected[1], now)):
            self.suspected = None

    def throttled(self, accepted: int, now: float, *, same_burst: bool) -> None:
        """A 429 came.

        Args:
            accepted: the other requests of this window that were answered without a 429, or are not answered yet.
            now: the time.
            same_burst: the request was sent before an earlier 429 was known.
        """
        seen = max(1, min(accepted, self.in_force - (not same_burst)))
        if self.suspected is not None and not self._is_old(self.suspected[1], now):
            if same_burst:
                self.suspected = min(seen, self.suspected[0]), self.suspected[1]
                return
            seen = self.suspected[0]
        elif accepted == 0:
            # Nothing to learn from yet: somebody else may have used the quota up.
            if self.starved_since is None:
                self.starved_since = now
            if now - self.starved_since < self.window:
                return
            self.starved_since = now
        elif 2 * seen < self.in_force:
            self.suspected = seen, now
            self.interval = min(2 * self.interval or 1, 8)
            return
        if self.window > LONG_WINDOW:
            seen = max(seen, self.in_force // 2)
        self.in_force = min(seen, self.in_force)
        self.suspected = None
        if not same_burst:
            self.step = 0
            self.interval = min(2 * self.interval or 1, 8)
        self.raise_at = now + (self.window if self.interval == 1 else self.interval * self._raise_after)

    def raise_if_due(self, used: int, now: float) -> None:
        """Raise the limit by a step where a request needs it, and no 429 has come for long enough."""
        if used < self.in_force or now < self.raise_at:
            return
        if self.step > 0:
            # The last raise was right.
            self.interval = max(1, self.interval // 2)
        self.step = 2 * self.step or max(1, self.in_force // 32)
        self.in_force = min(self.configured, self.in_force + self.step)
        self.raise_at = now + self.window

    def is_probing(self, used: int) -> bool:
        """Whether one request at a time shall find out if a suspicion, or a raise, is right."""
        if self.suspected is not None:
            return used >= self.suspected[0]
        return self.step > 0 and self.in_force < self.configured and used >= self.in_force - self.step

    @property
    def _raise_after(self) -> float:
        return min(RAISE_AFTER * self.window, max(self.window, LONGEST_RAISE_AFTER))

    def _is_old(self, at: float, now: float) -> bool:
        return now - at > self._raise_after


def limits_for(quota: Quota, known: Iterable[Limit] = ()) -> list[Limit]:
    """The limits of a quota. Where it replaces another one, what was learned about a window stays known."""
    learned = {limit.window: limit for limit in known if limit.in_force < limit.configured}
    limits = []
    for count, window in quota.limits:
        before = learned.get(window)
        if before is not None and before.in_force < count:
            limits.append(attrs.evolve(before, configured=count))
        else:
            limits.append(Limit(count, window, count))
    return limits
