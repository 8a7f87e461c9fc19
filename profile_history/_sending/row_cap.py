"""Does the server cut its answers at some number of rows, and not say so? No I/O, no clock."""

from __future__ import annotations

_ALIKE = 3
_LEAST = 100
_ROUND = 50


class RowCapDetector:
    """Watches how many rows answers have: several with the same round number, and none with more, look like a cap."""

    def __init__(self) -> None:
        self._longest = 0
        self._alike = 0

    def observe(self, rows: int) -> bool:
        """Takes note of an answer's number of rows; says whether it just became suspicious."""
        if rows > self._longest:
            self._longest, self._alike = rows, 0
        self._alike += rows == self._longest
        return self._alike == _ALIKE and rows == self._longest >= _LEAST and rows % _ROUND == 0
