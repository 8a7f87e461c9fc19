"""Decide when the next request may start, for all streams of a client: by concurrency, rate, pause and circuit."""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from collections.abc import Callable

import attrs

from profile_history._sending.circuit_breaker import FLOOD_TIME, QUOTA_SILENCE, SILENCE, SILENCE_ROUNDS, CircuitBreaker
from profile_history._sending.concurrency_limit import ConcurrencyLimit
from profile_history._sending.failure_signals import Signal, is_server_wide
from profile_history._sending.learned_rate import LearnedRate, Ticket
from profile_history._sending.outage_patience import OutagePatience
from profile_history._sending.pacing_state import PacingState
from profile_history.errors import HistoryError
from profile_history.observing import CircuitClosed, CircuitOpened, Observer, RateLearned, Throttled
from profile_history.options import Pacing

# The share of `Retry-After` that is added at random: clients that were throttled together shall not return together.
_PAUSE_JITTER = 0.1
# Keeps rounding from letting a request start a hair too early.
_GAP_MARGIN = 1 + 1e-9
# Seconds; the resolution of uvloop's timers.
_TICK = 0.001
_REFUSALS = (Signal.THROTTLED, Signal.BUSY)
_LATE = (Signal.OVERLOADED, Signal.QUEUED)


@attrs.frozen
class Permit:
    """The right to send one request, which ends with `Pacer.release`.

    Attributes:
        probe: Whether it is the probe of a server that is down.
        ticket: The circumstances in which it is sent; `None` before the first refusal.
    """

    probe: bool = False
    ticket: Ticket | None = None


# All that are the same are this one: making one for each request would be the dearest part of letting it in.
_PLAIN = Permit()


@attrs.define(eq=False)
class _Waiter:
    permit: asyncio.Future[Permit]
    patience: float
    since: float
    probes_first: bool


