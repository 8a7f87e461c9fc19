"""What a peer is, and what those on an event loop have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from benchmarks.rounds import percentile
from benchmarks.sides import Site
from profile_history._protocol.requests import PATH

TOKEN = "loopback-token"
REQUEST = {"format": "json", "list_id": 20, "token": TOKEN, "matching": "email", "email": "user1@example.com"}
HEADERS = {"Content-Type": "application/json"}

T = TypeVar("T")

_TICK = 0.001


class Peer:
    """A library at work on one site."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.url = site.base_url + PATH

    def open(self) -> None:
        """Make what lasts for all turns, such as a session."""

    def prepare(self, requests: int) -> None:
        """Make what the caller of a library would have at hand; this is not measured."""

    def fetch(self, requests: int) -> int:
        """Make some requests.

        Returns:
            How many events came.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Close what was opened."""


class AsyncPeer(Peer):
    """A library on an event loop."""

    def open(self) -> None:
        """Make the loop, and what lasts on it."""
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self.start())

    def fetch(self, requests: int) -> int:
        """Make some requests."""
        return self.loop.run_until_complete(self.work(requests))

    def close(self) -> None:
        """Close what was opened, and the loop."""
        self.loop.run_until_complete(self.stop())
        self.loop.close()

    def lag(self, requests: int, idle: float) -> dict[str, Any]:
        """Return how late a ticker is, on an idle loop and then beside some requests."""

        self.prepare(requests)
        quiet, _ = self.loop.run_until_complete(_ticking(asyncio.sleep(idle)))
        busy, events = self.loop.run_until_complete(_ticking(self.work(requests)))
        if events != requests * self.site.rows:
            raise RuntimeError(f"{events} events of {requests * self.site.rows}")
        return {
            "idle_p99": percentile(quiet, 0.99),
            "idle_max": max(quiet),
            "p99": percentile(busy, 0.99),
            "max": max(busy),
            "ticks": len(busy),
        }

    async def start(self) -> None:
        """Make what lasts for all turns."""

    async def work(self, requests: int) -> int:
        """Make some requests, and tell how many events came."""
        raise NotImplementedError

    async def stop(self) -> None:
        """Close what was made."""


async def fan_out(requests: int, in_flight: int, one: Callable[[], Awaitable[int]]) -> int:
    """Make requests by as many workers as there may be requests in flight, as one writes that by hand."""
    left = iter(range(requests))

    async def worker() -> int:
        events = 0
        for _ in left:
            events += await one()
        return events

    return sum(await asyncio.gather(*(worker() for _ in range(in_flight))))


async def _ticking(work: Awaitable[T]) -> tuple[list[float], T]:
    lags: list[float] = []
    clock = asyncio.get_running_loop().time

    async def tick() -> None:
        while True:
            start = clock()
            await asyncio.sleep(_TICK)
            lags.append(clock() - start - _TICK)

    ticker = asyncio.create_task(tick())
    await asyncio.sleep(0)
    try:
        outcome = await work
        # A tick that is due already is late because of the work.
        await asyncio.sleep(2 * _TICK)
    finally:
        ticker.cancel()
    return lags, outcome
