"""An event loop on virtual time: hours of waiting cost nothing, and real sockets on loopback keep working."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import selectors
import socket
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")

# A handshake is three hops, as are a segment, its acknowledgement and the next segment.
_HOPS = 3
_CLEANING_UP = 60.0


class Stuck(AssertionError):
    """What ran waits for ever, or for longer than its limit."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its time stands still while there is something to do, and jumps to the next timer when there is not.

    Only sockets within this process and thread, and work given to `run_in_executor`, are waited for: time knows
    nothing of another process, nor of another thread's sockets (so a `HistoryServer` is used in `async with`).

    Args:
        limit: Virtual seconds after which `Stuck` is raised.
        patience: Real seconds without any event, where there is no timer or a thread is at work, after which it is.
    """

    def __init__(self, limit: float = 86400.0, patience: float = 10.0) -> None:
        self.advances = 0
        self._now = 0.0
        self._limit = self._grace = limit
        self._patience = patience
        self._threads = 0
        super().__init__(_Selector(self))
        self._clock_resolution = math.ulp(self._now)

    @property
    def waited(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def time(self) -> float:
        """The virtual time, which begins at 0."""
        return self._now

    def advance(self) -> None:
        """Jump to the next timer."""
        when = self._scheduled[0].when()
        if when > self._limit:
            limit, self._limit = self._limit, when + self._grace
            raise Stuck(f"not over after {limit:g} virtual seconds; there are still {self._names()}")
        self.advances += 1
        self._now = when
        # The least that makes a timer due when its time has come, and none before.
        self._clock_resolution = math.ulp(when)

    def patience(self) -> float | None:
        """How many real seconds to wait for the next event, `None` if time may jump instead."""
        return self._patience if self._threads or not self._scheduled else None

    def give_up(self) -> NoReturn:
        """End a wait of which nothing came."""
        cause = "a thread was at work" if self._threads else "nothing is scheduled: a deadlock"
        patience, self._patience = self._patience, max(self._patience, _CLEANING_UP)
        raise Stuck(f"nothing came in {patience:g} real seconds, and {cause}; there are {self._names()}")

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> asyncio.Future[Any]:
        """As ever; time stands still until it is done."""
        future = super().run_in_executor(executor, func, *args)
        self._threads += 1
        future.add_done_callback(self._leave_thread)
        return future

    async def shutdown_default_executor(self, *timeout: Any) -> None:
        """As ever; time stands still until it is done."""
        self._threads += 1
        try:
            await super().shutdown_default_executor(*timeout)
        finally:
            self._leave_thread()

    def _leave_thread(self, *_: object) -> None:
        self._threads -= 1

    def _names(self) -> str:
        coroutines = [task.get_coro() for task in asyncio.all_tasks(self)]
        return ", ".join(sorted(getattr(one, "__qualname__", repr(one)) for one in coroutines)) or "no tasks"


class _Selector(selectors.DefaultSelector):
    """Tells the loop when really nothing is ready."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop
        self._echo = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._echo.bind(("127.0.0.1", 0))
        self._echo.connect(self._echo.getsockname())
        self._echo.settimeout(1)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready; where that is nothing, time passes."""
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if (patience := self._loop.patience()) is not None:
            return super().select(patience) or self._loop.give_up()
        # One is the loop's own pipe.
        if len(self.get_map()) > 1 and (ready := self._still_coming()):
            return ready
        self._loop.advance()
        return []

    def close(self) -> None:
        """Close the echo as well."""
        super().close()
        self._echo.close()

    def _still_coming(self) -> list[tuple[selectors.SelectorKey, int]]:
        # Loopback is a queue: when a datagram to ourselves is back, whatever was sent before it has arrived.
        for _ in range(_HOPS):
            with contextlib.suppress(TimeoutError):
                self._echo.send(b".")
                self._echo.recv(1)
            if ready := super().select(0):
                return ready
        return []


def run_virtually(work: Coroutine[Any, Any, T], *, limit: float = 86400.0, patience: float = 10.0) -> T:
    """Run a coroutine on a `VirtualLoop` of its own.

    Raises:
        Stuck: It took more than `limit` virtual seconds, or waited `patience` real ones for nothing.
    """
    with asyncio.Runner(loop_factory=functools.partial(VirtualLoop, limit, patience)) as runner:
        return runner.run(work)
