"""Notice a server that cuts its responses at some number of rows and does not say so. No I/O, no clock."""

from __future__ import annotations

# Caps are round numbers, and small histories often have the same length by chance: three that are equally long, a
# hundred rows or more, and a multiple of fifty.
_ALIKE = 3
_LEAST = 100
_ROUND = 50


class RowCapDetector:
    """A watch on how many rows responses have: several with the same round number, and none with more, look capped."""

    def __init__(self) -> None:
        self._longest = 0
        self._alike = 0

    def observe(self, rows: int) -> bool:
        """Record how many rows a response has, and tell whether just this one made a cap likely."""
        if rows > self._longest:
            self._longest, self._alike = rows, 0
        self._alike += rows == self._longest
        return self._alike == _ALIKE and rows == self._longest >= _LEAST and rows % _ROUND == 0
