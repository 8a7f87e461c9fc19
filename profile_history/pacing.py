"""May the next request start? How many are on their way at once, and how many start in a second."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from profile_history.options import Pacing

_START = 4.0
_CUT = 0.7


class Ceiling:
    """The number of requests that may be on their way at once: additive increase, multiplicative decrease. No I/O.

    It starts at 4 and grows by one with every success, as TCP's slow start does, until the server first refuses; from
    then on by one a round, and only while at least half of it is in use. A refusal cuts it to 0.7, at most once a
    round trip: refusals of requests sent before the last cut do not count.
    """

    def __init__(self, most: int, *, adaptive: bool) -> None:
        self._most = most
        self._adaptive = adaptive
        self._limit = min(_START, most) if adaptive else float(most)
        self._cuts = 0

    @property
    def limit(self) -> int:
        """How many may be on their way now."""
        return int(self._limit)

    @property
    def cuts(self) -> int:
        """How often it was cut; a request remembers the number at which it was sent."""
        return self._cuts

    def succeeded(self, in_use: int) -> None:
        """Takes note of a success while `in_use` requests were on their way."""
        if self._adaptive and (not self._cuts or in_use >= self._limit / 2):
            self._limit = min(self._most, self._limit + (1 / self._limit if self._cuts else 1))

    def refused(self, cuts: int) -> None:
        """Takes note that the server refused a request that was sent after `cuts` cuts."""
        if self._adaptive and cuts == self._cuts:
            self._limit = max(1.0, self._limit * _CUT)
            self._cuts += 1


class Pacer:
    """Gives out the right to send, first come, first served; shared by all streams of a client."""

    def __init__(
        self,
        pacing: Pacing,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._ceiling = Ceiling(pacing.concurrency, adaptive=pacing.adaptive)
        self._gap = 1 / pacing.requests_per_second if pacing.requests_per_second else 0.0
        self._clock = clock
        self._sleep = sleep
        self._next_start = float("-inf")
        self._turn = asyncio.Lock()
        self._in_use = 0
        self._waiters: deque[asyncio.Future[None]] = deque()

    @property
    def in_use(self) -> int:
        """How many requests are on their way."""
        return self._in_use

    @property
    def limit(self) -> int:
        """How many may be."""
        return self._ceiling.limit

    async def acquire(self) -> int:
        """Waits until a request may be sent; returns the ticket that `release` wants back."""
        if self._in_use < self._ceiling.limit and not self._waiters:
            self._in_use += 1
        else:
            await self._queue()
        try:
            await self._keep_the_rate()
        except BaseException:
            self._give_back()
            raise
        return self._ceiling.cuts

    def release(self, ticket: int, *, success: bool = False, refused: bool = False) -> None:
        """Ends a request: neither a success nor a refusal where the failure says nothing about load."""
        if success:
            self._ceiling.succeeded(self._in_use)
        elif refused:
            self._ceiling.refused(ticket)
        self._give_back()

    async def _queue(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._give_back()
            raise

    async def _keep_the_rate(self) -> None:
        if not self._gap:
            return
        async with self._turn:
            if (wait := self._next_start - self._clock()) > 0:
                await self._sleep(wait)
            self._next_start = max(self._next_start, self._clock()) + self._gap

    def _give_back(self) -> None:
        self._in_use -= 1
        while self._waiters and self._in_use < self._ceiling.limit:
            waiter = self._waiters.popleft()
            if not waiter.done():
                self._in_use += 1
                waiter.set_result(None)
