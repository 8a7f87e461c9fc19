"""An event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any


class LoopThread:
    """A thread whose event loop runs coroutines for other threads and other event loops."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="history-server", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine to its end, and block until then."""
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def wait_for(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine to its end without holding the caller's event loop."""
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def close(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def run_on_loop_of(thread: LoopThread | None, work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine on the event loop that its objects belong to.

    Args:
        thread: The thread of that loop; `None` for the running loop.
        work: The coroutine.
    """
    await (work if thread is None else thread.wait_for(work))
