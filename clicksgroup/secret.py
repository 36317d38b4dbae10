"""The key, which nothing may show."""

from __future__ import annotations

import json
from urllib.parse import quote

_SHORTEST_SECRET = 5
"""Characters. A shorter key is no secret, and to redact it would garble every text it happens to be part of."""


class Secret(str):
    """A string that is right on the wire and redacted in every `repr`."""

    __slots__ = ()

    def redact(self, text: str) -> str:
        """The text without this string, plain or as JSON or a URL would write it: a server may echo it."""
        if len(self) < _SHORTEST_SECRET:
            return text
        plain = str(self)
        for written in (plain, json.dumps(plain)[1:-1], plain.replace("/", "\\/"), quote(plain), quote(plain, "")):
            text = text.replace(written, "***")
        return text

    def __repr__(self) -> str:
        return "'***'"
