"""The end of patience of those who wait for a server that is down. No I/O, no clock."""

from __future__ import annotations

import math

from profile_history._sending.circuit_breaker import CircuitBreaker
from profile_history.errors import ServerUnavailable


class OutagePatience:
    """The end of the patience of each request that waits while the circuit is open.

    Patience begins with the first of the failures that opened the circuit, and ends for all who have waited since then
    in the same moment. Who comes later waits for the next probe all the same, and gives up only when that has failed.

    Args:
        breaker: The circuit breaker, which knows since when the server fails.
    """

    def __init__(self, breaker: CircuitBreaker) -> None:
        self._breaker = breaker
        self._probed_at = -math.inf
        self._probed = False
        self._pause_asked_for = False
        self._server_wide = False

    def begin(self, *, pause_asked_for: bool, server_wide: bool) -> None:
        """Record that the circuit has opened.

        Args:
            pause_asked_for: Whether the server asked for a pause before, which goes on: it may be back after it.
            server_wide: Whether the failures cannot lie in the requests, so that no probe has to tell that.
        """
        self._probed = False
        self._pause_asked_for = pause_asked_for
        self._server_wide = server_wide

    def record_probe(self, now: float) -> None:
        """Record that a probe has ended at that moment."""
        self._probed_at = now
        self._probed = True

    def end(self, patience: float, since: float, *, probes_first: bool) -> float:
        """Return when a request gives up that waits, on the clock of the moments given; infinity if a probe decides it.

        Args:
            patience: Its seconds of patience.
            since: When it was first asked for.
            probes_first: Whether it waits for the first probe after the opening in any case, unless the failures cannot
                lie in the requests.
        """
        end = self._breaker.failing_since + patience
        if since >= max(end, self._breaker.opened_at):
            return math.inf if self._probed_at <= since else end
        waits_for_probe = self._pause_asked_for or (probes_first and not self._server_wide)
        return math.inf if waits_for_probe and not self._probed else end

    def error(self, now: float, patience: float, last_failure: str) -> ServerUnavailable:
        """Return the error of a request that gives up.

        Args:
            now: The moment, on the clock of the circuit breaker.
            patience: Its seconds of patience.
            last_failure: The last failure of any request, in words.
        """
        return ServerUnavailable(
            f"the server has failed for every request for {now - self._breaker.failing_since:.0f} s, and "
            f"RetryPolicy.patience is {patience:g} s. What was fetched is good; try again later. "
            f"The last failure: {last_failure}"
        )
