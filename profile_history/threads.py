"""Blocking work in a thread, which a cancellation waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any, TypeVar

from profile_history.loops import running_loop

T = TypeVar("T")


async def cancelled_meanwhile(job: asyncio.Future[Any]) -> bool:
    """Waits until a future is done, however often the waiting is cancelled; says whether it was."""
    cancelled = False
    while not job.done():
        try:
            await asyncio.wait((job,))
        except asyncio.CancelledError:
            cancelled = True
    return cancelled


async def in_thread(work: Callable[..., T], *arguments: Any, executor: Executor | None = None) -> T:
    """Runs what blocks in a thread; a cancellation is raised when the thread is through.

    Args:
        work: What to call.
        arguments: With what.
        executor: Where; None for the loop's own pool.
    """
    job = running_loop().run_in_executor(executor, partial(work, *arguments))
    if await cancelled_meanwhile(job):
        # What the work says must not be lost without a word, but the cancellation goes first.
        job.exception()
        raise asyncio.CancelledError
    return job.result()
