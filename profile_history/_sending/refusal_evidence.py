"""Tell a 503 that says "too many" from one that comes whatever is asked. No I/O, no clock."""

from __future__ import annotations

from collections import deque

# Scattered ones, up to an eighth of all, say nothing about the load; up to a quarter where that is known to be noise.
_RESULTS_WATCHED = 32
_TOLERATED = 4
_TOLERATED_IN_NOISE = 8
# Shares of the results that came while no more was asked for than was borne before, with the one in twenty that is
# assumed before anything is known; and how many of them it takes.
_QUIET, _QUIET_RESULTS = 0.02, 50
_NOISY, _NOISY_RESULTS = 0.03, 84
_MOST_TESTS = 2
_ASSUMED_RESULTS, _ASSUMED_REFUSALS = 20.0, 1.0
_REMEMBERED = 400.0


class RefusalEvidence:
    """A judgement on each 503: whether the server has too much to do, as it means with a 429.

    Where hardly any came while the client rested, one is enough. Where nothing is known it takes five within 32
    results. Where many come at rest as well, either the rest is too fast or they are noise: one of them is believed,
    up to twice, and if as many come when less is asked for, then it takes nine.
    """

    def __init__(self) -> None:
        self._recent: deque[bool] = deque(maxlen=_RESULTS_WATCHED)
        self._tests = 0
        self._forget()

    @property
    def noise(self) -> float:
        """Return the share of results that are a 503 for no reason of load; 0 before it is known."""
        return self._refusals / self._results if self._results >= _NOISY_RESULTS else 0.0

    def add_success(self, *, resting: bool) -> None:
        """Record a good response.

        Args:
            resting: Whether no more was asked for than was borne before.
        """
        self._recent.append(False)
        if resting:
            self._remember()

    def believes(self, *, resting: bool, likely: bool = True, queued: bool = False) -> bool:
        """Record a 503 or a late response, and tell whether it says that there are too many requests.

        Args:
            resting: Whether no more was asked for than was borne before.
            likely: Whether the server has no other way of saying so, as far as it is known.
            queued: Whether it is a late response; two in a row are enough, since a queue makes all of them late.
        """
        in_a_row = bool(self._recent) and self._recent[-1]
        self._recent.append(True)
        if resting:
            self._refusals += 1
            self._remember()
        if queued and in_a_row:
            return True
        many = sum(self._recent)
        if not likely:
            return many > _TOLERATED_IN_NOISE
        share = self._refusals / self._results
        if share < _QUIET and self._results >= _QUIET_RESULTS:
            self._tests = 0
            return True
        noisy = share >= _NOISY and self._results >= _NOISY_RESULTS
        if noisy and self._tests < _MOST_TESTS:
            self._tests += 1
        elif many <= (_TOLERATED_IN_NOISE if noisy else _TOLERATED):
            return False
        self._forget()
        return True

    def _remember(self) -> None:
        self._results += 1
        if self._results > _REMEMBERED:
            self._results /= 2
            self._refusals /= 2

    def _forget(self) -> None:
        self._results, self._refusals = _ASSUMED_RESULTS, _ASSUMED_REFUSALS
        self._recent.clear()
