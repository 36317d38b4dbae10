"""Draws a world from its seed. A change of this file changes what world each seed stands for."""

from __future__ import annotations

import datetime
import random
from collections.abc import Sequence

import attrs

from clicksgroup import Plan, Quota, RetryPolicy
from tests.simulation.plan import (
    FAULTS,
    LIES,
    BackfillPlan,
    ClientPlan,
    DatePlan,
    Kill,
    Limit,
    Network,
    ReaderPlan,
    RedisPlan,
    ServerPlan,
    WorldPlan,
)

FIRST_DATE = datetime.date(2020, 1, 1).toordinal()
"""The first date of the first reader. Every reader has dates of its own, 500 days further on."""


def draw_world(seed: int) -> WorldPlan:
    """The world of a seed."""
    return _Draw(seed).world()


class _Draw:
    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._rng = random.Random(seed)
        # For what was added later: without a source of its own it would change every world.
        self._later = random.Random(f"later {seed}")
        # The share of dates that move.
        self._moving = 0.06

    def world(self) -> WorldPlan:
        rng = self._rng
        kind = rng.choices(("plain", "abandonment", "shared", "backfill"), (78, 14, 3, 5))[0]
        plan = rng.choice((*Plan, Plan.BUSINESS, Plan.BUSINESS))
        quota = self._quota(plan) if kind == "plain" else self._tight_quota()
        mild = rng.random() < 0.75 or kind == "backfill"
        timeout = rng.choice((6.0, 30.0, 30.0))
        network = self._network()
        server = self._server(quota, network, timeout, mild)
        if kind != "plain":
            server = attrs.evolve(server, ignores_groups=False)
        retry = RetryPolicy() if mild else RetryPolicy(rng.randint(1, 6), deadline=rng.choice((10.0, 60.0, 300.0)))
        if server.ignores_groups:
            # Whether such a server lies about a date must not depend on when it is read.
            self._moving = 0.0
        dates: dict[int, DatePlan] = {}
        if kind in ("abandonment", "shared"):
            # Whatever else happens, the first client is left in the middle of its requests, and the second goes on.
            linger = self._longest_linger(network, timeout)
            server = attrs.evolve(server, work=(0.8, 2.0), linger=linger)
            clients = [attrs.evolve(self._client(), closes=closes) for closes in (rng.uniform(0.3, 6.0), None)]
            readers = [self._reader(number, plan, 2, dates, busy=True) for number in range(2)]
        elif kind == "backfill":
            clients, readers = [], []
        else:
            clients = [self._client() for _ in range(rng.choice((1, 1, 2, 2, 3)))]
            readers = [self._reader(number, plan, len(clients), dates) for number in range(rng.choice((1, 1, 2, 2, 3)))]
        backfill, shared = None, kind == "shared"
        if kind == "backfill":
            backfill = self._backfill(plan, dates)
            shared = rng.random() < 0.5
            if shared:
                clients = [attrs.evolve(self._client(), closes=None)]
                readers = [self._reader(0, plan, 1, dates, busy=True)]
            elif backfill.kills:
                # What a process knows of its quota dies with it.
                server = attrs.evolve(server, right=False)
        logs = rng.random() < 0.1
        redis = self._redis() if kind == "shared" and self._later.random() < 0.5 else None
        return WorldPlan(
            self._seed, plan, quota, network, server, retry, timeout, mild, logs, tuple(clients),
            tuple(map(self._other_call, readers)), dates, shared, backfill, redis,
        )  # fmt: skip

    def _redis(self) -> RedisPlan:
        rng = self._later
        latency = rng.choice((0.0005, 0.01, 0.05))
        step = (rng.uniform(0.5, 20), rng.choice((-3600.0, -7.0, 7.0, 3600.0)))
        return RedisPlan(
            latency,
            rng.choice((0.0, 0.02, 0.1)),
            (step,) if rng.random() < 0.3 else (),
            rng.uniform(0.5, 20) if rng.random() < 0.2 else None,
        )

    def _other_call(self, reader: ReaderPlan) -> ReaderPlan:
        """Let some readers of a single date ask for totals from that date on, or for the list of groups."""
        if len(reader.dates) > 1 or reader.call in ("day", "page") or self._later.random() < 0.5:
            return reader
        if self._later.random() < 0.5:
            return attrs.evolve(reader, call="groups", groups=None, notes_failures=False)
        return attrs.evolve(reader, call="totals", days=self._later.randint(1, 7), notes_failures=False)

    def _backfill(self, plan: Plan, dates: dict[int, DatePlan]) -> BackfillPlan:
        rng = self._rng
        ordinals = range(FIRST_DATE + 1500, FIRST_DATE + 1500 + rng.randint(2, 12))
        dates.update((ordinal, self._date(100, lies=False)) for ordinal in ordinals)
        groups = self._groups(dates[ordinals[0]]) if plan.groups_required or rng.random() < 0.2 else None
        kills = tuple(self._kill() for _ in range(rng.randrange(4)))
        return BackfillPlan(tuple(ordinals), groups, kills, rng.uniform(0, 5), self._later.random() < 0.3)

    def _kill(self) -> Kill:
        rng = self._rng
        return Kill(rng.expovariate(1 / 15) if rng.random() < 0.4 else None, rng.randint(20, 90))

    def _tight_quota(self) -> Quota:
        rng = self._rng
        return Quota((rng.randint(2, 8), rng.choice((1.0, 2.0, 5.0))), in_flight=rng.choice((1, 2, 3)))

    @staticmethod
    def _longest_linger(network: Network, timeout: float) -> float:
        """As long as an abandoned request is taken to be in flight, less its way to the server."""
        return min(5.0, timeout) - network.most - 0.2

    def _quota(self, plan: Plan) -> Quota:
        rng = self._rng
        kind = rng.random()
        if kind < 0.2:
            return Quota.of(plan)
        if kind < 0.25:
            return Quota(in_flight=rng.randint(1, 5))
        limits = [(rng.randint(1, 12), float(rng.choice((1, 2, 5, 10, 60))))]
        if rng.random() < 0.2:
            limits.append((limits[0][0] * rng.randint(2, 4), limits[0][1] * rng.choice((6, 20))))
        return Quota(*limits, in_flight=rng.choice((1, 1, 2, 2, 3, 4)))

    def _network(self) -> Network:
        rng = self._rng
        base = rng.choice((0.001, 0.02, 0.1))
        return Network(base, base * rng.choice((0, 1, 4)), rng.choice((0, 0.3, 0.8)))

    def _server(self, quota: Quota, network: Network, timeout: float, mild: bool) -> ServerPlan:
        rng = self._rng
        right = rng.random() < 0.8
        share = 1.0 if right else rng.choice((0.25, 0.5, 0.8))
        limits = tuple(
            Limit(max(1, round(count * share)), window, rng.uniform(0, window) if rng.random() < 0.5 else None)
            for count, window in quota.limits
        )
        moments = [rng.uniform(0, 300) for _ in range(0 if right else rng.randrange(3))]
        some = tuple(rng.sample(FAULTS, rng.randint(1, len(FAULTS))))
        faulty = rng.random() < (0.6 if mild else 0.9)
        begin = rng.uniform(0, 60)
        outage = rng.random() < (0 if mild else 0.3)
        work = rng.choice((0.01, 0.1, 0.5))
        return ServerPlan(
            limits=limits,
            in_flight=quota.in_flight if right or rng.random() < 0.7 else max(1, quota.in_flight - 1),
            changes=tuple((moment, rng.choice((0.5, 2.0, 4.0))) for moment in sorted(moments)),
            right=right,
            counts_rejected=rng.random() < 0.5,
            counts_late=rng.random() < 0.3,
            retry_after=rng.choice(("none", "seconds", "date")),
            work=(work, rng.choice((work, min(2.5, timeout / 3)))),
            linger=rng.choice((0.0, 1.0, self._longest_linger(network, timeout))),
            fault_rate=rng.choice((0.02, 0.1, 0.3)) if faulty else 0.0,
            fault_budget=rng.randint(1, 4) if mild else None,
            faults=some,
            maintenance=((begin, begin + rng.uniform(1, 40)),) if outage else (),
            closes=rng.choice((0, 0, 0.05, 0.5)),
            ignores_groups=rng.random() < 0.05,
        )

    def _client(self) -> ClientPlan:
        rng = self._rng
        return ClientPlan(
            closes=rng.expovariate(1 / 20) if rng.random() < 0.3 else None,
            check="warn" if rng.random() < 0.1 else "strict",
            api_version="v2" if rng.random() < 0.15 else "v1",
            middleware=rng.random() < 0.1,
        )

    def _reader(
        self, number: int, plan: Plan, clients: int, dates: dict[int, DatePlan], *, busy: bool = False
    ) -> ReaderPlan:
        """A reader; a `busy` one is its client's own, and reads many dates from the beginning to the end."""
        rng = self._rng
        call = rng.choice(("clicks", "clicks", "pages", "days", "days", "day", "page"))
        count = self._count()
        style = rng.choice(("read", "read", "read", "slow", "break", "aclose", "impatient", "timeout"))
        if busy:
            call, style, count = rng.choice(("clicks", "days")), "read", rng.randint(3, 12)
        elif call in ("day", "page"):
            count = 1
        ordinals = range(FIRST_DATE + 500 * number, FIRST_DATE + 500 * number + count)
        order = tuple(rng.sample(ordinals, count) if rng.random() < 0.2 else ordinals)
        most = 12 if count > 20 else 100 if count > 5 else 1500
        dates.update((ordinal, self._date(most)) for ordinal in order)
        groups = self._groups(dates[order[0]]) if plan.groups_required or rng.random() < 0.2 else None
        if call == "page" and plan.groups_required and groups is not None:
            groups = groups[:5]
        return ReaderPlan(
            client=number if busy else rng.randrange(clients),
            begins=0.0 if busy else rng.choice((0.0, 0.0, rng.uniform(0, 10))),
            call=call,
            dates=order,
            groups=groups,
            ordered=rng.random() < 0.7,
            style=style,
            stop_after=rng.choice((0, 1, 5, 40)),
            pause=rng.choice((0.001, 0.3, 2.0, 20.0)),
            callers=rng.choice((1, 1, 2, 3)) if call in ("day", "page") else 1,
            notes_failures=call == "days" and rng.random() < 0.3,
        )

    def _count(self) -> int:
        rng = self._rng
        kind = rng.random()
        return rng.randint(1, 8) if kind < 0.9 else rng.randint(9, 40) if kind < 0.995 else rng.randint(41, 400)

    def _date(self, most: int, *, lies: bool = True) -> DatePlan:
        rng = self._rng
        kind = rng.random()
        count = rng.choice((0, 1, 3, 29, 30, 31, 60, 61)) if kind < 0.85 else rng.randint(0, 200)
        if kind > 0.995:
            count = rng.randint(200, 1500)
        count = min(count, most)
        ids = tuple(100 + 7 * i + rng.randrange(7) for i in range(count))
        if rng.random() < 0.3:
            ids = tuple(rng.sample(ids, count))
        if lies and rng.random() < 0.03:
            return DatePlan((ids,), rng.choice(LIES))
        if rng.random() < self._moving:
            return DatePlan((ids, *(self._moved(ids) for _ in range(rng.choice((1, 1, 2))))))
        return DatePlan((ids,))

    def _moved(self, ids: Sequence[int]) -> tuple[int, ...]:
        """The same groups in another order, or more or fewer of them: pages of two versions never add up."""
        rng = self._rng
        kind = rng.randrange(3)
        if kind == 0 or not ids:
            return (*range(100_000, 100_000 + rng.randint(1, 4)), *ids)
        if kind == 1:
            return tuple(ids[rng.randint(1, min(4, len(ids))) :])
        return tuple(rng.sample(ids, len(ids)))

    def _groups(self, date: DatePlan) -> tuple[int, ...]:
        """Ids to ask for: some that are listed and some that are not."""
        rng = self._rng
        listed = date.versions[0]
        wanted = [
            *rng.sample(listed, rng.randint(0, min(len(listed), 12))),
            *rng.sample(range(50_000, 50_100), rng.randint(1, 3)),
        ]
        return tuple(rng.sample(wanted, len(wanted)))
