"""Long work in short turns, so that the event loop is never held for long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")

# Seconds. A turn of the loop may hold one of verifying and one of handing out, and what arrives on all connections; the
# loop may be held for 5 ms.
LONGEST = 0.0002


class Turns:
    """Lets long work on one event loop take turns: of all that is given to it, one at a time goes on.

    Were each of many to hold the loop but shortly, one turn of the loop would still take the sum.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def through(self, steps: Generator[None, None, T]) -> T:
        """Runs short steps to their end, and lets the event loop do other work between them."""
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
                if time.perf_counter() - since > LONGEST:
                    await asyncio.sleep(0)
                    since = time.perf_counter()
