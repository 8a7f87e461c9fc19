"""One request for one window: wait for a permit, send, verify, and tell what its end says about the server."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from functools import partial

import attrs

from profile_history._aio import CooperativeRunner
from profile_history._protocol.envelope import Rows
from profile_history._protocol.requests import Requests
from profile_history._protocol.responses import Reply, verify_response
from profile_history._redaction import redact_error
from profile_history._secrets import SecretBytes, Token
from profile_history._sending.failure_policy import AttemptLog, Decision, Step, decide
from profile_history._sending.failure_signals import Signal
from profile_history._sending.health_probe import HealthProbe
from profile_history._sending.memory_budget import Reservation
from profile_history._sending.pacer import Pacer, Permit
from profile_history._sending.page_evidence import PageEvidence
from profile_history._sending.request_ids import make_request_id
from profile_history._sending.retrier import Retrier
from profile_history._sending.row_cap import RowCapDetector
from profile_history._sending.task import Task, WriteBody
from profile_history._sending.transport import Transport
from profile_history.errors import (
    ConfigurationError,
    HistoryError,
    Kind,
    RateLimited,
    TruncatedResponse,
)
from profile_history.observing import AttemptEnded, AttemptStarted, Observer, RetryPlanned, RowCapSuspected
from profile_history.options import Limits, Timeouts
from profile_history.stats import Stats
from profile_history.units import Unit
from profile_history.windows import Border

# Seconds; what is left of a window's time may be too little to say anything about the server.
_LEAST_ATTEMPT = 1.0

_COMPLETE = Decision(Step.DONE, Signal.SUCCESS)


@attrs.define
class SentRequest:
    """One request that has ended.

    Attributes:
        permit: The right to send, which is to be given back.
        body: What writes the request.
        token_generation: Which token it was sent with.
        seconds: How long it took.
        rows: The verified rows, `None` if it failed.
        failure: Why it failed, `None` if it did not.
        first_byte: Seconds until the response began.
        date: The `Date` header of a good response, or "".
    """

    permit: Permit
    body: WriteBody
    token_generation: int
    seconds: float = 0.0
    rows: Rows | None = None
    failure: HistoryError | None = None
    first_byte: float = 0.0
    date: str = ""

    @property
    def complete_rows(self) -> Rows:
        """Return the rows of a request that succeeded."""
        assert self.rows is not None
        return self.rows

    @property
    def error(self) -> HistoryError:
        """Return the failure of a request that failed."""
        assert self.failure is not None
        return self.failure


@attrs.frozen
class Fetcher:
    """A sender of windows with one set of options; the parts it is made of are shared between streams."""

    transport: Transport
    requests: Requests
    token: Token = attrs.field(repr=False)
    pacer: Pacer
    retrier: Retrier
    observer: Observer
    row_cap_detector: RowCapDetector
    health_probe: HealthProbe
    page_evidence: PageEvidence
    runner: CooperativeRunner
    border: Border
    timeouts: Timeouts
    limits: Limits
    null_means_empty: bool

    async def admit(self, stats: Stats, since: float) -> Permit:
        """Wait until a window may be sent; while the server is down, the turn may be used for a probe instead.

        Args:
            stats: Written to.
            since: When the window first asked, by the loop's clock.

        Raises:
            ServerUnavailable: No request succeeded for as long as the policy waits.
            ApiError: A probe is told to wait for too long.
        """
        while True:
            permit = await self.pacer.acquire(self.retrier.policy.patience, since, probes_first=self.health_probe.known)
            if not permit.probe or (known := self.health_probe.request()) is None:
                return permit
            await self._probe(*known, permit, stats)

    async def send(
        self, task: Task, permit: Permit, stats: Stats, reservation: Reservation, *, new_connection: bool
    ) -> SentRequest:
        """Send a window once, and verify its whole response before a single row of it is given.

        Args:
            task: The window.
            permit: The right to send.
            stats: Written to.
            reservation: Where the bytes of the response are counted.
            new_connection: Whether to use a connection that was not used before.

        Raises:
            MemoryExceeded: There was no room for the response.
        """
        write = partial(self.requests.body, task.profile, self.border.widen(task.window))
        sent = SentRequest(permit, write, self.token.generation)
        reservation.restart()
        started = _now()
        try:
            reply, sent.rows = await self._exchange(write(), task, stats, reservation.grow, fresh=new_connection)
        except HistoryError as error:
            error.forget_frames()
            sent.failure = error
        except BaseException:
            self.pacer.release(permit, Signal.NEUTRAL, request_id=task.request_id)
            raise
        else:
            sent.first_byte = reply.first_byte
            sent.date = reply.headers.get("date", "")
        sent.seconds = _now() - started
        return sent

    def judge(self, task: Task, sent: SentRequest, stats: Stats, can_split: Callable[[], bool]) -> Decision:
        """Decide what follows from a request, and tell the pacer what its end says about the server.

        Args:
            task: The window.
            sent: Its request.
            stats: Written to.
            can_split: Tells whether the window can be halved, which matters only where it failed.
        """
        log, pacer, failure = task.log, self.pacer, sent.failure
        if failure is None:
            return self._accept(task, sent, stats, can_split)
        log.record(
            failure,
            seconds=sent.seconds,
            circuit_open=pacer.circuit_open,
            successes=pacer.successes,
            recent_success=pacer.has_recent_success(sent.seconds),
            alone=pacer.in_use == 1,
            refused_profiles=self.page_evidence.observe(failure, task.profile, pacer.successes),
        )
        decision = self.retrier.decide(failure, log, can_split=can_split())
        log.free_retry_used = log.free_retry_used or decision.new_connection
        was_open = pacer.circuit_open
        pacer.release(
            sent.permit,
            decision.signal,
            request_id=task.request_id,
            failure=failure,
            seconds=sent.seconds,
            retry_after=decision.pause,
            patience=self.retrier.policy.patience,
        )
        # From now on the probes set the pace, and patience counts only where it is waited for them.
        opened = pacer.circuit_open and not was_open
        return attrs.evolve(decision, wait=0.0) if opened else decision

    def _accept(self, task: Task, sent: SentRequest, stats: Stats, can_split: Callable[[], bool]) -> Decision:
        rows = sent.complete_rows
        self.pacer.release(sent.permit, Signal.SUCCESS, request_id=task.request_id, first_byte=sent.first_byte)
        self.health_probe.learn(task, sent.body, rows.size)
        self.retrier.budget.succeeded(task.log.price)
        if rows.count == self.limits.row_cap:
            failure = TruncatedResponse(f"the response has exactly row_cap={rows.count} rows, so there may be more")
            failure.kind, failure.splittable = Kind.CALLER, True
            sent.failure = failure
            return self.retrier.decide(failure, task.log, can_split=can_split())
        if self.limits.row_cap is None and self.row_cap_detector.observe(rows.count):
            self.observer.emit(RowCapSuspected(rows.count))
        task.date = sent.date
        stats.bytes += rows.size
        return _COMPLETE

    def charge_wait(self, task: Task, failure: HistoryError, decision: Decision) -> None:
        """Pay for the wait that a decision asks for, and announce it.

        Args:
            task: The window.
            failure: Why its last request failed.
            decision: What follows from that.
        """
        self.retrier.charge(failure, decision, task.log)
        if self.observer.enabled:
            number = task.log.attempts
            self.observer.emit(RetryPlanned(task.profile, task.window, task.request_id, number, decision.wait, failure))

    async def has_newer_token(self, sent: SentRequest) -> bool:
        """Tell whether the file of the token holds a newer one than the refused one; else the failure says why."""
        try:
            return await self.token.renew(sent.token_generation)
        except ConfigurationError as error:
            sent.error.hint = f"it was not replaced: {error.summary()}"
            return False

    def suggest_probe(self, unit: Unit) -> None:
        """Take a unit that should be fetched, to probe a server with that fails for everything else."""
        task = Task(unit.profile, unit.window, make_request_id())
        self.health_probe.suggest(task, partial(self.requests.body, unit.profile, self.border.widen(unit.window)))

    async def _probe(self, probe: Task, write: WriteBody, permit: Permit, stats: Stats) -> None:
        """Send again what succeeded before: a window that fails may be the only one that does."""
        stats.retries += 1
        failure, decision = None, _COMPLETE
        try:
            await self._exchange(write(), probe, stats, lambda _: None, fresh=False)
        except HistoryError as error:
            error.forget_frames()
            failure, decision = error, decide(error, AttemptLog(free_retry_used=True), self.retrier.policy)
        except BaseException:
            self.pacer.release(permit, Signal.NEUTRAL, request_id=probe.request_id)
            raise
        signal, pause = decision.signal, decision.pause
        self.pacer.release(permit, signal, request_id=probe.request_id, failure=failure, retry_after=pause)
        if signal in (Signal.SUCCESS, Signal.RESPONSIVE):
            self.health_probe.confirm()
        if failure is not None and decision.asks_too_long:
            raise mark_as_end(failure, decision.hint)

    async def _exchange(
        self, body: SecretBytes, task: Task, stats: Stats, grow: Callable[[int], None], *, fresh: bool
    ) -> tuple[Reply, Rows]:
        log, observer = task.log, self.observer
        stats.attempts += 1
        stats.retries += log.attempts > 0
        log.attempts += 1
        stats.in_flight += 1
        if watched := observer.enabled:
            started = _now()
            observer.emit(self._describe_start(task, stats))
        size, failure = 0, None
        try:
            reply = await self.transport.send(
                body, task.request_id, self._timeouts(log), self.limits.body, grow=grow, fresh=fresh
            )
            arrived = reply.size
            verifying = verify_response(reply, self.token, _wall_clock, null_means_empty=self.null_means_empty)
            rows = await self.runner.run(verifying)
            size = arrived
        except HistoryError as error:
            # Its frames hold the response, with whatever the server echoes, and hooks get to see it.
            error.forget_frames()
            redact_error(error, task.profile)
            failure = error
            stats.throttled += isinstance(error, RateLimited)
            raise
        finally:
            stats.in_flight -= 1
            if watched:
                seconds = _now() - started
                observer.emit(
                    AttemptEnded(task.profile, task.window, task.request_id, log.attempts, seconds, size, failure)
                )
        return reply, rows

    def _describe_start(self, task: Task, stats: Stats) -> AttemptStarted:
        url = self.transport.url
        return AttemptStarted(
            task.profile,
            task.window,
            task.request_id,
            task.log.attempts,
            waited=0.0 if task.started is None else stats.seconds - task.started,
            server_address=url.host or "",
            server_port=url.port or 0,
        )

    def _timeouts(self, log: AttemptLog) -> Timeouts:
        left = self.retrier.seconds_left(log)
        if left >= self.timeouts.attempt:
            return self.timeouts
        return attrs.evolve(self.timeouts, attempt=max(left, _LEAST_ATTEMPT))


def mark_as_end(failure: HistoryError, hint: str | None) -> HistoryError:
    """Write onto a failure that it ends the stream, and what to tell the user, and return it.

    Args:
        failure: The failure, which leaves for the user.
        hint: What to try, `None` to keep what it says.
    """
    failure.fatal = True
    failure.hint = hint or failure.hint
    return failure


def _wall_clock() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _now() -> float:
    return asyncio.get_running_loop().time()
