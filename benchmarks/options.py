"""What the caller wants of a run."""

from __future__ import annotations

import attrs


@attrs.frozen
class Options:
    """How often and how much.

    Attributes:
        repeats: Rounds that count.
        enough: How many of them are needed for figures that are quoted.
        work: A factor on the work of each turn; below 1 the figures are good for a trial only.
        loop: The event loop of all sides, "asyncio" or "uvloop".
        profiles: How many profiles the figures `memory` and `bulk` end with.
    """

    repeats: int = 7
    work: float = 1.0
    loop: str = "asyncio"
    profiles: int = 100_000
    enough: int = 7

    @property
    def trial(self) -> bool:
        """Tell whether the figures are too coarse to be quoted."""
        return self.repeats < self.enough or self.work < 1

    def scaled(self, amount: float, least: int = 1) -> int:
        """Return an amount of work."""
        return max(least, round(amount * self.work))
