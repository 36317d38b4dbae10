"""requests, one session a thread, with the same records built by hand."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import requests

from benchmarks.clients import KEY, PATH, Tally
from benchmarks.clients.record import Record


def read_all(url: str, dates: Sequence[datetime.date], in_flight: int, tally: Tally) -> None:
    """Read all pages with `in_flight` threads."""
    left = iter(dates)

    def worker() -> None:
        with requests.Session() as session:
            session.headers["Authorization"] = f"APIKey {KEY}"
            for date in left:
                number = 1
                while True:
                    params = {"ymd": str(date), "pages": str(number)}
                    response = session.get(url + PATH, params=params, timeout=30)
                    response.raise_for_status()
                    result = response.json()["result"]
                    records = [
                        Record(date, row["grpIdx"], row["grpNm"], row["acesCnt"], row["pernCnt"])
                        for row in result["list"]
                    ]
                    tally.add(len(records), sum(record.clicks for record in records))
                    if result["extra"]["nextYn"] != "Y":
                        break
                    number = result["extra"]["nextPages"]

    with ThreadPoolExecutor(in_flight) as pool:
        for future in [pool.submit(worker) for _ in range(in_flight)]:
            future.result()
