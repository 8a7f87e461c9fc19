"""Does the server fail for everyone? Then the circuit opens: nothing is sent but one probe at a time. No I/O, no clock.

The retry rules of one request lose data in a large job: a minute's outage fails thousands of windows, each after its
few attempts. While the circuit is open no failure is charged to a window.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import attrs

IN_A_ROW = 10
RESULTS = 20
SHARE = 0.5
PERIOD = 30.0
DIFFERENT_WINDOWS = 3
FIRST_WAIT = 2.0
LONGEST_WAIT = 30.0
_LEAST_JITTER = 2 / 3


@attrs.define
class _Second:
    number: int
    results: int = 0
    failures: int = 0
    windows: set[str] = attrs.field(factory=set)


class CircuitBreaker:
    """Opens after ten failures in a row, or where half of at least twenty results in thirty seconds are failures.

    Until the first answer both rules ask for failures of three different windows: a profile that nobody can fetch is no
    outage. Later the probes tell one from the other, since every other one repeats a request that was answered before.

    The first probe is sent after 2 seconds, each further one after twice as long, up to 30 seconds, each wait times 2/3
    to 1. The first success, of a probe or of a request sent before, closes it.

    Args:
        uniform: Draws evenly between two numbers.
    """

    def __init__(self, uniform: Callable[[float, float], float]) -> None:
        self._uniform = uniform
        self._row = 0
        self._row_windows: set[str] = set()
        self._seconds: deque[_Second] = deque()
        self._wait = FIRST_WAIT
        self.opened_at = 0.0
        self.open = False
        self.probing = False
        self.certain = False
        self.probe_at = 0.0

    def succeeded(self, now: float) -> float | None:
        """Takes note of an answer that shows the server at work; if that closes the circuit, says after how long."""
        self._row = 0
        self._row_windows.clear()
        if not self.open:
            self._this_second(now).results += 1
            return None
        self.open = False
        self._wait = FIRST_WAIT
        self._seconds.clear()
        return now - self.opened_at

    def failed(self, window: str, now: float) -> str | None:
        """Takes note of a failure; if that opens the circuit, says why.

        Args:
            window: What tells one window from another, such as its request id.
            now: Seconds, on any clock that only goes forward.
        """
        if self.open:
            return None
        second = self._this_second(now)
        second.results += 1
        second.failures += 1
        self._row += 1
        for windows in (self._row_windows, second.windows):
            if len(windows) < DIFFERENT_WINDOWS:
                windows.add(window)
        reason = self._reason()
        if reason is not None:
            self.open = True
            self.opened_at = now
            self._plan(now)
        return reason

    def probe(self, now: float) -> None:
        """Takes note that the one probe is sent; the next one waits twice as long, and until this one has ended."""
        self.probing = True
        self._plan(now)

    def probed(self) -> None:
        """Takes note that the probe has ended."""
        self.probing = False

    def _plan(self, now: float) -> None:
        self.probe_at = now + self._wait * self._uniform(_LEAST_JITTER, 1.0)
        self._wait = min(LONGEST_WAIT, 2 * self._wait)

    def _reason(self) -> str | None:
        needed = 1 if self.certain else DIFFERENT_WINDOWS
        if self._row >= IN_A_ROW and len(self._row_windows) >= needed:
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
