"""The promises, checked in every world by what the vendor and the readers saw."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable, Sequence

import attrs

from clicksgroup import (
    ClientClosedError,
    DecodeError,
    Group,
    GroupTotals,
    PaginationError,
    RateLimitError,
    RequestError,
    Stats,
)
from tests.checker import violations
from tests.simulation.backfills import FIRST_CLIENT, BackfillRuns
from tests.simulation.bodies import Row
from tests.simulation.plan import DatePlan, ReaderPlan, WorldPlan
from tests.simulation.process import Process
from tests.simulation.readers import Reading
from tests.simulation.redis import SimulatedRedis
from tests.simulation.vendor import OVER, Sent, Vendor

REREADS = 2
"""How often a date that moved may be read again (CONTRACT: twice at most)."""


@attrs.define(eq=False)
class Evidence:
    """What there is to judge a world by."""

    world: WorldPlan
    vendor: Vendor
    readings: list[Reading] = attrs.field(factory=list)
    stats: dict[int, Stats] = attrs.field(factory=dict)
    closed_at: dict[int, float] = attrs.field(factory=dict)
    ended_at: float | None = None
    backfill: BackfillRuns | None = None
    redis: SimulatedRedis | None = None
    problems: list[str] = attrs.field(factory=list)

    def processes(self) -> list[Process]:
        """The processes that may have been killed."""
        return [] if self.backfill is None else self.backfill.processes


def problems(evidence: Evidence, seconds: float) -> list[str]:
    """Everything that is not as promised, in words."""
    found = [*evidence.problems]
    if evidence.ended_at is not None:
        found += _quota_problems(evidence)
        found += _count_problems(evidence)
        found += _progress_problems(evidence, evidence.ended_at)
    if evidence.backfill is not None:
        found += [f"backfill: {problem}" for problem in _backfill_problems(evidence, evidence.backfill)]
    for number, reading in enumerate(evidence.readings):
        reader = _ReaderChecks(evidence, reading)
        about = f"reader {number} ({reading.plan.call}, {reading.plan.style})"
        found += [f"{about}: {problem}" for problem in reader.problems()]
    return found


def _quota_problems(evidence: Evidence) -> Iterable[str]:
    """Where the configuration is right, the server's limits hold."""
    server, sent = evidence.world.server, evidence.vendor.requests
    if not server.right:
        return
    spans = [(each.arrived_at, each.ended_at or float("inf")) for each in sent if each.arrived_at is not None]
    arrivals = sorted(each.counted_at for each in sent if each.counted_at is not None)
    limits = [(limit.count, limit.window) for limit in server.limits]
    yield from violations(limits, server.in_flight, arrivals, spans)
    rejected = sum(each.outcome == OVER for each in sent)
    if rejected:
        yield f"{rejected} requests were over the limits of the server"


def _count_problems(evidence: Evidence) -> Iterable[str]:
    sent = [each for each in evidence.vendor.requests if each.client in evidence.stats]
    counted = sum(stats.requests for stats in evidence.stats.values())
    if counted != len(sent):
        yield f"stats.requests are {counted}, but {len(sent)} were sent"
    good = sum(each.outcome == "ok" for each in sent)
    if (pages := sum(stats.pages for stats in evidence.stats.values())) > good:
        yield f"stats.pages are {pages}, but {good} were given"


