"""The values of rows as lines of bytes that are the same wherever the rows are read; it needs the extra `arrow`.

A line is CSV: texts and numbers in quotes, null without any, and moments as microseconds since 1970. It begins with the
number of the row within its unit, and commas at its end are cut off, so that a column that is added behind the others,
and null where it was not known yet, changes no line.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
from pyarrow import csv

from profile_history.arrow import SCHEMA
from profile_history.sinks.arrow_table import ROW, UNIT
from profile_history.sinks.base import SinkError

READ_COLUMNS = (UNIT.name, ROW.name, *SCHEMA.names)
"""The columns that checksums are made of, and the unit, in the order in which they are best read."""

_QUOTED = csv.WriteOptions(include_header=False, quoting_style="all_valid")


def lines_of(table: pa.Table) -> list[bytes]:
    """Return a line for each row.

    Args:
        table: The rows, in columns of the names and kinds of `FULL_SCHEMA`; `row` may be missing.
    """
    order = table[ROW.name] if ROW.name in table.column_names else pa.nulls(len(table), ROW.type)
    columns = [order, *(_plain(table[name]) for name in SCHEMA.names)]
    target = io.BytesIO()
    csv.write_csv(pa.table(columns, [ROW.name, *SCHEMA.names]), target, _QUOTED)
    return [line.rstrip(b",\n") for line in split_quoted(target.getvalue())]


def table_of_rows(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> pa.Table:
    """Return rows that a database has returned, in columns.

    Args:
        names: The names of the columns.
        rows: The values of each row.

    Raises:
        SinkError: A value is none that its column had.
    """
    fields = {UNIT.name: UNIT, ROW.name: ROW, **{field.name: field for field in SCHEMA}}
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    arrays = []
    for name, column in zip(names, columns, strict=True):
        try:
            arrays.append(pa.array(column, _plain_type(fields[name].type)))
        except (pa.ArrowException, TypeError, OverflowError) as error:
            raise SinkError(f"the column {name} holds what this program has not written: {error}") from None
    return pa.table(arrays, list(names))


def split_quoted(data: bytes) -> list[bytes]:
    """Return the rows of a CSV file, each with the line break at its end; those within quotes end no row.

    Args:
        data: Whole rows.
    """
    rows: list[bytes] = []
    begun: list[bytes] = []
    is_open = 0
    for line in data.splitlines(keepends=True) if b"\r" not in data else _by_line_feed(data):
        is_open ^= line.count(b'"') & 1
        begun.append(line)
        if not is_open:
            rows.append(line if len(begun) == 1 else b"".join(begun))
            begun.clear()
    return rows


def _by_line_feed(data: bytes) -> list[bytes]:
    return [line + b"\n" for line in data.split(b"\n")[:-1]]


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = pa.int64() if pa.types.is_timestamp(column.type) else _plain_type(column.type)
    return column if column.type == kind else column.cast(kind)


def _plain_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind
