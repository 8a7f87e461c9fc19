"""The batch that a sink writes at once: the rows of whole units. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING

import attrs

from profile_history.sinks.unit_rows import Refused, Stored, UnitRows

if TYPE_CHECKING:
    import pyarrow as pa


@attrs.define(eq=False, slots=False)
class SinkBatch:
    """Some whole units that a sink is given at once; all of them get there or none.

    Attributes:
        number: Its number; a job numbers its batches from 1 without a gap.
        units: Those that have rows.
        replaced: Units whose rows of an earlier batch have to go with this one.
    """

    number: int
    units: list[UnitRows]
    replaced: list[Stored] = attrs.field(factory=list)

    @property
    def rows(self) -> int:
        """Return how many rows there are."""
        return sum(map(len, self.units))

    @cached_property
    def table(self) -> pa.Table:
        """Return all rows in the columns of `profile_history.arrow.SCHEMA`, for a sink with the row format "arrow".

        The number of a row's unit is in the column `unit`, and its number within the unit, from 0, in `row`.
        """
        from profile_history.sinks.arrow_table import table_of  # noqa: PLC0415 (it needs an extra)

        return table_of(self.units)

    def without(self, refused: Iterable[Refused]) -> SinkBatch:
        """Return the same batch without some rows.

        Args:
            refused: The rows, as `Sink.check` has returned them.
        """
        offsets: dict[int, set[int]] = {}
        for row in refused:
            offsets.setdefault(row.unit, set()).add(row.row_offset)
        kept = (unit.without(offsets[unit.unit]) if unit.unit in offsets else unit for unit in self.units)
        return SinkBatch(self.number, [unit for unit in kept if len(unit)], self.replaced)