def _progress_problems(evidence: Evidence, ended_at: float) -> Iterable[str]:
    """All that can be fetched is fetched in time: what the quota takes, what the faults take, and no more."""
    world, sent = evidence.world, evidence.vendor.requests
    if evidence.world.backfill is not None:
        return
    patient = any(reading.plan.style == "slow" for reading in evidence.readings)
    if not world.server.right or patient or not world.mild:
        return
    faults = sum(map(len, evidence.vendor.faults.values()))
    # A 429 that no limit explains may lower the limit in force, to one request a window at the least.
    hiccups = any(each.outcome.startswith("429") for each in sent)
    bound = max(reader.begins for reader in world.readers)
    if (redis := world.redis) is not None:
        # An exchange for each report, and a window in which nothing is granted after a loss of memory.
        bound += 30 + 20 * redis.latency * len(sent) + sum(limit.window for limit in world.server.limits)
    for limit in world.server.limits:
        windows = len(sent) // (1 if hiccups else limit.count) + 1
        bound += windows * limit.window * 1.001
    round_trip = 4 * world.network.most + world.server.work[1] + world.server.work[0] * 2
    bound += len(sent) * round_trip + faults * (world.timeout + 5 + 40) + 5
    if ended_at > bound:
        yield f"it took {ended_at:.1f} s, expected {bound:.1f} s at the most for {len(sent)} requests, {faults} faults"


def _backfill_problems(evidence: Evidence, runs: BackfillRuns) -> Iterable[str]:
    """The store is whole at each kill and exact at the end, and what it has is never asked for again."""
    yield from runs.problems
    sent = [each for each in evidence.vendor.requests if each.client >= FIRST_CLIENT]
    for killed_at, stored in runs.stored:
        again = sorted({each.ordinal for each in sent if each.written_at > killed_at and each.ordinal in stored})
        if again:
            yield f"dates that were stored were asked for again: {again}"
    runs_made = len(runs.processes)
    good = Counter(each.target for each in sent if each.outcome == "ok")
    steady = [target for target, count in good.items() if count > runs_made]
    if steady and all(len(date.versions) == 1 for date in evidence.world.dates.values()):
        yield f"in {runs_made} runs these pages came more often: {steady}"


