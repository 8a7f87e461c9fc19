"""The rows of many units as one Arrow table; it needs the extra `arrow`."""

from __future__ import annotations

from array import array
from collections.abc import Generator, Sequence
from typing import Any

import pyarrow as pa

from profile_history._decoding.record_batches import BatchAssembler
from profile_history.arrow import SCHEMA
from profile_history.sinks.unit_rows import UnitRows

UNIT = pa.field("unit", pa.int64(), nullable=False)
"""The number of the unit in its job that a row belongs to, by which a later run replaces it."""

ROW = pa.field("row", pa.int64())
"""The number of a row within its unit, from 0: the order in which the rows of a unit were fetched."""

FULL_SCHEMA = SCHEMA.append(UNIT).append(ROW)

FIRST_SCHEMA = SCHEMA.append(UNIT)
"""What datasets and CSV files have that were begun by version 0.4.0, which knew no `row`."""


def table_of(units: Sequence[UnitRows]) -> pa.Table:
    """Return one table of the rows of some units."""
    assembler = BatchAssembler(most=2**31 - 1)
    batches: list[pa.RecordBatch] = []
    numbers, order = array("q"), array("q")
    for unit in units:
        numbers += array("q", [unit.unit]) * len(unit)
        order += array("q", range(len(unit)))
        for columns in unit.column_slices:
            batches += map(_run_steps, assembler.add(unit.profile, columns))
    batches += map(_run_steps, assembler.flush())
    table = pa.Table.from_batches(batches, SCHEMA)
    for field, values in ((UNIT, numbers), (ROW, order)):
        table = table.append_column(field, pa.Array.from_buffers(field.type, len(values), [None, pa.py_buffer(values)]))
    return table


def _run_steps(steps: Generator[Any, None, pa.RecordBatch]) -> pa.RecordBatch:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
