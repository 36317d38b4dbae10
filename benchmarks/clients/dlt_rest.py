"""dlt's RESTClient with a paginator of the kind its documentation describes, one client a thread."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dlt.sources.helpers.rest_client.auth import APIKeyAuth
from dlt.sources.helpers.rest_client.client import RESTClient
from dlt.sources.helpers.rest_client.paginators import BasePaginator

from benchmarks.clients import KEY, PATH, Tally


class NextPages(BasePaginator):
    """Follows `nextPages` while `nextYn` is Y."""

    def __init__(self) -> None:
        super().__init__()
        self._number = 1

    def update_state(self, response: Any, data: list[Any] | None = None) -> None:  # noqa: ARG002
        extra = response.json()["result"]["extra"]
        self._has_next_page = extra["nextYn"] == "Y"
        self._number = extra["nextPages"]

    def update_request(self, request: Any) -> None:
        request.params["pages"] = self._number


def read_all(url: str, dates: Sequence[datetime.date], in_flight: int, tally: Tally) -> None:
    """Read all pages with `in_flight` threads."""
    left = iter(dates)

    def worker() -> None:
        auth = APIKeyAuth(name="Authorization", api_key=f"APIKey {KEY}", location="header")
        client = RESTClient(base_url=url, auth=auth, data_selector="result.list")
        for date in left:
            params: dict[str, Any] = {"ymd": str(date), "pages": 1}
            for page in client.paginate(PATH, params=params, paginator=NextPages()):
                tally.add(len(page), sum(row["acesCnt"] for row in page))
        client.session.close()

    with ThreadPoolExecutor(in_flight) as pool:
        for future in [pool.submit(worker) for _ in range(in_flight)]:
            future.result()
