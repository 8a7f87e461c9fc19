"""One window of one profile, fetched whole: paced, sent, verified, and repeated where that is right."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias

import attrs

from profile_history._aio import CooperativeRunner
from profile_history._protocol.envelope import Rows
from profile_history._protocol.requests import Requests
from profile_history._protocol.responses import Reply, verify_response
from profile_history._secrets import SecretBytes, Token
from profile_history._sending.memory_budget import Reservation
from profile_history._sending.pacer import Pacer, Permit, Signal
from profile_history._sending.retrier import AttemptLog, Retrier
from profile_history._sending.row_cap import RowCapDetector
from profile_history._sending.transport import Transport
from profile_history.errors import (
    ApiError,
    AttemptTimeout,
    AuthenticationError,
    ConfigurationError,
    HistoryError,
    Kind,
    RateLimited,
    ResponseError,
    TruncatedResponse,
)
from profile_history.observing import AttemptEnded, AttemptStarted, Observer, RetryPlanned, RowCapSuspected
from profile_history.options import Limits, Timeouts
from profile_history.profiles import Profile
from profile_history.stats import Stats
from profile_history.units import Unit
from profile_history.windows import Border, Window

# Seconds; what is left of a window's time may be too little to say anything about the server.
_LEAST_ATTEMPT = 1.0

# Writes the same request with the token that counts by then.
WriteBody: TypeAlias = Callable[[], SecretBytes]


@attrs.define(eq=False)
class Task:
    """One window to fetch, and what it has cost so far.

    Attributes:
        profile: Whose history.
        window: Which days.
        request_id: The same for all its attempts.
        log: What was spent on it.
        date: The `Date` header of its good response, or "".
    """

    profile: Profile
    window: Window
    request_id: str
    log: AttemptLog = attrs.field(factory=AttemptLog)
    date: str = ""

    def sign(self, error: HistoryError) -> None:
        """Writes onto an error which window it belongs to, and what was spent on it."""
        error.profile = self.profile
        error.window = self.window
        error.attempts = self.log.attempts
        error.request_id = self.request_id


@attrs.define(eq=False)
class HealthProbe:
    """The request to probe a server with that failed: the one with the shortest good answer so far.

    After one that failed it is asked for by every other probe only, since it may be ill itself by now.
    """

    _known: tuple[Task, WriteBody] | None = None
    _size: int = 0
    _turn: bool = False

    def learn(self, task: Task, write: WriteBody, size: int) -> None:
        """Takes note of a request that was answered, with that many bytes."""
        self._turn = False
        if self._known is None or size < self._size:
            self._known, self._size = (task, write), size

    def answered(self) -> None:
        """Take note that it was answered once more: the next time it is asked for first."""
        self._turn = False

    def suggest(self, task: Task, write: WriteBody) -> None:
        """Take a request that should be good until one was answered."""
        if self._known is None:
            self._known, self._size = (task, write), sys.maxsize

    @property
    def known(self) -> bool:
        """Whether there is a request to probe with."""
        return self._known is not None

    def request(self) -> tuple[Task, WriteBody] | None:
        """What to ask for, as a task of its own; None where none is known, and at every second call without success."""
        self._turn = not self._turn
        if self._known is None or not self._turn:
            return None
        task, write = self._known
        return Task(task.profile, task.window, f"probe-{task.request_id}"), write


@attrs.frozen
class Fetcher:
    """Fetches windows with one set of options; the parts it is made of are shared between streams."""

    transport: Transport
    requests: Requests
    token: Token = attrs.field(repr=False)
    pacer: Pacer
    retrier: Retrier
    observer: Observer
    row_cap_detector: RowCapDetector
    health_probe: HealthProbe
    runner: CooperativeRunner
    border: Border
    timeouts: Timeouts
    limits: Limits

    async def fetch(
        self,
        task: Task,
        stats: Stats,
        reservation: Reservation,
        *,
        divisible: bool,
        sleep: Callable[[float], Awaitable[None]],
    ) -> Rows:
        """Makes one pass over a window; not one row of it is given before the whole answer is verified.

        Args:
            task: The window.
            stats: Written to.
            reservation: Where its bytes are counted.
            divisible: Whether the window can be halved.
            sleep: Waits some seconds before a retry.

        Raises:
            HistoryError: It could not be had; the error names the profile, the window and the attempts.
            MemoryExceeded: There was no room for the answer.
        """
        write = partial(self.requests.body, task.profile, self.border.widen(task.window))
        try:
            rows = await self.retrier.call(
                lambda: self._attempt(write, task, stats, reservation),
                task.log,
                divisible=divisible,
                sleep=sleep,
                before_retry=partial(self._note_retry, task),
            )
            self._check_row_cap(rows)
            if self.limits.row_cap is None and self.row_cap_detector.observe(rows.count):
                self.observer.emit(RowCapSuspected(rows.count))
        except HistoryError as error:
            task.sign(error)
            raise
        stats.bytes += rows.size
        return rows

    def suggest_probe(self, unit: Unit) -> None:
        """Take a unit that should be answered, to probe a server with that fails for everything else."""
        task = Task(unit.profile, unit.window, os.urandom(8).hex())
        self.health_probe.suggest(task, partial(self.requests.body, unit.profile, self.border.widen(unit.window)))

    def wait_before_next_pass(self, task: Task, failure: HistoryError) -> float | None:
        """Seconds to wait before the window joins the back of the queue; None where it is given up."""
        wait = self.retrier.wait_before_next_pass(failure, task.log)
        if wait is not None:
            self._note_retry(task, failure, wait)
        return wait

    def _note_retry(self, task: Task, failure: HistoryError, wait: float) -> None:
        if self.observer.enabled:
            number = task.log.attempts
            self.observer.emit(RetryPlanned(task.profile, task.window, task.request_id, number, wait, failure))

    async def _attempt(self, write: WriteBody, task: Task, stats: Stats, reservation: Reservation) -> Rows:
        """Sends until the answer is good or a failure counts."""
        fresh = False
        since = _now()
        while True:
            permit = await self.pacer.acquire(self.retrier.patience, since, probes_first=self.health_probe.known)
            if permit.probe and (known := self.health_probe.request()) is not None:
                await self._probe(*known, permit, stats)
                continue
            reservation.restart()
            started = _now()
            generation = self.token.generation
            signal, reply, failure = Signal.NEUTRAL, None, None
            try:
                reply, rows = await self._send(write(), task, stats, reservation.grow, fresh=fresh)
                signal = Signal.SUCCESS
                task.date = reply.headers.get("date", "")
            except HistoryError as error:
                failure = error
                signal = self._signal(error, task.log)
            finally:
                counts = self.pacer.release(
                    permit,
                    signal,
                    window=task.request_id,
                    failure=failure,
                    first_byte=reply.first_byte if reply else 0.0,
                    retry_after=self._pause(failure),
                )
            if failure is None:
                self.health_probe.learn(task, write, rows.size)
                return rows
            if isinstance(failure, AuthenticationError) and await self._renewed(failure, generation):
                failure.forget_frames()
                continue
            fresh = _is_free(failure, task.log)
            task.log.free_retry_used = task.log.free_retry_used or fresh
            if not fresh and (counts or not _may_heal(failure)):
                task.log.seconds += _now() - started
                raise failure
            failure.forget_frames()

    async def _renewed(self, failure: AuthenticationError, generation: int) -> bool:
        """Return whether the file of the token holds a newer one than the refused one; else the failure says why."""
        try:
            return await self.token.renew(generation)
        except ConfigurationError as error:
            failure.hint = f"it was not replaced: {error.summary()}"
            return False

    async def _probe(self, health_probe: Task, write: WriteBody, permit: Permit, stats: Stats) -> None:
        """Asks once more for what was answered before: a window that fails may be ill itself."""
        signal, failure = Signal.NEUTRAL, None
        stats.retries += 1
        try:
            await self._send(write(), health_probe, stats, lambda _: None, fresh=False)
            signal = Signal.SUCCESS
        except HistoryError as error:
            failure = error
            signal = _signal_of(error)
        finally:
            self.pacer.release(
                permit, signal, window=health_probe.request_id, failure=failure, retry_after=self._pause(failure)
            )
        if signal in (Signal.SUCCESS, Signal.RESPONSIVE):
            self.health_probe.answered()
        if failure is not None and failure.fatal and failure.kind is Kind.THROTTLED:
            raise failure

    async def _send(
        self, body: SecretBytes, task: Task, stats: Stats, grow: Callable[[int], None], *, fresh: bool
    ) -> tuple[Reply, Rows]:
        log, observer = task.log, self.observer
        stats.attempts += 1
        stats.retries += log.attempts > 0
        log.attempts += 1
        stats.in_flight += 1
        clock = asyncio.get_running_loop().time
        started = clock()
        if observer.enabled:
            observer.emit(AttemptStarted(task.profile, task.window, task.request_id, log.attempts))
        size, failure = 0, None
        try:
            reply = await self.transport.send(
                body, task.request_id, self._timeouts(log), self.limits.body, grow=grow, fresh=fresh
            )
            arrived = reply.size
            rows = await self.runner.run(verify_response(reply, self.token))
            size = arrived
        except HistoryError as error:
            # Its frames hold the answer, with whatever the server echoes, and hooks get to see it.
            error.forget_frames()
            failure = error
            stats.throttled += isinstance(error, RateLimited)
            raise
        finally:
            stats.in_flight -= 1
            if observer.enabled:
                seconds = clock() - started
                observer.emit(
                    AttemptEnded(task.profile, task.window, task.request_id, log.attempts, seconds, size, failure)
                )
        return reply, rows

    def _signal(self, error: HistoryError, log: AttemptLog) -> Signal:
        if _is_free(error, log):
            return Signal.NEUTRAL
        answers = self.pacer.successes
        signal = _signal_of(error)
        log.others_succeeded = log.successes_seen is not None and log.successes_seen < answers
        if signal is Signal.THROTTLED:
            log.others_succeeded = log.others_succeeded or self.pacer.has_recent_success()
        log.successes_seen = answers
        # The server answered others since it last failed: the fault lies with this window, and is no sign of an outage.
        failed = signal in (Signal.FAILED, Signal.OVERLOADED)
        return Signal.NEUTRAL if failed and log.others_succeeded else signal

    def _timeouts(self, log: AttemptLog) -> Timeouts:
        left = self.retrier.seconds_left(log)
        if left >= self.timeouts.attempt:
            return self.timeouts
        return attrs.evolve(self.timeouts, attempt=max(left, _LEAST_ATTEMPT))

    def _pause(self, failure: HistoryError | None) -> float | None:
        if not isinstance(failure, ApiError) or failure.retry_after is None or not _may_heal(failure):
            return None
        if failure.retry_after > self.retrier.longest_pause:
            failure.kind, failure.fatal = Kind.THROTTLED, True
            failure.hint = (
                f"the server asks to wait for {failure.retry_after:g} s; do so, or raise RetryPolicy.patience"
            )
            return None
        return failure.retry_after

    def _check_row_cap(self, rows: Rows) -> None:
        if rows.count == self.limits.row_cap:
            error = TruncatedResponse(f"the answer has exactly row_cap={rows.count} rows, so there may be more")
            error.kind = Kind.CALLER
            error.splittable = True
            raise error


def _signal_of(error: HistoryError) -> Signal:
    answered = isinstance(error, (ApiError, ResponseError))
    if error.fatal and not answered:
        return Signal.NEUTRAL
    if error.kind is Kind.THROTTLED:
        return Signal.THROTTLED
    if isinstance(error, AttemptTimeout) or (isinstance(error, ApiError) and error.http_status == 503):
        return Signal.OVERLOADED
    if error.kind in (Kind.TRANSIENT, Kind.AMBIGUOUS):
        return Signal.FAILED
    return Signal.RESPONSIVE if answered else Signal.NEUTRAL


def _is_free(error: HistoryError, log: AttemptLog) -> bool:
    # RFC 9112, 9.3.1: a kept-alive connection may be closed at any moment. The server never read this request, so
    # sending it once more is not a second attempt at anything.
    return error.stale_connection and not log.free_retry_used


def _may_heal(error: HistoryError) -> bool:
    return not error.fatal and error.kind in (Kind.TRANSIENT, Kind.THROTTLED, Kind.AMBIGUOUS)


def _now() -> float:
    return asyncio.get_running_loop().time()
