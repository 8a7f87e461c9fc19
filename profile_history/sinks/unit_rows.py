"""The rows of one unit: those that a sink is about to get, those that it holds, and one that it refuses. No I/O."""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from profile_history._deprecated import warn_deprecated

if TYPE_CHECKING:
    from profile_history._decoding.record_batches import ColumnSlice

_T = TypeVar("_T")


@attrs.frozen
class UnitRows:
    """The rows of one unit, of which a sink is about to be given all or none.

    Attributes:
        unit: The unit's number.
        profile: Whose they are, as `str(profile)` writes it.
        raw: For a sink with the row format "raw", each row as the server wrote it.
        pieces: For a sink with the row format "arrow", the rows in columns.
    """

    unit: int
    profile: str
    raw: Sequence[bytes] = attrs.field(default=(), repr=False)
    pieces: Sequence[ColumnSlice] = attrs.field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.raw) + sum(map(len, self.pieces))

    def without(self, offsets: Collection[int]) -> UnitRows:
        """Return the same unit without some of its rows.

        Args:
            offsets: The numbers of those rows within the unit, from 0.
        """
        raw = [row for offset, row in enumerate(self.raw) if offset not in offsets]
        pieces: list[ColumnSlice] = []
        start = 0
        for piece in self.pieces:
            begin = 0
            ends = sorted(offset - start for offset in offsets if start <= offset < start + len(piece))
            for end in (*ends, len(piece)):
                if end > begin:
                    pieces.append(piece.slice(begin, end))
                begin = end + 1
            start += len(piece)
        return attrs.evolve(self, raw=raw, pieces=pieces)


class _OldPlace:
    """The name that `row_offset` had until version 0.5."""

    __slots__ = ()

    row_offset: int

    @property
    def place(self) -> int:
        """Return `row_offset`, by its old name."""
        name = type(self).__name__
        warn_deprecated(f"{name}.place", f"{name}.row_offset")
        return self.row_offset


def _accept_place(cls: type[_T]) -> type[_T]:
    """Let a class be called with `place=`, as sinks that were written for version 0.5 do."""
    named_class: Any = cls
    current = named_class.__init__

    @functools.wraps(current)
    def initialize(self: _T, *values: Any, **named: Any) -> None:
        if "place" in named:
            warn_deprecated(f"{cls.__name__}(place=)", f"{cls.__name__}(row_offset=)")
            named["row_offset"] = named.pop("place")
        current(self, *values, **named)

    named_class.__init__ = initialize
    return cls


@attrs.frozen
class Stored(_OldPlace):
    """The rows of one unit that a sink holds since an earlier batch.

    Attributes:
        unit: The unit's number.
        batch: The number of the batch that brought them.
        row_offset: The number of its first row among those of the batch that the sink holds, from 0. When the ledger
            applies the receipt of `Sink.finish`, it forgets the tombstones, and subtracts the number of their rows from
            the offset of every unit behind them.
        rows: How many there are.
    """

    unit: int
    batch: int
    row_offset: int
    rows: int


@_accept_place
@attrs.frozen
class Refused(_OldPlace):
    """A row that a sink cannot hold.

    Attributes:
        unit: The unit's number.
        row_offset: The number of the row within the unit, from 0.
        reason: Why not, for a person.
        raw: The row: its bytes if the sink takes those, else its columns as JSON.
    """

    unit: int
    row_offset: int
    reason: str
    raw: bytes
