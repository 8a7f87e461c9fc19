"""The rows of many units as one Arrow table; it needs the extra `arrow`."""

from __future__ import annotations

from array import array
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from profile_history.arrow import SCHEMA
from profile_history.columns import Gathering

if TYPE_CHECKING:
    from profile_history.sinks.base import UnitRows

UNIT = pa.field("unit", pa.int64(), nullable=False)
"""The number of the unit in its job that a row belongs to, by which a later run replaces it."""

FULL_SCHEMA = SCHEMA.append(UNIT)


def table_of(units: Sequence[UnitRows]) -> pa.Table:
    """One table of the rows of some units."""
    gathering = Gathering(most=2**31 - 1)
    batches: list[pa.RecordBatch] = []
    numbers = array("q")
    for unit in units:
        numbers += array("q", [unit.unit]) * len(unit)
        for piece in unit.pieces:
            batches += map(_made, gathering.add(unit.profile, piece))
    batches += map(_made, gathering.rest())
    column = pa.Array.from_buffers(UNIT.type, len(numbers), [None, pa.py_buffer(numbers)])
    return pa.Table.from_batches(batches, SCHEMA).append_column(UNIT, column)


def _made(steps: Generator[Any, None, pa.RecordBatch]) -> pa.RecordBatch:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
