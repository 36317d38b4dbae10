"""The answers that the doctor looks at, as they came."""

from __future__ import annotations

import time
from collections.abc import Mapping

import aiohttp
import attrs
from aiohttp.client_middlewares import ClientHandlerType

from clicksgroup.transport import read_body


@attrs.frozen
class Answer:
    """A recorded answer.

    Args:
        page: the number of the requested page.
        status: the HTTP status.
        headers: the headers, by their names in lower case.
        body: the body after decompression.
        received_at: seconds since the epoch, by this machine's clock.
    """

    page: int
    status: int
    headers: Mapping[str, str]
    body: bytes
    received_at: float


class Recorder:
    """A middleware for an aiohttp session that records each answer with its body.

    `answers` are those so far, in their order. The key is replaced where the server echoes it.
    """

    def __init__(self) -> None:
        self.answers: list[Answer] = []

    async def __call__(self, request: aiohttp.ClientRequest, handler: ClientHandlerType) -> aiohttp.ClientResponse:
        response = await handler(request)
        received_at = time.time()
        body = await read_body(response)
        if key := request.headers.get("Authorization", "").removeprefix("APIKey "):
            body = body.replace(key.encode(), b"***")
        page = int(request.url.query.get("pages", "1"))
        headers = {name.lower(): value for name, value in response.headers.items()}
        self.answers.append(Answer(page, response.status, headers, body, received_at))
        return response
