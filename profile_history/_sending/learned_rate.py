"""The rate at which a server lets requests in, found by trying, beside the number in flight. No I/O, no clock."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

import attrs

from profile_history._sending.accepted_requests import AcceptedRequests
from profile_history._sending.concurrency_limit import ConcurrencyLimit
from profile_history._sending.pace_trials import PaceTrials
from profile_history._sending.rate_estimate import RateEstimate
from profile_history._sending.refusal_evidence import RefusalEvidence
from profile_history._sending.refusal_row import RefusalRow

# Figures without a source were found by `python -m benchmarks pacing`.

# Seconds in which a growing rate reaches e times where it began: 4 % more after one, five times as much after six.
# Where a response takes long, so many round trips.
_GROWTH_SECONDS = 5.0
_GROWTH_ROUNDS = 20
# How long it rests at what was found: so many responses for each that the last growth cost, so that about one in a
# hundred is refused, and ten times as long as the server asked to be left alone.
_REST_SECONDS = 5.0
_REST_ROUNDS = 20
_REST_RESPONSES, _RESPONSES_PER_REFUSAL, _MOST_REST_RESPONSES = 60, 70, 400
_REST_PER_PAUSE = 10
# A server that limits the number in flight never refuses one that is alone: two that were, of the last 32 results.
_ALONE, _ALONE_RESULTS = 2, 32
# Seconds of a pause that the server asks for which count for the rate: it may ask for far more than it needs.
_COUNTED_PAUSE = 2.0
# Seconds between two refusals in a row from which on it is no window of a second that is used up, but one of a minute.
_LONG_ROW_PAUSE = 5.0
_LEAST_RATE = 0.1
_RATE_AFTER_PAUSE = 1.0
# A change that is worth telling.
_NEWS = 0.1


@attrs.frozen
class Ticket:
    """The circumstances in which a request was sent.

    Attributes:
        epoch: How often the server had refused by then.
        moment: When, in seconds, without the pauses that the server asked for.
        accepted: How many it had let in before.
        in_flight: How many were in flight, this one included.
        bound: Whether the concurrency limit let no more of them be sent.
    """

    epoch: int
    moment: float
    accepted: int
    in_flight: int
    bound: bool


class LearnedRate:
    """Two limits and one blame: a refusal lowers what let the request through, the number in flight or the rate.

    The rate is off until something shows that the number in flight is not what the server counts: it refuses requests
    that are alone, or it lets in more than the concurrency limit does once they are spaced out evenly, which is tried
    after each rest of that limit. While it is on, the concurrency limit is lifted.

    A refusal sets it between what was let in since an earlier refusal, which is the rate of a bucket, and what was
    refused, which is that of a window; how far, it learns from whether it held. Then it rests, and grows until the
    next refusal. It is off again when it is not what limits, or brings less than the concurrency limit did.

    Nothing is counted before the first refusal.

    Args:
        concurrency: The limit of the number in flight.
        uniform: Draws evenly between two numbers.
        most: Requests per second, which it never exceeds.
    """

    def __init__(
        self, concurrency: ConcurrencyLimit, uniform: Callable[[float, float], float], *, most: float = math.inf
    ) -> None:
        self._concurrency = concurrency
        self._most = most
        self._accepted = AcceptedRequests(0)
        self._evidence = RefusalEvidence()
        self._alone: deque[bool] = deque(maxlen=_ALONE_RESULTS)
        self._idle = 0.0
        self._throttles = False
        self._base = 0.0
        self._age: float | None = None
        self._last_success = -math.inf
        self._rest_since = 0.0
        self._rested = 0
        self._cost = 0
        self._after_pause = 0.0
        self._estimate = RateEstimate()
        self._unused_since: float | None = None
        self._trials = PaceTrials()
        self.row = RefusalRow(uniform)
        self.active = False
        self.rate: float | None = None
        self.next_start = -math.inf
        self.told: float | None = None
        self.has_news = False

    @property
    def earliest(self) -> float:
        """Return when the next request may be sent."""
        paused = self.row.paused_until
        return paused if self.rate is None else max(paused, self.next_start)

    @property
    def held_at(self) -> float | None:
        """Return the rate that the server holds the client at; `None` if none does, or one is only tried."""
        holds = self.rate is not None and self.rate < self._most and self._trials.current is None
        return self.rate if holds else None

    @property
    def reason(self) -> str:
        """Return what the server holds the client at, in words; "" if the client is held by its own settings."""
        if (rate := self.held_at) is not None:
            return f"held at {rate:.{0 if rate >= 10 else 1}f} requests/s by the server"
        trial = self._trials.current
        held = trial.limit if trial else self._concurrency.held_at if self.rate is None else None
        return "" if held is None else f"held at {held} in flight by the server"

    def begin(self, in_flight: int) -> None:
        """Begin to count, at the first refusal.

        Args:
            in_flight: How many requests are in flight, the refused one included.
        """
        self.active = True
        self._accepted = AcceptedRequests(in_flight)

    def send(self, now: float, in_flight: int) -> Ticket:
        """Record that a request is sent, and return what its end has to be judged by.

        Args:
            now: Seconds, on any clock that only goes forward.
            in_flight: How many requests are in flight, this one included.
        """
        slept = self.row.wake(now)
        self._idle += max(0.0, slept - _COUNTED_PAUSE)
        if self.rate is None and slept >= _COUNTED_PAUSE:
            # Nothing succeeded in that time: there is no telling what it will bear, and no hurry.
            self._set(_RATE_AFTER_PAUSE, now, growing=True)
        moment = now - self._idle
        bound = self._concurrency.binds(in_flight)
        self._concurrency.sent(in_flight)
        if self.rate is not None:
            self.next_start = now + 1 / self.rate
        return Ticket(self._concurrency.epoch, moment, self._accepted.send(moment), in_flight, bound)

    def succeed(self, now: float, ticket: Ticket | None, in_flight: int, first_byte: float) -> None:
        """Record a good response, and ask for more if that is due.

        Args:
            now: Seconds, on any clock that only goes forward.
            ticket: That of the request; `None` if it was sent before the first refusal.
            in_flight: How many requests were in flight, this one included.
            first_byte: Seconds from sending it to the first byte of its response.
        """
        self._evidence.add_success(resting=self._is_resting)
        was_trying = self._concurrency.trying
        self._concurrency.succeeded(in_flight, first_byte)
        since, self._last_success = self._last_success, now
        self.row.lift()
        if ticket is None:
            return
        if ticket.in_flight == 1:
            self._alone.append(False)
        is_news = ticket.epoch == self._concurrency.epoch
        if is_news or self.rate is None:
            self.row.length = 0
        if not is_news:
            return
        self._concurrency.bore(ticket.in_flight)
        if self._age is not None and not self._rested:
            # What was refused until then was the price of another rate.
            self._cost = 0
        self._rested += 1
        if self.rate is None:
            rate = self._trials.propose(now, self._idle, self._concurrency, self._accepted, was_trying=was_trying)
            if rate is not None:
                self._set(rate, now, growing=True)
        else:
            self._grow(self.rate, now, now - since, ticket)

    def refuse(
        self,
        now: float,
        ticket: Ticket | None,
        *,
        certain: bool,
        queued: bool = False,
        served: bool = False,
        retry_after: float | None = None,
    ) -> None:
        """Record a refusal, and ask for less.

        Args:
            now: Seconds, on any clock that only goes forward.
            ticket: That of the request; `None` if it was sent before the first refusal.
            certain: Whether the server says that there are too many requests, as with 429; a 503 may come by chance.
            queued: Whether it is a response that took too long, but no longer than a queue explains.
            served: Whether any good response has come since the request was sent.
            retry_after: Seconds for which the server asks to be left alone, or `None`.
        """
        if retry_after and not served:
            self.row.ask(now, retry_after)
        if ticket is None:
            ticket = Ticket(0, now - self._idle, self._accepted.count - 1, self._concurrency.limit, bound=True)
        if ticket.in_flight == 1:
            self._alone.append(True)
        self._throttles |= certain
        # A server that says 429 when it means it says 503 for other reasons, and has let that request in.
        if certain or not self._throttles:
            self._accepted.refuse()
            self._cost += 1
        # One that was sent before the last refusal was known is no news.
        if ticket.epoch == self._concurrency.epoch:
            in_a_row = self.row.length > 0
            believed = certain or self._evidence.believes(
                resting=self._is_resting, likely=not self._throttles, queued=queued
            )
            if believed or in_a_row:
                self._react(now, ticket, certain=certain, in_a_row=in_a_row)
            else:
                self._concurrency.doubt()

    def _react(self, now: float, ticket: Ticket, *, certain: bool, in_a_row: bool) -> None:
        self.row.length += 1
        if not in_a_row:
            self._blame(now, ticket, certain=certain)
        elif self.rate is None:
            self._concurrency.on_throttle(ticket.epoch)
        else:
            self._concurrency.begin_epoch()
        if (self.rate is None or ticket.bound) and sum(self._alone) >= _ALONE:
            self._switch_on(now, ticket)
        if self.rate is not None or self.row.careful:
            least = self._concurrency.round_trip if self.rate is None else min(1.0, 1 / self.rate)
            if self.row.pause(now, least) > _LONG_ROW_PAUSE:
                self._estimate.lower()

    def restart(self) -> None:
        """Begin again after an outage, with one request at once; the rate is what it was."""
        self.row.length = 0
        self._accepted.forget()
        self._trials.interrupt_rest()
        self._concurrency.restart()

    @property
    def _is_resting(self) -> bool:
        return self._concurrency.borne if self.rate is None else self._age is None

    def _blame(self, now: float, ticket: Ticket, *, certain: bool) -> None:
        low = self._accepted.between_refusals(ticket.moment, ticket.accepted)
        apart = self._accepted.mark_refusal(ticket.moment, ticket.accepted)
        if self.rate is None or ticket.bound:
            self._concurrency.on_throttle(ticket.epoch)
            self._trials.interrupt_rest()
            return
        self._concurrency.begin_epoch()
        recently = min(self.rate, self._accepted.recently(ticket.moment, ticket.accepted))
        limit = self._trials.end(recently, ticket.in_flight)
        if limit is None and low is not None:
            limit = self._trials.compare(low)
        if limit is not None:
            self._switch_off(limit)
            return
        growing = self._age is not None
        if not growing:
            self._estimate.fail()
        if apart and low is not None:
            if not certain:
                low /= 1 - self._evidence.noise
            low = min(low, self.rate)
            rate = self._estimate.between(low, recently) if growing else self._estimate.proven(low)
            self._set(rate, now, growing=not self._estimate.is_timid and rate < 0.8 * self._base)
        else:
            self._set(self._estimate.cut(self.rate, low), now, growing=True)

    def _grow(self, rate: float, now: float, elapsed: float, ticket: Ticket) -> None:
        trial = self._trials.current
        if trial is not None and ticket.in_flight > trial.limit:
            trial.good += 1
        # It proves nothing where something else holds the requests back.
        unused = ticket.bound or rate >= self._most
        if unused or self._concurrency.responses_begin_late:
            if self._unused_since is None:
                self._unused_since = now
            if unused and now - self._unused_since > _REST_SECONDS:
                self._switch_off(None)
            return
        self._unused_since = None
        round_trip = self._concurrency.round_trip
        if self._age is not None:
            # A pause must not age it.
            self._age += min(elapsed, 2 / rate + round_trip, 1.0)
            exponent = (self._age / max(_GROWTH_SECONDS, _GROWTH_ROUNDS * round_trip)) ** 2
            self.rate = min(self._most, self._base * math.exp(min(9.0, exponent)))
        elif self._rested >= self._rest_responses and now - self._rest_since >= self._rest_seconds:
            self._age, self._base, self._cost = 0.0, rate, 0
            self._after_pause = 0.0
            self._estimate.hold()

    @property
    def _rest_seconds(self) -> float:
        self._after_pause = max(self._after_pause, _REST_PER_PAUSE * self._estimate.sureness * self.row.take_longest())
        return max(_REST_SECONDS, _REST_ROUNDS * self._concurrency.round_trip, self._after_pause)

    @property
    def _rest_responses(self) -> int:
        return min(_MOST_REST_RESPONSES, max(_REST_RESPONSES, _RESPONSES_PER_REFUSAL * self._cost))

    def _set(self, rate: float, now: float, *, growing: bool) -> None:
        if self.rate is None:
            self._concurrency.lift()
        self.rate = self._base = min(self._most, max(rate, _LEAST_RATE))
        self._age = 0.0 if growing else None
        self._rest_since, self._rested = now, 0
        self._unused_since = None
        self._last_success = max(self._last_success, now)
        if growing:
            self._cost = 0
        elif self.told is None or abs(self.rate - self.told) > _NEWS * self.told:
            self.told, self.has_news = self.rate, True

    def _switch_on(self, now: float, ticket: Ticket) -> None:
        low = self._accepted.between_refusals(ticket.moment, ticket.accepted)
        if low is None:
            low = self._accepted.since_first_refusal(ticket.moment, ticket.accepted)
        if low is None:
            return
        self._trials.forget()
        self._alone.clear()
        self._set(self._estimate.proven(low), now, growing=True)

    def _switch_off(self, limit: int | None) -> None:
        self.rate = self._age = None
        self._trials.forget()
        self._concurrency.settle(limit)
        if self.told is not None:
            self.told, self.has_news = None, True
