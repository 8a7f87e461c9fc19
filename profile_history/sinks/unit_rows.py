"""The rows of one unit: those that a sink is about to get, those that it holds, and one that it refuses. No I/O."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from profile_history._deprecated import warn_deprecated

if TYPE_CHECKING:
    from profile_history._decoding.record_batches import ColumnSlice

_T = TypeVar("_T")


def _accept_old(old: str, new: str) -> Callable[[type[_T]], type[_T]]:
    """Let a class be called with the old name of an argument, as sinks that were written for version 0.5 do."""

    def decorate(cls: type[_T]) -> type[_T]:
        named_class: Any = cls
        current = named_class.__init__

        @functools.wraps(current)
        def initialize(self: _T, *values: Any, **named: Any) -> None:
            if old in named:
                warn_deprecated(f"{cls.__name__}({old}=)", f"{cls.__name__}({new}=)")
                named[new] = named.pop(old)
            current(self, *values, **named)

        named_class.__init__ = initialize
        return cls

    return decorate


@_accept_old("pieces", "column_slices")
@attrs.frozen
class UnitRows:
    """The rows of one unit, of which a sink is about to be given all or none.

    Attributes:
        unit: The unit's number.
        profile: Whose they are, as `str(profile)` writes it.
        raw: For a sink with the row format "raw", each row as the server wrote it.
        column_slices: For a sink with the row format "arrow", the rows in columns.
    """

    unit: int
    profile: str
    raw: Sequence[bytes] = attrs.field(default=(), repr=False)
    column_slices: Sequence[ColumnSlice] = attrs.field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.raw) + sum(map(len, self.column_slices))

    @property
    def pieces(self) -> Sequence[ColumnSlice]:
        """Return `column_slices`, by its old name."""
        warn_deprecated("UnitRows.pieces", "UnitRows.column_slices")
        return self.column_slices

    def without(self, offsets: Collection[int]) -> UnitRows:
        """Return the same unit without some of its rows.

        Args:
            offsets: The numbers of those rows within the unit, from 0.
        """
        raw = [row for offset, row in enumerate(self.raw) if offset not in offsets]
        column_slices: list[ColumnSlice] = []
        start = 0
        for columns in self.column_slices:
            begin = 0
            ends = sorted(offset - start for offset in offsets if start <= offset < start + len(columns))
            for end in (*ends, len(columns)):
                if end > begin:
                    column_slices.append(columns.slice(begin, end))
                begin = end + 1
            start += len(columns)
        return attrs.evolve(self, raw=raw, column_slices=column_slices)


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


@_accept_old("place", "row_offset")
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