class Pacer:
    """A queue for the right to send, first come, first served; shared by all streams of a client.

    It holds no task: whoever waits is let in by the end of another request, or by one timer.
    """

    def __init__(
        self,
        pacing: Pacing,
        *,
        observer: Observer | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._concurrency = ConcurrencyLimit(pacing.concurrency, adaptive=pacing.adaptive)
        most = pacing.requests_per_second or float("inf")
        self._learned = LearnedRate(self._concurrency, uniform, most=most)
        self._adaptive = pacing.adaptive
        self._breaker = CircuitBreaker(uniform)
        self._patience = OutagePatience(self._breaker)
        self._gap = _GAP_MARGIN / pacing.requests_per_second if pacing.requests_per_second else 0.0
        self._observer = observer or Observer()
        self._uniform = uniform
        self._next_start = float("-inf")
        self._paused_until = self._held_until = float("-inf")
        self._in_use = 0
        self._successes = 0
        self._last_good = float("-inf")
        self._last_failure = ""
        self._waiters: deque[_Waiter] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def in_use(self) -> int:
        """Return how many requests are in flight."""
        return self._in_use

    @property
    def limit(self) -> int:
        """Return how many requests may be in flight."""
        return 1 if self._learned.row.careful else self._concurrency.limit

    @property
    def successes(self) -> int:
        """Return how many requests have succeeded so far."""
        return self._successes

    def has_recent_success(self, seconds: float = 0.0) -> bool:
        """Tell whether any request has succeeded lately.

        Args:
            seconds: How far back it counts at least; two seconds and five round trips always do.
        """
        return _now() - self._last_good < max(seconds, self._silence)

    @property
    def circuit_open(self) -> bool:
        """Tell whether the server fails for everyone, so that nothing but probes is sent."""
        return self._breaker.open

    @property
    def state(self) -> PacingState:
        """Return how requests are sent just now; needs a running event loop, whose clock it reads."""
        if not self._breaker.open:
            return PacingState(self._in_use, self.limit, None, self._learned.held_at, self._learned.reason)
        wait = 0.0 if self._breaker.probing else max(0.0, self._earliest() - _now())
        return PacingState(self._in_use, 1, wait)

    async def acquire(self, patience: float, since: float | None = None, *, probes_first: bool = False) -> Permit:
        """Wait until a request may be sent, in the order of the calls.

        Args:
            patience: Seconds after the first of the failures that opened the circuit until which it waits, or until
                the first probe if the server asked for a pause before. A caller that comes later waits for the next
                probe.
            since: When the caller first asked, by the loop's clock, if it asks again for the same window; `None` for
                now.
            probes_first: Whether to wait for the first probe after the opening in any case, since a request is known
                that tells an outage from windows that fail.

        Returns:
            The permit, to be given to `release` when the request has ended.

        Raises:
            ServerUnavailable: No request succeeded in that time.
        """
        now = _now()
        if not self._waiters and (since is None or now - since < patience) and self._may_start(now):
            return self._admitted(now)
        waiter = _Waiter(
            asyncio.get_running_loop().create_future(),
            patience,
            now if since is None else since,
            probes_first,
        )
        self._waiters.append(waiter)
        # Before it is let in: a single window whose probes take long would send one after the other, and never wait.
        if self._breaker.open and self._end_of_patience(waiter) <= now:
            self._lose_patience(now)
        self._let_in(now)
        try:
            return await waiter.permit
        except asyncio.CancelledError:
            # Cancelled in the same turn of the loop in which the permit came: nobody else would give it back.
            if waiter.permit.done() and not waiter.permit.cancelled() and waiter.permit.exception() is None:
                self.release(waiter.permit.result(), Signal.NEUTRAL)
            else:
                self._leave(waiter)
            raise

    def release(
        self,
        permit: Permit,
        signal: Signal,
        *,
        request_id: str = "",
        failure: HistoryError | None = None,
        first_byte: float = 0.0,
        seconds: float = 0.0,
        retry_after: float | None = None,
        patience: float = math.inf,
    ) -> None:
        """End a request, learn from how it ended, and let in those who may start now.

        Args:
            permit: The permit that `acquire` returned for it.
            signal: How the request ended.
            request_id: Its id, which tells its window from others.
            failure: Why it failed, or `None` if it did not.
            first_byte: Seconds from sending it to the first byte of the response.
            seconds: How long it took, if it failed.
            retry_after: Seconds for which the server asks to be left alone, or `None`.
            patience: Seconds without a success after which failures in a row are an outage, however few they are.
        """
        now = _now()
        learned = self._learned
        if failure is not None:
            self._last_failure = failure.summary() + (f"; {failure.hint}" if failure.hint else "")
        if signal is Signal.SUCCESS:
            self._successes += 1
            self._last_good = now
            self._paused_until = self._held_until
            if learned.active:
                learned.succeed(now, permit.ticket, self._in_use, first_byte)
            else:
                self._concurrency.succeeded(self._in_use, first_byte)
        else:
            self._learn(permit, signal, now, seconds, retry_after)
        self._in_use -= 1
        told = (
            self._record_response(now, first_byte)
            if signal in (Signal.SUCCESS, Signal.RESPONSIVE)
            else self._record_failure(signal, request_id, now, failure, patience)
        )
        if permit.probe:
            self._breaker.probed()
            self._patience.record_probe(now)
        if self._waiters:
            self._let_in(now)
        if signal is Signal.THROTTLED:
            paused = bool(retry_after) and self._earliest() >= now + (retry_after or 0.0)
            self._observer.emit(Throttled(retry_after, self.limit, learned.rate, paused))
        if learned.has_news:
            learned.has_news = False
            self._observer.emit(RateLearned(learned.told))
        if told is not None:
            self._observer.emit(told)

    def _learn(self, permit: Permit, signal: Signal, now: float, seconds: float, retry_after: float | None) -> None:
        learned, learns = self._learned, self._adaptive and not self._breaker.open
        served = self._last_good > now - seconds
        # Late responses in a row follow from one cause, also where nobody is served any more.
        is_late = signal is Signal.QUEUED or (signal is Signal.OVERLOADED and learned.row.length > 0)
        if learns and (signal in _REFUSALS or is_late):
            if not learned.active:
                learned.begin(self._in_use)
            certain, queued = signal is Signal.THROTTLED, is_late and seconds < self._silence
            learned.refuse(now, permit.ticket, certain=certain, queued=queued, served=served, retry_after=retry_after)
            return
        if learns and signal is Signal.OVERLOADED:
            self._concurrency.on_overload(permit.ticket.epoch if permit.ticket else 0)
        # Whoever is served meanwhile shows that the others need not wait.
        if retry_after and not (served and self._adaptive):
            self._pause(retry_after, now)

    def _pause(self, retry_after: float, now: float) -> None:
        pause = retry_after + self._uniform(0, _PAUSE_JITTER * retry_after)
        self._paused_until = max(self._paused_until, now + pause)
        if not self._adaptive:
            # Else the next good response ends it.
            self._held_until = self._paused_until

    def _record_response(self, now: float, first_byte: float) -> CircuitClosed | None:
        open_for = self._breaker.succeeded(now, first_byte)
        if open_for is None:
            return None
        self._learned.restart()
        return CircuitClosed(open_for)

    def _record_failure(
        self, signal: Signal, request_id: str, now: float, failure: HistoryError | None, patience: float
    ) -> CircuitOpened | None:
        if signal is Signal.NEUTRAL:
            return None
        self._breaker.certain = self._successes > 0
        silence = self._silence if signal in _REFUSALS else 0.0
        if signal in _LATE:
            # Nothing may have been sent for long before a refusal, but a late response was waited for.
            silence = 0.0 if now - self._last_good >= self._silence else math.inf
        if signal is Signal.THROTTLED:
            # A server that asks for pauses is at work, however long they come to be.
            patience = math.inf
            silence = QUOTA_SILENCE if self._adaptive else FLOOD_TIME
        blameless, paged = failure is not None and is_server_wide(failure), signal is Signal.PAGE
        reason = self._breaker.failed(
            request_id, now, patience=patience, only_in_a_row=paged, server_wide=blameless, silence=silence
        )
        if reason is None:
            return None
        paused = max(self._paused_until, self._learned.row.asked_until) > now
        asked = paused and now - self._breaker.failing_since < patience
        self._patience.begin(pause_asked_for=asked, server_wide=blameless)
        return CircuitOpened(reason)

    @property
    def _silence(self) -> float:
        return max(SILENCE, SILENCE_ROUNDS * self._concurrency.round_trip)

    def _may_start(self, now: float) -> bool:
        return self._has_place() and self._earliest() <= now

    def _has_place(self) -> bool:
        return not self._breaker.probing if self._breaker.open else self._in_use < self.limit

    def _earliest(self) -> float:
        earliest = max(self._paused_until, self._next_start)
        if self._breaker.open:
            return max(earliest, self._learned.row.asked_until, self._breaker.probe_at)
        return max(earliest, self._learned.earliest) if self._learned.active else earliest

    def _admitted(self, now: float) -> Permit:
        self._in_use += 1
        if self._gap:
            self._next_start = now + self._gap
        ticket = self._learned.send(now, self._in_use) if self._learned.active else None
        if self._breaker.open:
            self._breaker.probe(now)
            return Permit(probe=True, ticket=ticket)
        return Permit(ticket=ticket) if ticket else _PLAIN

    def _let_in(self, now: float, least: float = 0.0) -> None:
        while self._waiters and self._may_start(now):
            waiter = self._waiters.popleft()
            if not waiter.permit.done():
                waiter.permit.set_result(self._admitted(now))
        if self._breaker.open:
            self._lose_patience(now)
        self._set_timer(least)

    def _lose_patience(self, now: float) -> None:
        for waiter in [waiter for waiter in self._waiters if self._end_of_patience(waiter) <= now]:
            self._waiters.remove(waiter)
            if not waiter.permit.done():
                waiter.permit.set_exception(self._patience.error(now, waiter.patience, self._last_failure))

    def _end_of_patience(self, waiter: _Waiter) -> float:
        return self._patience.end(waiter.patience, waiter.since, probes_first=waiter.probes_first)

    def _leave(self, waiter: _Waiter) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)
            self._set_timer()

    def _set_timer(self, least: float = 0.0) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._waiters:
            return
        # Without a place no moment is known: the end of a request lets the next one in.
        moments = [self._earliest()] if self._has_place() else []
        if self._breaker.open:
            moments += [self._end_of_patience(waiter) for waiter in self._waiters]
        if moments and min(moments) < float("inf"):
            self._timer = asyncio.get_running_loop().call_at(max(min(moments), _now() + least), self._ring)

    def _ring(self) -> None:
        self._timer = None
        # uvloop rounds to milliseconds and may ring early; without a least wait it would ring again and again.
        self._let_in(_now(), least=_TICK)


def _now() -> float:
    return asyncio.get_running_loop().time()
