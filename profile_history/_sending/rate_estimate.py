"""An estimate of the rate that a server permits, of what it let in until it refused. No I/O, no clock."""

from __future__ import annotations

# Figures without a source were found by `python -m benchmarks pacing`.

# The room that is left for the jitter of timers and of the network.
_MARGIN = 0.97
_BOLDNESS, _MORE_BOLDNESS = 0.5, 0.25
# Less than that is none.
_TIMID = 0.1
# What is refused again sooner: first a little less, then what the concurrency limit is cut to.
_CUT, _NEXT_CUT = 0.9, 0.7


class RateEstimate:
    """A figure between what was let in for long, which is the rate of a bucket, and what was let in within a second.

    The latter is that of a short window. How far from one to the other, it learns from whether the estimates held.
    """

    def __init__(self) -> None:
        self._boldness = _BOLDNESS
        self._was_bold = False
        self._sureness = 1.0
        self._cuts = 0

    @property
    def is_timid(self) -> bool:
        """Tell whether only what was let in for long counts."""
        return self._boldness <= _TIMID

    @property
    def sureness(self) -> float:
        """Return how close the two figures of the last estimate are, from 0 to 1, which is a proven rate."""
        return self._sureness

    def between(self, low: float, high: float) -> float:
        """Return the estimate after a rate that grew was refused, in requests per second.

        Args:
            low: What was let in for long.
            high: What was let in within the last second.
        """
        self._was_bold, self._cuts = True, 0
        self._sureness = low / max(low, high)
        return _MARGIN * (low if self.is_timid else low + self._boldness * max(0.0, high - low))

    def proven(self, low: float) -> float:
        """Return the estimate where no rate grew: what was let in for long, less a margin."""
        self._sureness, self._cuts = 1.0, 0
        return _MARGIN * low

    def cut(self, refused: float, low: float | None) -> float:
        """Return what to try after a refusal that came too soon for an estimate: less each time.

        Args:
            refused: The rate that was refused, in requests per second.
            low: What was let in for long; `None` if that is not known.
        """
        cut = refused * (_NEXT_CUT if self._cuts else _CUT)
        self._cuts += 1
        if low is None:
            return cut
        # What was let in for long is the floor, and what is far above it was found by nothing but growing.
        return _MARGIN * low if refused > 1.5 * low else max(cut, 0.95 * min(low, refused))

    def hold(self) -> None:
        """Record that a rate was not refused while it rested."""
        if self._was_bold:
            self._boldness, self._was_bold = min(1.0, self._boldness + _MORE_BOLDNESS), False

    def fail(self) -> None:
        """Record that a rate was refused while it rested."""
        if self._was_bold:
            self._boldness, self._was_bold = self._boldness / 2, False

    def lower(self) -> None:
        """Record that nothing is let in for long, as by a window of a minute that is used up."""
        self._boldness /= 2
