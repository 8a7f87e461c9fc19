"""Helpers for the event loop: which one runs, long work in short slices, and blocking work in threads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator
from concurrent.futures import Executor
from functools import partial
from typing import Any, TypeVar

from profile_history.errors import UsageError

T = TypeVar("T")

# Seconds. A turn of the loop may hold one of verifying and one of handing out, and what arrives on all connections; the
# loop may be held for 5 ms.
MAX_SLICE_SECONDS = 0.0002


def require_loop() -> asyncio.AbstractEventLoop:
    """Return the running event loop of asyncio.

    Raises:
        UsageError: There is none, as under trio.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise UsageError(
            "there is no running event loop of asyncio, and aiohttp works on no other; begin with asyncio.run(), or "
            "anyio.run(..., backend='asyncio'); under trio use trio_asyncio.open_loop()"
        ) from None


class CooperativeRunner:
    """A queue that lets long work on one event loop take turns: of all that is given to it, one at a time goes on.

    Were each of many to hold the loop but shortly, one turn of the loop would still take the sum.
    """

    def __init__(self) -> None:
        # Held by the one work that goes on; it lets go of the loop now and then, and of the lock only when it is done.
        self._lock = asyncio.Lock()

    async def run(self, steps: Generator[None, None, T]) -> T:
        """Run short steps to their end, and let the event loop do other work between them."""
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        async with self._lock:
            since = time.perf_counter()
            while True:
                try:
                    next(steps)
                except StopIteration as end:
                    return end.value  # type: ignore[no-any-return]
                if time.perf_counter() - since > MAX_SLICE_SECONDS:
                    await asyncio.sleep(0)
                    since = time.perf_counter()


async def wait_through_cancel(job: asyncio.Future[Any]) -> bool:
    """Wait until a future is done, however often the waiting is cancelled, and return whether it was."""
    cancelled = False
    while not job.done():
        try:
            await asyncio.wait((job,))
        except asyncio.CancelledError:
            cancelled = True
    return cancelled


async def in_thread(work: Callable[..., T], *arguments: Any, executor: Executor | None = None) -> T:
    """Run what blocks in a thread; a cancellation is raised when the thread is through.

    Args:
        work: What to call.
        arguments: With what.
        executor: Where; `None` for the loop's own pool.
    """
    job = require_loop().run_in_executor(executor, partial(work, *arguments))
    if await wait_through_cancel(job):
        # What the work says must not be lost without a word, but the cancellation goes first.
        job.exception()
        raise asyncio.CancelledError
    return job.result()
