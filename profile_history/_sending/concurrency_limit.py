"""The number of requests in flight at once, found by trying, as TCP finds its window. No I/O, no clock."""

from __future__ import annotations

from collections import deque

_START = 4.0
# The factor of CUBIC (RFC 9438, 4.6).
_CUT = 0.7
# How long it rests at what the server bears, so that about one request in 200 is refused; tests/faults/test_outages.py
# allows one in 100.
_RESPONSES_HELD = 200
_ROUNDS_HELD = 20
# What was borne for this many rounds counts as borne, even if it is refused once.
_ROUNDS_TRUSTED = 3
# A request beyond what is borne may be let in by luck, as another one has just ended.
_PROOFS = 3
# Scattered failures, up to an eighth of all, say nothing about concurrency.
_RESULTS_WATCHED = 32
_OVERLOADS_TOLERATED = 4


class ConcurrencyLimit:
    """Additive increase, multiplicative decrease, and a long rest at what the server bears.

    It starts at 4 and grows by one with every success, until the server first refuses. A refusal cuts it to 0.7, at
    most once a round trip: refusals of requests sent before the last cut do not count. It then returns by one a
    success to the last number that was borne, rests there for 200 responses or 20 rounds, and only then tries more, by
    one a round: a single request beyond it, and no other until that one has succeeded, thrice before the first further
    one. So the server refuses about one request in two hundred, and hardly any of its capacity lies idle; a plain
    saw-tooth leaves a seventh unused and is refused far more often where the capacity is small.

    Many responses of 503 and many timeouts cut it as well.

    It never grows while less than half of it is in use, which proves nothing, nor while responses begin later than they
    used to, which is how a server that queues instead of refusing says that it has enough.

    Args:
        most: The most requests in flight, inclusive.
        adaptive: Whether it adapts to the server's capacity; if not, the limit is `most` at all times.
    """

    def __init__(self, most: int, *, adaptive: bool) -> None:
        self._most = most
        self._adaptive = adaptive
        self._limit = min(_START, most) if adaptive else float(most)
        self._last_good: int | None = None
        self._held = 0
        self._trying = False
        self._awaited: int | None = None
        self._proofs = 0
        self._lifted = False
        self._doubted = False
        self._epoch = 0
        self._overloads: deque[bool] = deque(maxlen=_RESULTS_WATCHED)
        self._latency = LatencyGradient()

    @property
    def limit(self) -> int:
        """Return how many requests may be in flight now."""
        return int(self._limit)

    @property
    def epoch(self) -> int:
        """Return how often the server refused too much; a request remembers the number at which it was sent."""
        return self._epoch

    @property
    def borne(self) -> bool:
        """Tell whether no more is asked for than was borne before."""
        return self._last_good is not None and not self._trying

    @property
    def trying(self) -> bool:
        """Tell whether it tries more than was borne before."""
        return self._trying

    @property
    def rested_responses(self) -> int:
        """Return for how many responses it has rested."""
        return self._held

    @property
    def held_at(self) -> int | None:
        """Return the number at which the server holds it; `None` if it does not, or something else holds instead."""
        held = self._last_good is not None and not self._lifted and self._last_good < self._most
        return self.limit if held else None

    @property
    def responses_begin_late(self) -> bool:
        """Tell whether responses begin clearly later than they used to, as where a server queues."""
        return self._latency.increasing

    @property
    def round_trip(self) -> float:
        """Return the seconds to the first byte, on average over the last responses; 0 before the first."""
        return self._latency.mean

    def binds(self, in_flight: int) -> bool:
        """Tell whether this limit, and nothing else, lets no more requests be sent.

        Args:
            in_flight: How many are in flight, the last one included.
        """
        return in_flight >= self.limit and not (self._lifted and self._trying)

    def sent(self, in_flight: int) -> None:
        """Record that a request is sent; the first beyond what was borne has to succeed before another is.

        A server whose refusals take as long as its responses would refuse a whole round of them before the first is
        known.

        Args:
            in_flight: How many requests are in flight, this one included.
        """
        if not self._trying or self._last_good is None:
            return
        tried = self._awaited or (self._last_good + 1 if self._lifted else self.limit)
        if in_flight >= tried and in_flight > self._last_good:
            self._awaited, self._limit = in_flight, float(in_flight - 1)

    def bore(self, in_flight: int) -> None:
        """Record that a request succeeded that was sent since the last cut, and try more if it was the awaited one.

        Args:
            in_flight: How many requests were in flight when it was sent, itself included.
        """
        if in_flight != self._awaited:
            return
        self._awaited = None
        self._proofs += 1
        if self._proofs < _PROOFS:
            self._limit = float(in_flight)
        elif self._lifted:
            self._lift_whole()
        else:
            self._limit = float(min(self._most, in_flight + 1))

    def succeeded(self, in_use: int, first_byte: float) -> None:
        """Record a success, and grow if it proves that the server bears more.

        Args:
            in_use: How many requests were in flight, this one included.
            first_byte: Seconds from sending it to the first byte of its response.
        """
        if not self._adaptive:
            return
        self._overloads.append(False)
        self._latency.observe(first_byte)
        if self._latency.increasing or (self._last_good is not None and in_use < self._limit / 2):
            return
        self._limit = min(self._most, self._grown())

    def on_throttle(self, epoch: int) -> None:
        """Record that the server refused a request that was sent in that epoch, and cut."""
        # Requests sent before the last cut meet a server that was still asked for too much.
        if not self._adaptive or epoch != self._epoch:
            return
        held = self._last_good == self.limit and self._held >= _ROUNDS_TRUSTED * self._limit
        trusted = held and not self._doubted
        if not trusted:
            self._last_good = max(1, (self._awaited or self.limit) - 1)
        self._lower(max(1.0, self._limit * _CUT))

    def doubt(self) -> None:
        """Record what may have been a refusal: what is borne now is not trusted so much any more."""
        self._doubted = True

    def on_overload(self, epoch: int) -> None:
        """Record a failure that may come from too much work, a 503 or a timeout, or from anything else.

        Scattered ones say nothing about concurrency; five within the last 32 results cut it, and what was borne stays
        borne.
        """
        if not self._adaptive or epoch != self._epoch:
            return
        self._overloads.append(True)
        if sum(self._overloads) > _OVERLOADS_TOLERATED:
            self._lower(max(1.0, self._limit * _CUT))

    def begin_epoch(self) -> None:
        """Record that the server refused too much, and that something else is lowered for it."""
        self._epoch += 1
        if self._trying:
            self._lift_whole()

    def lift(self) -> None:
        """Allow the most, once some beyond what was borne have succeeded: something else holds the requests back."""
        self._lifted = self._trying = True
        self._limit = float(self._most)
        self._held, self._awaited, self._proofs = 0, None, 0

    def settle(self, limit: int | None) -> None:
        """Hold again, and rest there.

        Args:
            limit: What was borne; `None` for the most.
        """
        self._lifted = False
        self._last_good = self._most if limit is None else limit
        self._lower(float(self._last_good))

    def restart(self) -> None:
        """Begin again at one after an outage: what the server bore before may be too much now."""
        if self._adaptive:
            self._lower(1.0)
            self._last_good = None
            self._latency = LatencyGradient()

    def _lower(self, limit: float) -> None:
        self._limit = limit
        self._held = 0
        self._trying = self._doubted = False
        self._awaited, self._proofs = None, 0
        self._epoch += 1
        self._overloads.clear()

    def _lift_whole(self) -> None:
        self._trying, self._awaited, self._limit = False, None, float(self._most)

    def _grown(self) -> float:
        if self._awaited is not None:
            # Slowly, since it may end in a way that tells nothing.
            return self._limit + 0.5 / self._limit
        if self._last_good is None or self._lifted:
            return self._limit + 1
        if self._limit < self._last_good:
            return min(self._last_good, self._limit + 1)
        if self._trying:
            return self._limit + 1 / self._limit
        self._held += 1
        self._trying = self._held >= max(_RESPONSES_HELD, _ROUNDS_HELD * self._limit)
        return self._limit


class LatencyGradient:
    """A comparison of how soon responses begin with how soon they used to: a short mean, a base that rises slowly.

    Source of the rule and its figures: the Gradient2 limit of Netflix' concurrency-limits, tolerance 1.5, window 600.
    """

    _SHARE = 0.2
    _DRIFT = 1 / 600
    _TOLERANCE = 1.5
    # Under a local server's noise no conclusion is drawn.
    _LEAST_SECONDS = 0.02

    def __init__(self) -> None:
        self._mean: float | None = None
        self._base = 0.0

    @property
    def mean(self) -> float:
        """Return the mean of the last delays, in seconds; 0 before the first."""
        return self._mean or 0.0

    @property
    def increasing(self) -> bool:
        """Tell whether the mean is clearly above the base."""
        return self._mean is not None and self._mean > self._base * self._TOLERANCE + self._LEAST_SECONDS

    def observe(self, seconds: float) -> None:
        """Record one more delay, in seconds."""
        if self._mean is None:
            self._mean = self._base = seconds
            return
        self._mean += (seconds - self._mean) * self._SHARE
        self._base = min(self._mean, self._base + (self._mean - self._base) * self._DRIFT)
