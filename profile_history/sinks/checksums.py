"""Checksums of the content of units, which do not depend on the order in which their rows are read. No I/O.

A row is a line of bytes: in files of lines the line itself, elsewhere the text that `row_text` makes of its values. The
checksum of a unit is the sum of the BLAKE2b digests of its lines, in 64 bits. So rows that are added, deleted, changed
or doubled change it, and rows that are read in another order do not.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence

from profile_history.sinks.base import LedgerView
from profile_history.sinks.unit_rows import UnitRows

_ROUND = 2**64
_BYTES = 8
_LISTED = 100


def digests_of(lines: Iterable[bytes]) -> array[int]:
    """Return a number for each of some rows.

    Args:
        lines: The rows.
    """
    blake2b = hashlib.blake2b
    digests = array("Q")
    digests.frombytes(b"".join([blake2b(line, digest_size=_BYTES).digest() for line in lines]))
    return digests


def to_signed(total: int) -> int:
    """Return a sum of digests as a ledger keeps it, in 64 bits with a sign.

    Args:
        total: The sum.
    """
    total %= _ROUND
    return total - _ROUND if total >= _ROUND // 2 else total


def unit_checksums(units: Sequence[UnitRows], lines: Sequence[bytes]) -> dict[int, int]:
    """Return the checksum of each unit, by its number.

    Args:
        units: Some units.
        lines: Their rows, one unit behind the other.
    """
    digests = digests_of(lines)
    checksums: dict[int, int] = {}
    start = 0
    for unit in units:
        end = start + len(unit)
        checksums[unit.unit] = to_signed(sum(digests[start:end]))
        start = end
    return checksums


class UnitTally:
    """The units of a sink by its ledger, compared with the rows that are found in it, in whatever order.

    Args:
        ledger: What the ledger says.

    Attributes:
        knows_content: Whether the ledger has the checksum of any unit.
    """

    def __init__(self, ledger: LedgerView) -> None:
        # A sum of digests modulo 2**64 does not depend on the order. What is found is subtracted from what is known, so
        # that zero is left. By the number of the unit: what is still to be found of it. A list of objects would take
        # ten times as much.
        self._rows, self._sums, self._known = array("q"), array("Q"), bytearray()
        self._strangers: Counter[int] = Counter()
        for number, rows, checksum in ledger.unit_checksums():
            gap = number + 1 - len(self._rows)
            self._rows.frombytes(bytes(gap * _BYTES))
            self._sums.frombytes(bytes(gap * _BYTES))
            self._known.extend(bytes(gap))
            self._rows[number], self._known[number] = rows, checksum is not None
            self._sums[number] = (checksum or 0) % _ROUND
        self._due = array("q", self._rows)
        self.knows_content: bool = any(self._known)

    def count(self, unit: int, rows: int) -> None:
        """Take note of rows whose content is not looked at.

        Args:
            unit: The number of their unit.
            rows: How many there are.
        """
        if self._is_known(unit):
            self._rows[unit] -= rows
            self._known[unit] = False
        else:
            self._strangers[unit] += rows

    def add(self, units: Iterable[int], digests: Iterable[int]) -> None:
        """Take note of some rows.

        Args:
            units: The number of the unit of each.
            digests: What `digests_of` says of each.
        """
        rows, sums = self._rows, self._sums
        for unit, digest in zip(units, digests, strict=True):
            if self._is_known(unit):
                rows[unit] -= 1
                sums[unit] = (sums[unit] - digest) % _ROUND
            else:
                self._strangers[unit] += 1

    def differences(self, but: Collection[int] = ()) -> Iterator[str]:
        """Yield what differs when all rows were seen, in one sentence each; only so many units are named.

        Args:
            but: Units that stand where nothing could be read, which was said already.
        """
        named = 0
        for sentence in self._sentences(but):
            if named < _LISTED:
                yield sentence
            named += 1
        if named > _LISTED:
            yield f"{named - _LISTED:,} more units differ"

    def _is_known(self, unit: int) -> bool:
        return 0 <= unit < len(self._due) and self._due[unit] > 0

    def _sentences(self, but: Collection[int]) -> Iterator[str]:
        strangers = sorted(self._strangers.items(), reverse=True)
        for unit, due in enumerate(self._due):
            while strangers and strangers[-1][0] < unit:
                yield _stranger(*strangers.pop())
            if unit in but:
                continue
            if self._rows[unit]:
                found = due - self._rows[unit]
                yield f"unit {unit} has {found or 'no'} rows here and {due} in the ledger"
            elif self._known[unit] and self._sums[unit]:
                yield f"unit {unit} has other values here than were stored"
        for unit, rows in reversed(strangers):
            yield _stranger(unit, rows)


def _stranger(unit: int, rows: int) -> str:
    return f"unit {unit} has {rows} rows here and none in the ledger"
