"""Commit the settled units beside the fetching: when they are many, or after some seconds."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import attrs

from profile_history._aio import wait_through_cancel
from profile_history.jobs.batch_builder import PendingCommit, UnitCollector
from profile_history.results import UnitResult


@attrs.define(eq=False)
class Flusher:
    """The way from the fetching to the commits; at most two batches are in memory.

    Attributes:
        collector: Where the units are gathered.
        commit: Commits what was gathered.
        size: Bytes of responses that are worth a commit.
        seconds: Seconds after which anything is.
    """

    collector: UnitCollector
    commit: Callable[[PendingCommit], Awaitable[None]]
    size: int
    seconds: float
    _wanted: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)
    _room: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)
    _ending: bool = attrs.field(default=False, init=False)
    _task: asyncio.Task[None] | None = attrs.field(default=None, init=False)

    def start(self) -> None:
        """Begin to commit; to be called on the event loop."""
        self._task = asyncio.create_task(self._run())

    async def add(self, contents: Sequence[UnitResult[Any]], size: int) -> None:
        """Take what was fetched of one window, and wait while too much is gathered.

        Args:
            contents: The parts of the window.
            size: Bytes of its response.

        Raises:
            LedgerError: A commit has failed.
            SinkError: Likewise.
        """
        assert self._task is not None
        self.collector.add(contents, size)
        if self.collector.pending.size < self.size:
            if self._task.done():
                self._task.result()
            return
        # Wake the committing up. While it writes one batch, another one may be gathered, and no more: then the fetching
        # waits for room, or for a commit that has failed, after which there will be none.
        self._room.clear()
        self._wanted.set()
        if self.collector.pending.size >= 2 * self.size:
            room = asyncio.create_task(self._room.wait())
            await asyncio.wait((room, self._task), return_when=asyncio.FIRST_COMPLETED)
            room.cancel()
        if self._task.done():
            self._task.result()

    async def end(self) -> None:
        """Commit the rest, and wait for that; a cancellation is raised when it is done.

        Raises:
            LedgerError: A commit has failed.
            SinkError: Likewise.
        """
        assert self._task is not None
        self._ending = True
        self._wanted.set()
        if await wait_through_cancel(self._task) and self._task.exception() is None:
            raise asyncio.CancelledError
        self._task.result()

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.seconds):
                    await self._wanted.wait()
            self._wanted.clear()
            # Read before the units are taken: what is added behind them must see another turn.
            ending = self._ending
            pending = self.collector.take()
            self._room.set()
            if pending.records or pending.rests:
                await self.commit(pending)
            if ending:
                return
