"""The rows of one unit: those on their way into a sink, those that it holds, and one that it cannot hold. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from profile_history._decoding.record_batches import ColumnSlice


@attrs.frozen
class UnitRows:
    """The rows of one unit on their way into a sink.

    Attributes:
        unit: The unit's number.
        profile: Whose they are, as `str(profile)` writes it.
        raw: In the raw lane, each row as the server wrote it.
        pieces: In the Arrow lane, the rows in columns.
    """

    unit: int
    profile: str
    raw: Sequence[bytes] = attrs.field(default=(), repr=False)
    pieces: Sequence[ColumnSlice] = attrs.field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.raw) + sum(map(len, self.pieces))

    def without(self, places: Collection[int]) -> UnitRows:
        """The same without the rows at certain places, counted from 0."""
        raw = [row for place, row in enumerate(self.raw) if place not in places]
        pieces: list[ColumnSlice] = []
        start = 0
        for piece in self.pieces:
            begin = 0
            ends = sorted(place - start for place in places if start <= place < start + len(piece))
            for end in (*ends, len(piece)):
                if end > begin:
                    pieces.append(piece.slice(begin, end))
                begin = end + 1
            start += len(piece)
        return attrs.evolve(self, raw=raw, pieces=pieces)


@attrs.frozen
class Stored:
    """The rows of one unit that a sink holds since an earlier batch.

    Attributes:
        unit: The unit's number.
        batch: The batch that brought them.
        row_offset: The number of its first row among those of the batch that the sink holds, from 0. When the ledger
            applies the receipt of `Sink.finish`, it forgets the tombstones, and subtracts the number of their rows from
            the offset of every unit behind them.
        rows: How many there are.
    """

    unit: int
    batch: int
    row_offset: int
    rows: int


@attrs.frozen
class Refused:
    """A row that a sink cannot hold.

    Attributes:
        unit: The unit's number.
        row_offset: The number of the row within the unit, from 0.
        reason: Why not.
        raw: The row: its bytes where the sink takes those, else its columns as JSON.
    """

    unit: int
    row_offset: int
    reason: str
    raw: bytes
