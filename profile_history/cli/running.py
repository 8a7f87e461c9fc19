"""Runs a coroutine of a command, which a signal cancels."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from profile_history.cli.stopping import Stopped, stopper

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T], *, excuse: str | None = None) -> T:
    """Runs it to its end, on uvloop where that is installed.

    Args:
        work: What to run.
        excuse: What to say where it does not stop in time.

    Raises:
        Stopped: A signal has cancelled it, and its clean-up is done.
    """
    make_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    with contextlib.suppress(ImportError):
        import uvloop

        make_loop = uvloop.new_event_loop
    stopper.running = True
    stopper.excuse = excuse or stopper.excuse
    try:
        with asyncio.Runner(loop_factory=make_loop) as runner:
            return runner.run(_watched(work))
    except asyncio.CancelledError:
        if stopper.number is None:
            raise
        raise Stopped(stopper.number) from None
    finally:
        stopper.running = False


async def _watched(work: Coroutine[Any, Any, T]) -> T:
    """Awaits some work, which a signal cancels."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    stopper.cancel = lambda: loop.call_soon_threadsafe(task.cancel)
    if stopper.number is not None:
        task.cancel()
    try:
        return await work
    finally:
        stopper.cancel = None