class _ReaderChecks:
    def __init__(self, evidence: Evidence, reading: Reading) -> None:
        self._evidence = evidence
        self._world = evidence.world
        self._vendor = evidence.vendor
        self._reading = reading
        self._plan = reading.plan
        self._client = evidence.world.clients[reading.plan.client]
        self._strict = self._client.check == "strict"

    def problems(self) -> Iterable[str]:
        yield from self._reading.problems
        if self._reading.error is not None and (problem := self._error_problem(self._reading.error)):
            yield f"{problem}: {self._reading.error!r}"
        for date, error in self._reading.failed.items():
            if problem := self._error_problem(error):
                yield f"{date} failed: {problem}: {error!r}"
        if self._plan.call in ("day", "page"):
            yield from self._answer_problems()
        else:
            yield from self._stream_problems()
        yield from self._request_problems()

    # Records.

    def _answer_problems(self) -> Iterable[str]:
        (ordinal,) = self._plan.dates
        for item in self._reading.items:
            rows = [_row(record) for record in item.records]
            if self._plan.call == "day":
                yield from self._block_problems(ordinal, rows, complete=True)
            elif self._strict and not self._lies(ordinal):
                begin = (max(1, self._plan.stop_after) - 1) * 30
                if all(rows != version[begin : begin + 30] for version in self._versions(ordinal)):
                    yield f"page of {ordinal} is not as listed"
        if self._world.mild and self._reading.error is None and self._plan.style != "timeout" and not self._closed():
            missing = self._plan.callers - len(self._reading.items)
            if missing:
                yield f"{missing} callers got neither an answer nor an error"

    def _stream_problems(self) -> Iterable[str]:
        blocks = _blocks(self._reading.items, self._plan)
        came = [ordinal for ordinal, _ in blocks]
        sure = [ordinal for ordinal in self._plan.dates if self._gives_items(ordinal)]
        if self._plan.ordered:
            # A date that moves may have had no records when it was read.
            failed = {date.toordinal() for date in self._reading.failed}
            expected = [ordinal for ordinal in self._plan.dates if ordinal in {*came, *sure} - failed]
            if came != expected[: len(came)]:
                yield f"dates came as {came}, expected {expected}"
        if len(set(came)) != len(came) or not set(came) <= set(self._plan.dates):
            yield f"dates came as {came}: twice, mixed, or never asked for"
        for number, (ordinal, rows) in enumerate(blocks):
            # A reader who stops may be in the middle of a date, and so may one who meets an error.
            last = number == len(blocks) - 1 and self._plan.call != "days"
            yield from self._block_problems(ordinal, rows, complete=self._reading.clean or not last)
        if self._reading.clean:
            failed = {date.toordinal() for date in self._reading.failed}
            missing = [ordinal for ordinal in sure if ordinal not in came and ordinal not in failed]
            if missing:
                yield f"a clean end without {missing}"
            lies = [ordinal for ordinal in self._plan.dates if self._strict and self._lies(ordinal)]
            if not failed.issuperset(lies):
                yield f"a clean end although the server lied about {lies}"

    def _block_problems(self, ordinal: int, rows: list[Row], *, complete: bool) -> Iterable[str]:
        date = self._date(ordinal)
        if not self._strict and (date.lie or len(date.versions) > 1):
            return
        versions = self._versions(ordinal)
        if self._strict and (lie := self._lies(ordinal)):
            if complete and self._plan.call != "page":
                yield f"{ordinal} was given whole, although the server lied: {lie}"
            elif rows != versions[0][: len(rows)]:
                yield f"{ordinal}: records are not as listed"
        elif complete:
            same = rows in versions if len(versions) == 1 else any(sorted(rows) == sorted(v) for v in versions)
            if not same:
                counts = " or ".join(str(len(version)) for version in versions)
                yield f"{ordinal}: {len(rows)} records, expected {counts}: {_difference(rows, versions[0])}"
        elif len(versions) == 1 and rows != versions[0][: len(rows)]:
            yield f"{ordinal}: records are not as listed: {_difference(rows, versions[0][: len(rows)])}"
        elif len(set(rows)) != len(rows):
            yield f"{ordinal}: a record came twice"

    def _gives_items(self, ordinal: int) -> bool:
        """Whether a date must give an item before the stream goes on: `clicks` gives none where there is no record."""
        if self._lies(ordinal):
            return False
        return self._plan.call in ("pages", "days") or all(self._versions(ordinal))

    # Errors.

    def _error_problem(self, error: BaseException) -> str | None:
        """Why this error should not have been raised."""
        if isinstance(error, ClientClosedError):
            return None if self._closed() else "the client was not closed"
        if not isinstance(error, RequestError):
            return "not a RequestError"
        if isinstance(error, PaginationError):
            return self._pagination_problem(self._ordinal(error))
        throttled = any(each.outcome == OVER or each.outcome.startswith("429") for each in self._vendor.requests)
        if isinstance(error, RateLimitError) and not throttled:
            return "no request met a 429"
        if isinstance(error, RateLimitError) and error.attempts == 0:
            return None
        faults = self._faults_of(self._ordinal(error), error.page)
        # A deadline may have cut the last attempt short, which is no fault of the vendor's.
        if len(faults) < error.attempts - (not self._world.mild):
            return f"{error.attempts} attempts, but only these failed: {faults}"
        if isinstance(error, DecodeError) and "html" in faults:
            return None
        if self._world.mild and self._world.server.right:
            return f"faults that retries overcome: {faults}"
        return None

    def _pagination_problem(self, ordinal: int) -> str | None:
        date = self._date(ordinal)
        if self._lies(ordinal):
            return None
        if len(date.versions) == 1:
            return "the pages added up"
        if self._plan.call in ("day", "days"):
            return f"the date moved {len(date.versions) - 1} times, which reading again overcomes"
        return None

    def _ordinal(self, error: RequestError) -> int:
        """The date of an error; the list of groups has none."""
        return self._plan.dates[0] if self._plan.call == "groups" else error.date.toordinal()

    def _faults_of(self, ordinal: int, page: int | None) -> list[str]:
        asked = ordinal if self._plan.call == "groups" else datetime.date.fromordinal(ordinal)
        found = []
        for target, faults in self._vendor.faults.items():
            if f"={asked}" in target and target.endswith(f"pages={page}"):
                found += faults
        return found

    # Requests.

    def _request_problems(self) -> Iterable[str]:
        sent: dict[int, list[Sent]] = {ordinal: [] for ordinal in self._plan.dates}
        for each in self._vendor.requests:
            if each.ordinal in sent:
                sent[each.ordinal].append(each)
        in_flight = self._world.quota.in_flight
        for ordinal, requests in sent.items():
            date = self._date(ordinal)
            lies = bool(self._lies(ordinal))
            unsteady = lies or len(date.versions) > 1
            failed = sum(each.outcome != "ok" for each in requests)
            again = REREADS if unsteady and self._plan.call in ("day", "days") else 0
            most = self._pages(ordinal) * (1 + again) + failed + (in_flight - 1 + lies) * (1 + again) * unsteady
            if len(requests) > most:
                yield f"{len(requests)} requests for {ordinal}, expected {most} at the most ({failed} failed)"
            good = Counter(each.target for each in requests if each.outcome == "ok")
            if not unsteady and good and max(good.values()) > 1:
                yield f"a page that had come was asked for again: {good.most_common(1)}"
        stopped_at = self._reading.stopped_at
        if stopped_at is not None:
            late = [each for requests in sent.values() for each in requests if each.written_at > stopped_at]
            if len(late) > in_flight:
                yield f"{len(late)} requests were sent after the reader had stopped"

    def _pages(self, ordinal: int) -> int:
        """Requests that an honest date takes, its longest version."""
        groups = self._plan.groups
        if self._plan.call == "page":
            return 1
        parts = 1 if groups is None else len(self._parts())
        if groups is None or self._world.server.ignores_groups:
            return self._date(ordinal).pages * parts
        if parts > 1:
            return parts
        return max(max(1, -(-len(rows) // 30)) for rows in self._versions(ordinal))

    def _lies(self, ordinal: int) -> str:
        """How the server lies about a date, to this reader."""
        date = self._date(ordinal)
        if self._world.server.ignores_groups and self._plan.groups is not None:
            listed = {group for ids in date.versions for group in ids}
            if any(not listed <= set(part or ()) for part in self._parts()):
                return date.lie or "it ignores the groups"
        return date.lie

    def _parts(self) -> list[tuple[int, ...] | None]:
        """The lists of groups that are asked for, one request's after another."""
        groups, size = self._plan.groups, self._world.plan.groups_per_request
        if groups is None or size is None:
            return [groups]
        return [groups[i : i + size] for i in range(0, len(groups), size)]

    def _date(self, ordinal: int) -> DatePlan:
        return self._world.dates[ordinal]

    def _versions(self, ordinal: int) -> list[list[Row]]:
        """Every right answer, in the order in which its records are to come."""
        return self._vendor.answers(ordinal, self._plan.groups)

    def _closed(self) -> bool:
        return self._client.closes is not None


def _blocks(items: Sequence[object], plan: ReaderPlan) -> list[tuple[int, list[Row]]]:
    """The records that came, by date: a date that comes in two pieces makes two blocks."""
    blocks: list[tuple[int, list[Row]]] = []
    for item in items:
        ordinal = plan.dates[0] if isinstance(item, Group) else _start(item).toordinal()
        if plan.call == "days" or not blocks or blocks[-1][0] != ordinal:
            blocks.append((ordinal, []))
        records = item.records if plan.call in ("pages", "days") else [item]  # type: ignore[attr-defined]
        blocks[-1][1].extend(map(_row, records))
    return blocks


def _start(item: object) -> datetime.date:
    date: datetime.date = item.start if isinstance(item, GroupTotals) else item.date  # type: ignore[attr-defined]
    return date


def _row(record: object) -> Row:
    if isinstance(record, Group):
        return record.id, record.name, int(record.memo), record.link_count
    return record.group_id, record.group_name, record.clicks, record.unique_users  # type: ignore[attr-defined]


def _difference(came: list[Row], expected: list[Row]) -> str:
    for number, (one, other) in enumerate(zip(came, expected, strict=False)):
        if one != other:
            return f"record {number} is {one}, expected {other}"
    return "one is longer"
