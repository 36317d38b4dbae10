"""The tasks that fetch pages. A request under way is never cancelled: its task is asked to stop after it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from clicksgroup.errors import ClientClosedError
from clicksgroup.protocol import PageRequest, PageResponse

if TYPE_CHECKING:
    from clicksgroup.prefetching import DateState, Prefetcher


class Worker:
    """A task that fetches pages for a prefetcher, one after the other, as long as there are some to fetch.

    A request that the server may be working on keeps its place in flight until it ends. So a worker that is asked to
    stop in the middle of one finishes it, for the client, and ends then.
    """

    def __init__(self, prefetcher: Prefetcher[Any], state: DateState, request: PageRequest) -> None:
        # The date that a page is being fetched of, if one is.
        self.state: DateState | None = state
        self._prefetcher = prefetcher
        self._request_under_way = False
        self._stop_requested = False
        self._request = request
        self._task = asyncio.create_task(self._run(state, request), name="clicksgroup worker")
        self._task.add_done_callback(self._ended)

    def request_stop(self) -> None:
        """The result is not needed: end now, or as soon as the request that is under way has ended."""
        self._stop_requested = True
        if not self._request_under_way:
            self._task.cancel()

    def request_started(self) -> None:
        """A request is about to be sent. Raises `CancelledError` where its page is not wanted any more."""
        if self._prefetcher.abandoned or (self.state and not self.state.paginator.wants(self._request)):
            self._stop_requested = True
            raise asyncio.CancelledError
        self._request_under_way = True

    def request_ended(self) -> None:
        """It has ended. Raises `CancelledError` where a stop was requested in the meantime."""
        self._request_under_way = False
        if self._stop_requested:
            raise asyncio.CancelledError

    def backing_off(self, waiting: bool) -> None:
        """A wait before another attempt begins or ends."""
        self._prefetcher.backing_off(waiting)

    def cancel(self) -> asyncio.Task[None]:
        """Cancel it, a request under way included, and return the task to wait for."""
        self._stop_requested = True
        self._task.cancel()
        return self._task

    async def _run(self, state: DateState, request: PageRequest) -> None:
        prefetcher = self._prefetcher
        while True:
            prefetcher.page_ended(state, request, await self._fetch(state, request))
            if (following := prefetcher.take_next()) is not None:
                # Once the first page of a date has come, there may be work for more workers.
                prefetcher.fill()
            else:
                # The reader may be about to make room: one turn of the loop is cheaper than a new task.
                await asyncio.sleep(0)
                if (following := prefetcher.take_next()) is None:
                    break
            state, request = following
        # At once, so that its place is free for the next.
        prefetcher.worker_ended(self)

    async def _fetch(self, state: DateState, request: PageRequest) -> PageResponse | BaseException:
        """The page, or whatever ends the fetch: the reader meets it, be it an `Exception` or not."""
        self.state = state
        self._request = request
        try:
            return await self._prefetcher.fetch(request, self)
        except BaseException as error:
            if self._stop_requested or isinstance(error, asyncio.CancelledError):
                raise
            self.request_ended()
            return error
        finally:
            self.state = None

    def _ended(self, task: asyncio.Task[None]) -> None:
        # A task that is cancelled before its first step never runs, so it is removed here.
        self._prefetcher.worker_ended(self)
        if task.cancelled():
            if not self._stop_requested:
                self._prefetcher.close(ClientClosedError("the task that fetched for this stream was cancelled"))
        elif (error := task.exception()) is not None:
            # A fault of our own: the reader must not wait for ever.
            self._prefetcher.close(error)
        # A worker that was stopped leaves its place to a date that had to wait.
        self._prefetcher.fill()
