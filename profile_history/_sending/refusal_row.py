"""Refusals in a row, with no success in between: how long they are waited out. No I/O, no clock."""

from __future__ import annotations

import math
from collections.abc import Callable

# Seconds; a request in a quarter of a minute is what a server bears in an outage as well.
_LONGEST_PAUSE = 15.0
_LEAST_PAUSE = 0.02
# The share that is added at random: clients that were refused together shall not return together.
_JITTER = 0.1
# From this refusal on, one request at a time is sent until one succeeds.
_CAREFUL = 2


class RefusalRow:
    """The pauses after refusals: each twice as long as the last one, and as long as the server asks for.

    A `Retry-After` holds the whole client only while no request has succeeded since the refused one was sent; the
    next good response shows that the others may go on.

    Args:
        uniform: Draws evenly between two numbers.
    """

    def __init__(self, uniform: Callable[[float, float], float]) -> None:
        self._uniform = uniform
        self._paused_until = -math.inf
        self.asked_until = -math.inf
        self._asked_since: float | None = None
        self._longest = 0.0
        self.length = 0

    @property
    def careful(self) -> bool:
        """Tell whether one request at a time is sent, to see whether the server lets anything in."""
        return self.length >= _CAREFUL

    @property
    def paused_until(self) -> float:
        """Return when the next request may be sent, on the clock of the moments given."""
        return max(self._paused_until, self.asked_until)

    def ask(self, now: float, seconds: float) -> None:
        """Hold all requests, as the server asks for.

        Args:
            now: Seconds, on any clock that only goes forward.
            seconds: Its `Retry-After`.
        """
        pause = seconds * self._uniform(1.0, 1.0 + _JITTER)
        if self._asked_since is None:
            self._asked_since = now
        self.asked_until = max(self.asked_until, now + pause)
        self._longest = max(self._longest, pause)

    def wake(self, now: float) -> float:
        """Return for how many seconds the last pause lasted that the server asked for, once; 0 if there was none."""
        if self._asked_since is None:
            return 0.0
        slept, self._asked_since = now - self._asked_since, None
        return slept

    def pause(self, now: float, least: float) -> float:
        """Hold all requests, for twice as long with each refusal of the row, if the server has not said for how long.

        Args:
            now: Seconds, on any clock that only goes forward.
            least: Seconds between two requests.

        Returns:
            The seconds, 0 if the server has said for how long.
        """
        if self.asked_until > now:
            return 0.0
        doubled: float = max(least, _LEAST_PAUSE) * 2.0 ** min(self.length, 20)
        pause = min(_LONGEST_PAUSE, doubled) * self._uniform(1.0, 1.0 + _JITTER)
        self._paused_until = max(self._paused_until, now + pause)
        return pause

    def lift(self) -> None:
        """Record a good response, which ends a pause that the server asked for."""
        self.asked_until = -math.inf

    def take_longest(self) -> float:
        """Return the longest pause that the server asked for since this was called last, in seconds."""
        longest, self._longest = self._longest, 0.0
        return longest
