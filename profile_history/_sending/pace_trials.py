"""Trials whether a server counts requests per second and not requests in flight. No I/O, no clock."""

from __future__ import annotations

import attrs

from profile_history._sending.accepted_requests import AcceptedRequests
from profile_history._sending.concurrency_limit import ConcurrencyLimit

# Figures without a source were found by `python -m benchmarks pacing`.

# A trial is convincing if this much more was let in, and so many of those beyond the old limit.
_MORE = 1.05
_BEYOND_RESPONSES, _BEYOND_SHARE = 5, 0.7
# Requests a second; faster, timers are too coarse to space them out.
_FASTEST = 250.0
# The first trial comes early, where few in flight would make it come late.
_EARLY_LIMIT, _EARLY_RESPONSES, _EARLY_SECONDS = 8, 40, 2.0
# After each that fails, twice as many rests of the concurrency limit pass by; four times if the rate was worse.
_BACK_OFF, _BACK_OFF_WORSE, _MOST_SKIPPED = 2, 4, 64
# What a rate may bring less than the concurrency limit did.
_TOLERANCE = 0.97


@attrs.define
class Trial:
    """A trial whether even spacing brings more than the concurrency limit.

    Attributes:
        limit: The concurrency limit before it.
        rate: How many per second were let in under it.
        least: The same, without what a bucket had saved up.
        good: Responses to requests beyond that limit.
    """

    limit: int
    rate: float
    least: float
    good: int = 0

    def has_brought_more(self, rate: float, in_flight: int) -> bool:
        """Tell whether it shows that the number in flight is not what is limited.

        Args:
            rate: How many per second were let in at its end.
            in_flight: How many were in flight when the request was sent that was refused.
        """
        beyond = self.good + (in_flight > self.limit)
        convincing = self.good >= _BEYOND_RESPONSES and self.good >= _BEYOND_SHARE * beyond
        return convincing and rate >= _MORE * self.rate


class PaceTrials:
    """The schedule of the trials: one after a rest of the concurrency limit, in place of its own trial of one more.

    A server that limits the number in flight refuses them early, so they become rare. One that limits the rate lets in
    more once the requests are spaced out evenly, also where the number in flight made it refuse.
    """

    def __init__(self) -> None:
        self.current: Trial | None = None
        self._adopted: Trial | None = None
        self._rest: tuple[float, int] | None = None
        self._had_early = False
        self._skip, self._skips = 0, 1

    def interrupt_rest(self) -> None:
        """Record that the concurrency limit no longer rests."""
        self._rest = None

    def forget(self) -> None:
        """Record that a rate was found, or is no longer needed, by other means."""
        self.current = self._adopted = self._rest = None

    def propose(
        self, now: float, idle: float, concurrency: ConcurrencyLimit, accepted: AcceptedRequests, *, was_trying: bool
    ) -> float | None:
        """Begin a trial if one is due, and return the requests per second at which it begins, or `None`.

        Args:
            now: Seconds, on any clock that only goes forward.
            idle: Seconds of it that do not count.
            concurrency: The concurrency limit.
            accepted: The requests that the server let in.
            was_trying: Whether that limit tried more than was borne before the last response.
        """
        if self._rest is None:
            if not concurrency.rested_responses or concurrency.trying:
                return None
            self._rest = (now, accepted.count)
        since, before = self._rest
        early = not self._had_early and concurrency.limit <= _EARLY_LIMIT
        if early and concurrency.rested_responses >= _EARLY_RESPONSES and now - since >= _EARLY_SECONDS:
            self._had_early = True
        elif not concurrency.trying or was_trying:
            return None
        if self._skip:
            self._skip -= 1
            self._rest = None
            return None
        count, seconds = accepted.count - before, now - since
        # All of a rest may come in one moment of the clock.
        if count >= _FASTEST * seconds:
            return None
        rate = count / seconds
        self.current = Trial(concurrency.limit, rate, accepted.since_last_refusal(now - idle))
        return rate

    def end(self, rate: float, in_flight: int) -> int | None:
        """End a trial, if there is one, and return the concurrency limit to go back to if it is not convincing.

        Args:
            rate: How many per second were let in at its end.
            in_flight: How many were in flight when the request was sent that was refused.
        """
        trial, self.current = self.current, None
        if trial is None:
            return None
        if not trial.has_brought_more(rate, in_flight):
            return self._give_up(trial)
        self._adopted, self._skips = trial, 1
        return None

    def compare(self, rate: float) -> int | None:
        """Return the concurrency limit to go back to if it brought more than a rate; `None` if it did not."""
        if self._adopted is None or rate >= _TOLERANCE * self._adopted.least:
            return None
        self._skips *= _BACK_OFF_WORSE
        return self._give_up(self._adopted)

    def _give_up(self, trial: Trial) -> int:
        self._skip = min(_MOST_SKIPPED, self._skips)
        self._skips = min(_MOST_SKIPPED, _BACK_OFF * self._skips)
        return trial.limit
