"""The event loop of a command, whose coroutine a signal cancels.

This is no part of `signals`, which is imported before anything that takes time, such as asyncio.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from profile_history.cli.signals import Stopped, stopper

T = TypeVar("T")

# Older ones close the descriptor of a cancelled connection twice, the second time when it may be another's:
# github.com/MagicStack/uvloop/issues/738.
_TRUSTED = (0, 23)


def run(work: Coroutine[Any, Any, T], *, excuse: str | None = None) -> T:
    """Run a coroutine to its end, on uvloop if that is installed.

    Args:
        work: What to run.
        excuse: What to say if it does not stop in time.

    Returns:
        What it returns.

    Raises:
        Stopped: A signal has cancelled it, and its clean-up is done.
    """
    stopper.running = True
    stopper.excuse = excuse or stopper.excuse
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_run_cancellable(work))
    except asyncio.CancelledError:
        if stopper.number is None:
            raise
        raise Stopped(stopper.number) from None
    finally:
        stopper.running = False


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes the event loop: uvloop, if one is installed that can be trusted."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    version = tuple(map(int, uvloop.__version__.split(".")[:2]))  # type: ignore[attr-defined]
    return uvloop.new_event_loop if version >= _TRUSTED else asyncio.new_event_loop


async def _run_cancellable(work: Coroutine[Any, Any, T]) -> T:
    """Await some work, which a signal cancels."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    stopper.cancel = lambda: loop.call_soon_threadsafe(task.cancel)
    # A signal that came between `run` and here found nobody to cancel.
    if stopper.number is not None:
        task.cancel()
    try:
        return await work
    finally:
        stopper.cancel = None
