"""Pages as the vendor documents them, for servers to send."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.raw_server import Request, http


def envelope(page: int = 1, total: int = 3, **extra: object) -> dict[str, Any]:
    """A correct page of `total` groups, whose ids are 1, 2, 3 ...; `extra` replaces fields of `result.extra`."""
    ids = range((page - 1) * 30 + 1, min(page * 30, total) + 1)
    more = page * 30 < total
    fields: dict[str, object] = {
        "pages": page,
        "nextPages": page + 1 if more else page,
        "nextYn": "Y" if more else "N",
        "count": len(ids),
        "totalCount": total,
        **extra,
    }
    return {"code": 0, "message": "", "result": {"extra": fields, "list": [row(number) for number in ids]}}


def row(number: int, **changes: object) -> dict[str, object]:
    """One record of `result.list`."""
    return {"grpIdx": number, "grpNm": f"Group {number}", "acesCnt": number * 2, "pernCnt": number, **changes}


def dumps(value: object) -> bytes:
    """JSON as bytes."""
    return json.dumps(value).encode()


def paged(total: int) -> Callable[[Request], bytes]:
    """The responses of a correct server whose dates all have this many groups."""
    return lambda request: http(dumps(envelope(request.page, total)))
