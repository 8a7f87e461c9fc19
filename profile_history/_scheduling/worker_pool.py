"""Run one stream: a feeder, a fixed pool of workers, and the waiting between them and the consumer."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import time
from collections import deque
from collections.abc import AsyncIterable, Callable, Coroutine, Iterable
from types import TracebackType
from typing import Any, Self

import attrs

from profile_history import _aio
from profile_history._scheduling.scheduler import Assignment, Outcome, Scheduler
from profile_history._scheduling.window_runner import WindowRunner
from profile_history._sending.fetcher import Fetcher
from profile_history.errors import DeadlineExceeded, HistoryError, UsageError
from profile_history.profiles import Profile
from profile_history.stats import Stats
from profile_history.units import Unit

Profiles = Iterable[Profile] | AsyncIterable[Profile]
Units = Iterable[Unit] | AsyncIterable[Unit]


@attrs.define(eq=False)
class WorkerPool:
    """The tasks that fetch what the schedule says, and hand the outcomes to one consumer.

    Enter it, await `next_outcome` until it returns `None`, call `release` for each outcome, and leave it; leaving
    cancels and awaits all tasks.
    """

    # Not shown where a crash report prints local variables.
    wanted: Profiles | Units = attrs.field(repr=False)
    make_unit: Callable[[Any], Unit]
    schedule: Scheduler
    fetcher: Fetcher
    workers: int
    deadline: float | None
    stats: Stats = attrs.field(factory=Stats)
    _runner: WindowRunner = attrs.field(init=False)
    _tasks: set[asyncio.Task[None]] = attrs.field(factory=set, init=False)
    _idle: deque[asyncio.Future[None]] = attrs.field(factory=deque, init=False)
    _feeder: asyncio.Future[None] | None = attrs.field(default=None, init=False)
    _consumer: asyncio.Future[None] | None = attrs.field(default=None, init=False)
    _failure: BaseException | None = attrs.field(default=None, init=False)
    _working: int = attrs.field(default=0, init=False)
    _waking: bool = attrs.field(default=False, init=False)
    _loop_yielded_at: float = attrs.field(default=0.0, init=False)
    _context: contextvars.Context = attrs.field(factory=contextvars.Context, init=False)
    _ends_at: float | None = attrs.field(default=None, init=False)
    _begun: bool = attrs.field(default=False, init=False)
    _closed: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._runner = WindowRunner(self.schedule, self.fetcher, self.stats)

    @property
    def over(self) -> bool:
        """Tell whether it has ended, by itself or by being closed."""
        return self._closed

    async def __aenter__(self) -> Self:
        if self._closed:
            raise UsageError("this stream is closed; ask the client for a new one")
        if self._begun:
            raise UsageError("this stream is being read already; read its events or its windows(), not both")
        self.fetcher.transport.enter()
        self._begun = True
        self._context = contextvars.copy_context()
        clock = asyncio.get_running_loop().time
        self._ends_at = None if self.deadline is None else clock() + self.deadline
        self.stats.start(clock)
        self._spawn(self._feed)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def next_outcome(self) -> Outcome | None:
        """Wait for the next outcome in order.

        Returns:
            The outcome, or `None` if there are no more.

        Raises:
            HistoryError: No window can succeed any more, the deadline has passed, or the run was closed meanwhile.
        """
        while True:
            if self._closed:
                raise UsageError("this stream was closed while it was being read")
            if self.schedule.exhausted:
                return None
            self._check_deadline()
            if (outcome := self.schedule.next_ready()) is not None:
                return outcome
            # After what is ready: what was fetched before the failure is good, and the consumer gets it.
            if self._failure is not None:
                raise self._failure
            self._consumer = asyncio.get_running_loop().create_future()
            if self._ends_at is None:
                await self._consumer
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(self._ends_at):
                        await self._consumer
            self._loop_yielded_at = time.perf_counter()

    def release(self, outcome: Outcome) -> None:
        """Free the room that an outcome takes, when the consumer is through with it, and wake a worker for it."""
        self.schedule.release(outcome)
        self._wake_worker()

    @property
    def loop_overdue(self) -> bool:
        """Tell whether the event loop was held for longer than `MAX_SLICE_SECONDS`."""
        return time.perf_counter() - self._loop_yielded_at > _aio.MAX_SLICE_SECONDS

    async def yield_to_loop(self) -> None:
        """Let the event loop do other work."""
        await asyncio.sleep(0)
        self._loop_yielded_at = time.perf_counter()

    async def stop(self) -> None:
        """Cancel all work and wait until nothing of it is left; safe to call twice.

        Raises:
            UsageError: It is called on another event loop, or by the source of profiles that it reads.
        """
        self.check_loop()
        self.check_task()
        self._closed = self._runner.stopped = True
        self.stats.stop()
        _release(self._consumer)
        try:
            await _cancel_all(self._tasks)
        finally:
            for task in self.schedule.close():
                self._runner.note_dropped(task)
            # An asynchronous generator that nobody else holds is closed by this.
            self.wanted = ()

    def check_task(self) -> None:
        """Refuse to be ended by its own source of profiles, which would wait for itself.

        Raises:
            UsageError: The current task is one of its own.
        """
        if asyncio.current_task() in self._tasks:
            raise UsageError("a source of profiles cannot close the stream that reads it; end the source instead")

    def check_loop(self) -> None:
        """Refuse to work on another event loop than that of the client's session.

        Raises:
            UsageError: It is another one, or none of asyncio's.
        """
        self.fetcher.transport.check_loop()

    def _check_deadline(self) -> None:
        if self._ends_at is not None and asyncio.get_running_loop().time() >= self._ends_at:
            raise DeadlineExceeded(f"the stream was not complete after deadline={self.deadline:g} seconds")

    def _spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        # Whoever happens to wake a worker must not lend it a context of their own.
        task = asyncio.get_running_loop().create_task(self._guarded(work), context=self._context.copy())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 (it reaches the consumer)
            self._fail(error)
        except asyncio.CancelledError:
            if not self._closed and self._failure is None:
                self._fail(
                    HistoryError("something cancelled the work of this stream: its source of profiles or a hook")
                )
            raise

    def _fail(self, error: Exception) -> None:
        # The first one is the cause; those that follow come from the cancellation of the others.
        self._failure = self._failure or error
        this = asyncio.current_task()
        for task in list(self._tasks):
            if task is not this:
                task.cancel()
        _release(self._consumer)

    async def _feed(self) -> None:
        if isinstance(self.wanted, AsyncIterable):
            async for wanted in self.wanted:
                await self._add(wanted)
        else:
            for wanted in self.wanted:
                await self._add(wanted)
                if self.loop_overdue:
                    await self.yield_to_loop()
        self.schedule.finish_adding()
        _release(self._consumer)

    async def _add(self, wanted: object) -> None:
        unit = self.make_unit(wanted)
        # As many profiles are held as keep the workers busy; a source of millions is read as the work goes on.
        while not self.schedule.wants_profiles:
            self._feeder = asyncio.get_running_loop().create_future()
            await self._feeder
        self.schedule.add(unit)
        self.stats.profiles += 1
        self._wake_worker()

    async def _work(self) -> None:
        # `_waking` is set from the wake-up of a worker until that worker runs; then the next one may be woken.
        self._waking = False
        # One that took the place of a parked one leaves when that one is back.
        while self._working <= self.workers:
            assignment = self.schedule.take()
            if assignment is None:
                # Each sleeps on a future of its own, so that one window wakes one worker and not all of them.
                idle = asyncio.get_running_loop().create_future()
                self._idle.append(idle)
                await idle
                self._waking = False
                continue
            self._wake_worker()
            await self._runner.run(assignment, self._sleep)
            _release(self._consumer)
            if self.schedule.wants_profiles:
                _release(self._feeder)
            self._wake_worker()
        self._working -= 1
        self._wake_worker()

    async def _sleep(self, assignment: Assignment, seconds: float, since: float) -> float:
        """Wait before a retry, and lend the worker's place meanwhile; see `window_runner.Sleep`."""
        if not seconds:
            return since
        self.schedule.suspend(assignment)
        self._working -= 1
        if self.schedule.wants_profiles:
            _release(self._feeder)
        self._wake_worker()
        try:
            await asyncio.sleep(seconds)
        finally:
            self._working += 1
            self.schedule.resume(assignment)
        return asyncio.get_running_loop().time()

    def _wake_worker(self) -> None:
        # One at a time: it takes the window that there is, and wakes the next one if there are more. If all were woken,
        # most would find that others had taken what there was.
        if self._waking or (not self._idle and self._working >= self.workers):
            return
        if not self.schedule.available or self._failure is not None:
            return
        self._waking = True
        if self._idle:
            _release(self._idle.popleft())
        else:
            self._working += 1
            self._spawn(self._work)


def _release(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


async def _cancel_all(tasks: Iterable[asyncio.Task[None]]) -> None:
    cancelled = False
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            # Again each second: a cancellation that meets a timeout of aiohttp's own comes out as that timeout.
            task.cancel()
        try:
            await asyncio.wait(pending, timeout=1)
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
