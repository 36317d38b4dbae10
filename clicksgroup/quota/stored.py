"""The state of a shared quota as bytes, and one process's part in it, wherever the bytes are kept."""

from __future__ import annotations

import json
import math
import os
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import cattrs

from clicksgroup.errors import ConfigurationError
from clicksgroup.plans import Quota
from clicksgroup.quota.backend import Backend
from clicksgroup.quota.shared import LONGEST_PAUSE
from clicksgroup.quota.state import LEASE, Event, ExchangeResult, SharedState

FORMAT = "clicksgroup quota 2"

_HOLDER = re.compile(r"holder-(\d+-)?[0-9a-f]{12}", re.ASCII)


class StoredBackend(Backend):
    """A backend that keeps the state as bytes, while `SharedState` decides.

    A subclass loads the state, calls `decide`, and puts `dump` of it back, all of it in one atomic step.
    """

    def __init__(self, quota: Quota) -> None:
        self.quota = quota
        self.holder = ""
        # What was seen last: the id of the memory, and how often it had changed.
        self.seen: tuple[str, int] | None = None

    @property
    def heartbeat(self) -> float:
        return LEASE / 3

    def new_holder(self) -> None:
        """Become another holder, which has seen nothing yet."""
        self.holder = f"holder-{os.getpid()}-{uuid.uuid4().hex[:12]}"
        self.seen = None

    def decide(
        self,
        state: SharedState,
        events: Sequence[Event],
        request_ids: Sequence[str],
        held: Mapping[str, bool],
        now: float,
    ) -> ExchangeResult:
        """Change the state as one exchange does.

        Raises:
            ConfigurationError: others keep a different quota there.
        """
        if self.seen is not None:
            state.compare(*self.seen, now)
        if not state.join(self.holder, self.quota, now):
            raise ConfigurationError(
                f"{self.describe()}: another process keeps {state.quota!r} there, and this one was given "
                f"{self.quota!r}; give all the same quota, or keep them apart under different names"
            )
        return state.exchange(self.holder, events, request_ids, now, held)

    def dump_changed(self, state: SharedState, raw: bytes | None, now: float) -> bytes | None:
        """The state as bytes, or None if it is what was read."""
        if dump(state) == raw:
            return None
        state.clock = max(now, state.clock)
        state.changes += 1
        return dump(state)


def process_of(holder: str) -> str:
    """The process behind the name of a holder, for log lines."""
    found = _HOLDER.fullmatch(holder)
    return f"process {found[1][:-1]}" if found and found[1] else "another process"


def dump(state: SharedState) -> bytes:
    """The state as bytes."""
    return json.dumps({"format": FORMAT, **_converter.unstructure(state)}, separators=(",", ":")).encode()


def load(raw: bytes) -> SharedState:
    """The state that was dumped, also by earlier versions.

    Raises:
        Exception: it is not one. A foreign value can make the parser raise anything.
    """
    data = json.loads(raw)
    written_as = data.pop("format", "Redis 1")
    if written_as == "clicksgroup quota 1":
        data = _from_file_1(data)
    elif written_as == "Redis 1":
        data = _from_redis_1(data)
    elif written_as != FORMAT:
        raise ValueError("another format")
    state = _converter.structure(data, SharedState)
    # The names of holders become paths.
    if not all(_HOLDER.fullmatch(holder) for holder in state.holders):
        raise ValueError("not the name of a holder")
    if not all(math.isfinite(lease) for lease in state.holders.values()):
        raise ValueError("not the lease of a holder")
    return state


def _from_file_1(data: dict[str, Any]) -> dict[str, Any]:
    # Earlier still, two names were others.
    for name, earlier in (("half_open", "probation"), ("trial", "probe")):
        data.setdefault(name, data.pop(earlier, None))
    data["half_open"] = bool(data["half_open"])
    data["paused_until"] = min(data["paused_until"], data["clock"] + LONGEST_PAUSE)
    # Their locks tell whether they are alive.
    data["holders"] = dict.fromkeys(data["holders"], data["clock"] + LEASE)
    return data


def _from_redis_1(data: dict[str, Any]) -> dict[str, Any]:
    """The state as a script wrote it. An empty list of Lua is an object in JSON, and "" was used for None."""
    places = {
        slot_id: {"holder": _holder_1(place["holder"]), "answered": place["answered"], "back_at": place.get("back_at")}
        for slot_id, place in dict(data["places"]).items()
    }
    return {
        "quota": _parse_quota(data["quota"]),
        "clock": data["clock"],
        "origin": data["origin"],
        "epoch": data["epoch"],
        "changes": data["changes"],
        "lost_epoch": data["lost_epoch"] or None,
        "closed_until": data["closed_until"],
        "paused_until": min(data["paused_until"], data["clock"] + LONGEST_PAUSE),
        "half_open": data.get("half_open", data.get("probation", False)),
        "trial": data["probe"] or None,
        "holders": {_holder_1(holder): lease for holder, lease in dict(data["holders"]).items()},
        "places": places,
        "answered": list(data["answered"]),
        "queue": [(request_id, _holder_1(holder)) for request_id, holder in data["queue"]],
    }


def _holder_1(holder: str) -> str:
    return f"holder-{holder[:12]}"


def _parse_quota(text: str) -> dict[str, Any]:
    """A quota out of its repr, such as `Quota((24, 60.0), in_flight=2)`."""
    limits = [(int(count), float(window)) for count, window in re.findall(r"\((\d+), ([\d.e+-]+)\)", text)]
    return {"limits": limits, "in_flight": int(text.rpartition("=")[2].rstrip(")"))}


def _quota_from(value: dict[str, Any], _: type[Quota]) -> Quota:
    return Quota(*(tuple(limit) for limit in value["limits"]), in_flight=value["in_flight"])


_converter = cattrs.Converter(forbid_extra_keys=True)
_converter.register_structure_hook(Quota, _quota_from)
