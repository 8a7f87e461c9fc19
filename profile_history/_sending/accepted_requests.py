"""Count the requests that a server lets in, and read off the rate that it permits. No I/O, no clock."""

from __future__ import annotations

from collections import deque

# Accepted requests and seconds between two refusals from which a rate is believed: it is then exact within some 5 %,
# also where the server counts by whole seconds.
_SURE_COUNT = 20
_SURE_SECONDS = 2.0
_SAMPLE_SECONDS = 0.5
_RECENT_COUNT = 10
_RECENT_SECONDS = 1.0
_KEPT = 32


class AcceptedRequests:
    """A count of the requests that the server let in, remembered at each refusal and twice a second.

    A refusal is the one moment at which it is known what a limiter holds: nothing. So what was let in between two
    refusals, over the seconds between them, is the rate of a bucket, however large its burst is. Of several refusals in
    a row the first one counts.
    """

    def __init__(self, in_flight: int) -> None:
        self._sent = in_flight
        self._refused = 0
        self._refusals: deque[tuple[float, int]] = deque(maxlen=_KEPT)
        self._samples: deque[tuple[float, int]] = deque(maxlen=_KEPT)

    @property
    def count(self) -> int:
        """Return how many were let in, taken that those in flight are."""
        return self._sent - self._refused

    def send(self, at: float) -> int:
        """Count a request, and return how many were let in before it."""
        before = self.count
        self._sent += 1
        if not self._samples or at - self._samples[-1][0] >= _SAMPLE_SECONDS:
            self._samples.append((at, before))
        return before

    def refuse(self) -> None:
        """Take a request off the count again."""
        self._refused += 1

    def mark_refusal(self, at: float, count: int) -> bool:
        """Remember a refusal, and tell whether the last one was long before.

        Args:
            at: When the refused request was sent, in seconds.
            count: How many were let in before it.
        """
        apart = False
        if self._refusals:
            last, before = self._refusals[-1]
            apart = count - before >= _SURE_COUNT / 2 and at - last >= _SURE_SECONDS
        self._refusals.append((at, count))
        return apart

    def between_refusals(self, at: float, count: int) -> float | None:
        """Return how many per second were let in since an earlier refusal; `None` if none is long enough ago.

        Args:
            at: When the request was sent that is refused now, in seconds.
            count: How many were let in before it.
        """
        for moment, before in reversed(self._refusals):
            if count - before >= _SURE_COUNT and at - moment >= _SURE_SECONDS:
                return (count - before) / (at - moment)
        return None

    def since_first_refusal(self, at: float, count: int) -> float | None:
        """Return how many per second were let in since the first refusal that is remembered; `None` if hardly any were.

        Args:
            at: When the request was sent that is refused now, in seconds.
            count: How many were let in before it.
        """
        moment, before = self._refusals[0]
        if count - before < _RECENT_COUNT / 2 or at - moment < _RECENT_SECONDS:
            return None
        return (count - before) / (at - moment)

    def since_last_refusal(self, at: float) -> float:
        """Return how many per second were let in since the last refusal, until a moment in seconds."""
        moment, before = self._refusals[-1]
        return (self.count - before) / (at - moment)

    def recently(self, at: float, count: int) -> float:
        """Return how many per second were let in within about the last second; 0 if that is not known.

        Args:
            at: The end of that second.
            count: How many were let in until then.
        """
        for moment, before in reversed(self._samples):
            if count - before >= _RECENT_COUNT and at - moment >= _RECENT_SECONDS:
                return (count - before) / (at - moment)
        return 0.0

    def forget(self) -> None:
        """Forget when it was refused, since what was measured across an outage means nothing."""
        self._refusals.clear()
        self._samples.clear()
