"""Stop sending while the server fails for everyone: an open circuit lets one probe at a time through. No I/O, no clock.

The retry rules of one request lose data in a large job: a minute's outage fails thousands of windows, each after its
few attempts. While the circuit is open no failure is charged to a window.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

import attrs

# What opens the circuit: failures in a row, or a share of the results of a period (seconds), of enough windows. Where
# 12 % of all requests fail by chance, ten fail in a row about once in 10 ** 9 requests.
IN_A_ROW = 10
RESULTS = 20
SHARE = 0.5
PERIOD = 30.0
DIFFERENT_WINDOWS = 3
# Seconds; refusals are an outage only if nothing succeeded for so long. Quotas are often those of a minute: one that is
# used up refuses everything until its end, and the longest pause between two refusals comes on top.
SILENCE = 2.0
QUOTA_SILENCE = 90.0
# Of 429 where the client does not adapt: it sends on as before, and only an open circuit ends its flood.
FLOOD_TIME = 0.5
# Or for so many round trips: a queue that had become twice too long has drained by then, with all that was abandoned.
SILENCE_ROUNDS = 5
# Seconds between probes; the jitter keeps many clients from asking a server that has just come back all at once.
FIRST_WAIT = 2.0
LONGEST_WAIT = 30.0
_LEAST_JITTER = 2 / 3


@attrs.define
class _Second:
    """The results of one second; a sum of seconds stays small however many requests there are."""

    number: int
    results: int = 0
    failures: int = 0
    windows: set[str] = attrs.field(factory=set)


class CircuitBreaker:
    """A breaker that opens after ten failures in a row, or if half of at least twenty results in 30 s are failures.

    It opens as well if two failures in a row are as far apart as the patience of who meets them. Until the first
    success all rules ask for failures of three different windows, unless they cannot lie in the window: a profile that
    nobody can fetch is no outage. Later the probes tell one from the other, since every other one repeats a request
    that has succeeded. Failures that say "not now" count only after a silence, since they come from a server at work.

    The first probe is sent after 2 seconds, each further one after twice as long, up to 30 seconds, each wait times 2/3
    to 1. The first success closes it, of a probe or of a request sent before, but not before the first of the failures.
    Such an early one does not break a row of pages either.

    Args:
        uniform: Draws evenly between two numbers.
    """

    def __init__(self, uniform: Callable[[float, float], float]) -> None:
        self._uniform = uniform
        self._row = 0
        self._refusals = 0
        self._pages = 0
        self._row_windows: set[str] = set()
        self._seconds: deque[_Second] = deque()
        self._wait = FIRST_WAIT
        self.opened_at = 0.0
        self.failing_since = float("-inf")
        self.open = False
        self.probing = False
        self.certain = False
        self.probe_at = 0.0

    def succeeded(self, now: float, seconds: float = 0.0) -> float | None:
        """Record a response that shows the server at work, which closes an open circuit.

        Args:
            now: Seconds, on any clock that only goes forward.
            seconds: How long ago the request was sent, at least. One from before the failures began closes nothing: a
                firewall refuses at once what the server behind it takes a while to respond to. As many responses as
                were under way would break the row of its pages one by one, while each page costs a window.

        Returns:
            How many seconds the circuit was open, if this closed it, else `None`.
        """
        early = now - seconds < self.failing_since
        if self._row and not (early and self._pages == self._row):
            self._row = self._refusals = self._pages = 0
            self._row_windows.clear()
        if not self.open:
            self._this_second(now).results += 1
            return None
        if early:
            return None
        self.open = False
        self._wait = FIRST_WAIT
        self._seconds.clear()
        return now - self.opened_at

    def failed(
        self,
        request_id: str,
        now: float,
        *,
        patience: float = math.inf,
        only_in_a_row: bool = False,
        server_wide: bool = False,
        silence: float = 0.0,
    ) -> str | None:
        """Record a failure, which may open the circuit.

        Args:
            request_id: Of the request, and so the same for all attempts at one window.
            now: Seconds, on any clock that only goes forward.
            patience: Seconds after which two failures in a row are enough.
            only_in_a_row: Whether it counts only if no success comes between, however many there are in a period.
            server_wide: Whether it cannot lie in the window, so that one window is enough.
            silence: Seconds without a success from which it counts, and only in a row, if it says "not now"; else 0.

        Returns:
            What was seen, if this opened the circuit, else `None`.
        """
        if self.open:
            return None
        second = self._this_second(now)
        second.results += 1
        second.failures += not (only_in_a_row or silence)
        if not self._row:
            self.failing_since = now
        self._row += 1
        self._refusals += silence > 0
        self._pages += only_in_a_row
        for windows in (self._row_windows, second.windows):
            if len(windows) < DIFFERENT_WINDOWS:
                windows.add(request_id)
        in_a_row = 2 if now - self.failing_since >= patience else IN_A_ROW
        # A quota may as well be used up before the first request.
        waits = self.certain or silence >= QUOTA_SILENCE
        silent = not waits or now - self.failing_since >= (silence or SILENCE)
        count = self._row if silent else self._row - self._refusals
        needed = 1 if self.certain or server_wide else DIFFERENT_WINDOWS
        reason = self._reason(needed, enough=count >= in_a_row)
        if reason is not None:
            self.open = True
            self.opened_at = now
            self._plan(now)
        return reason

    def probe(self, now: float) -> None:
        """Record that the one probe is sent; the next one waits twice as long, and until this one has ended."""
        self.probing = True
        self._plan(now)

    def probed(self) -> None:
        """Record that the probe has ended."""
        self.probing = False

    def _plan(self, now: float) -> None:
        self.probe_at = now + self._wait * self._uniform(_LEAST_JITTER, 1.0)
        self._wait = min(LONGEST_WAIT, 2 * self._wait)

    def _reason(self, needed: int, *, enough: bool) -> str | None:
        if enough and len(self._row_windows) >= needed:
            return f"{self._row} failures in a row"
        results = sum(second.results for second in self._seconds)
        failures = sum(second.failures for second in self._seconds)
        if results < RESULTS or failures < SHARE * results:
            return None
        if len(set().union(*(second.windows for second in self._seconds))) < needed:
            return None
        return f"{failures} failures in {results} results within {PERIOD:g} s"

    def _this_second(self, now: float) -> _Second:
        number = int(now)
        while self._seconds and self._seconds[0].number <= number - PERIOD:
            self._seconds.popleft()
        if not self._seconds or self._seconds[-1].number != number:
            self._seconds.append(_Second(number))
        return self._seconds[-1]
