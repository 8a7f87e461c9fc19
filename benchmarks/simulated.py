"""A server behind a limiter, at the end of a network, on a virtual clock: no sockets, and a minute takes a second."""

from __future__ import annotations

import asyncio
import math
import random
import selectors
from collections.abc import Callable
from typing import Any

from profile_history.testing import Limiter

# Shares: each way on the network, of a round trip; the least and the most that the work between takes, of its mean.
_WAY = 0.1
_LEAST_WORK, _MOST_WORK = 0.56, 1.44
# Seconds; the mean of what comes on top on each way, and the resolution of the client's timers (epoll).
_JITTER = 0.0002
_TICK = 0.001


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer; one rings up to a millisecond late, as those of epoll do."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_Leap(self))
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._now

    def leap(self, seconds: float) -> None:
        self._now += seconds

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        late = math.ceil(max(0.0, when - self._now) / _TICK) * _TICK
        return super().call_at(self._now + late, callback, *args, context=context)

    def call_exactly(self, when: float, callback: Callable[..., object], *args: Any) -> None:
        super().call_at(when, callback, *args)


class _Leap(selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "nothing is scheduled: a deadlock"
        if timeout > 0:
            self._loop.leap(timeout)
        return []


class SimulatedServer:
    """A server that refuses what its limiter does not let in.

    Args:
        limiter: Its limiter; `None` for none.
        latency: Seconds that a response takes on average.
        seed: Draws the rest.
        faults: The share of requests that it fails whatever the load.
        fault: The status of these.
    """

    def __init__(
        self, limiter: Limiter | None, latency: float, *, seed: int = 1, faults: float = 0.0, fault: int = 503
    ) -> None:
        self.accepted: list[float] = []
        self.refused: list[float] = []
        self.latency = latency
        self.faults = faults
        self.fault = fault
        self.limit(limiter)
        self._random = random.Random(seed)

    def limit(self, limiter: Limiter | None) -> None:
        """Put another limiter before it."""
        self.limiter = limiter
        self._state = limiter.start() if limiter else None

    def send(self, loop: VirtualLoop, response: asyncio.Future[int]) -> None:
        """Take a request, and set the status of its response when it has come back."""
        loop.call_exactly(loop.time() + self._way(), self._arrive, loop, response)

    def _arrive(self, loop: VirtualLoop, response: asyncio.Future[int]) -> None:
        now, wait = loop.time(), 0.0
        if self.limiter is not None and self._state is not None:
            admission = self._state.admit(now)
            if not admission.granted:
                self.refused.append(now)
                loop.call_exactly(now + self._way(), _respond, response, self.limiter.status)
                return
            wait = admission.wait
        self.accepted.append(now)
        work = self.latency * (1 - 2 * _WAY) * self._random.uniform(_LEAST_WORK, _MOST_WORK)
        status = self.fault if self.faults and self._random.random() < self.faults else 200
        loop.call_exactly(now + wait + work, self._leave, loop, response, status)

    def _leave(self, loop: VirtualLoop, response: asyncio.Future[int], status: int) -> None:
        if self._state is not None:
            self._state.release()
        loop.call_exactly(loop.time() + self._way(), _respond, response, status)

    def _way(self) -> float:
        return self.latency * _WAY + self._random.expovariate(1 / _JITTER)


def mean_round_trip(latency: float) -> float:
    """Return the seconds from sending a request to its response, where that takes so many without jitter."""
    return latency + 2 * _JITTER


def _respond(response: asyncio.Future[int], status: int) -> None:
    if not response.done():
        response.set_result(status)
