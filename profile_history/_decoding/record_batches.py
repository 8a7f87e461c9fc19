"""Columns of Python values to record batches: some hundred rows become a column slice, and slices a batch. No I/O."""

from __future__ import annotations

import datetime as dt
from array import array
from collections.abc import Generator, Iterator, Mapping, Sequence
from itertools import repeat
from operator import sub
from typing import Any, TypeAlias

import attrs
import pyarrow as pa

from profile_history._decoding.flat_decoder import Columns
from profile_history.events import FIELDS, EventField, FieldKind

_TEXT, _NUMBER, _CODE = pa.string(), pa.int64(), pa.int32()
_WORD = pa.dictionary(_CODE, _TEXT)
_MOMENT = pa.timestamp("us")
_DURATION = pa.duration("us")

_COLUMN_TYPES: Mapping[FieldKind, pa.DataType] = {
    FieldKind.MOMENT: _MOMENT,
    FieldKind.INTEGER: _NUMBER,
    FieldKind.TEXT: _TEXT,
    FieldKind.WORD: _WORD,
    FieldKind.OBJECT: _TEXT,
    FieldKind.ARRAY: _TEXT,
    FieldKind.EXTRA: _TEXT,
}


def build_schema(fields: Sequence[EventField]) -> pa.Schema:
    """Return the columns of a batch: the profile, and each field of an event; a moment has its offset beside it."""
    columns = {"profile": _WORD}
    for field in fields:
        columns[field.name] = _COLUMN_TYPES[field.kind]
        if field.kind is FieldKind.MOMENT:
            columns["utc_offset"] = _CODE
    return pa.schema(columns)


SCHEMA = build_schema(FIELDS)
"""The columns of every batch: `profile`, and the fields of `Event` in its order, with `utc_offset` behind `datetime`.

| column | type | what it holds |
|---|---|---|
| `profile` | dictionary of text | the profile that was asked for, as `str(profile)` writes it |
| `datetime` | timestamp in microseconds, no zone | the date and time on the label; its zone is in `utc_offset` |
| `utc_offset` | 32-bit integer | the label's seconds east of UTC, 0 for `Z`, null if the label names no zone |
| `action`, `channel` | dictionary of text | as of an event |
| other texts | text | as of an event |
| whole numbers | 64-bit integer | as of an event |
| `subscription`, `subscriptions`, `fields` | text | JSON as the server wrote it |
| `extra` | text | what else the row holds, as a JSON object; see `Event.extra` |

A value that the row does not have is null.
"""

# Bytes. Each column of a batch is put together in one step, which holds the loop for as long; at this size it stays
# within the 5 ms that the loop may be held.
MOST_BYTES = 4 * 1024 * 1024

# pyarrow imports pandas, if it is installed, as it makes its first array; that is better done now than on a loop at
# work.
_NO_TEXT = pa.array([], _TEXT)

_EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001 (timestamps are compared as labelled)


def _group_columns(fields: Sequence[EventField]) -> Sequence[tuple[pa.DataType, Sequence[str]]]:
    """Return which columns are made together, since they are of one type: numbers, texts, and JSON."""
    kinds = (
        (_NUMBER, (FieldKind.INTEGER,)),
        (_TEXT, (FieldKind.TEXT, FieldKind.WORD)),
        (_TEXT, (FieldKind.OBJECT, FieldKind.ARRAY, FieldKind.EXTRA)),
    )
    return [(type_, [field.name for field in fields if field.kind in some]) for type_, some in kinds]


_GROUPS = _group_columns(FIELDS)

# An array, or the one value of all rows, which is null most of the time.
Column: TypeAlias = Any


@attrs.frozen
class ColumnSlice:
    """Consecutive rows of one profile in columns.

    Attributes:
        rows: The number of rows.
        columns: All columns but the profile.
        size: Their size in bytes, estimated.
    """

    rows: int
    columns: Mapping[str, Column] = attrs.field(repr=False)
    size: int

    def __len__(self) -> int:
        return self.rows

    def slice(self, start: int, stop: int) -> ColumnSlice:
        """Return some of the rows, without a copy.

        Args:
            start: The number of the first row, from 0.
            stop: The number of the row after the last.
        """
        columns = {
            name: column[start:stop] if isinstance(column, pa.Array) else column
            for name, column in self.columns.items()
        }
        return ColumnSlice(stop - start, columns, self.size * (stop - start) // self.rows)


def build_column_slice(tables: Sequence[Columns]) -> Generator[tuple[()], None, ColumnSlice]:
    """Build one slice of tables of Python values, one below the other, in short steps."""
    timestamps: list[dt.datetime] = []
    for table in tables:
        timestamps += table.values["datetime"]
    moments, offsets = _split_timestamps(timestamps, set().union(*(table.zones for table in tables)))
    columns, size = {"datetime": moments, "utc_offset": offsets}, moments.nbytes
    there = set().union(*(table.values for table in tables))
    for type_, names in _GROUPS:
        columns.update(dict.fromkeys(names))
        values: list[Any] = []
        various: list[str] = []
        for name in filter(there.__contains__, names):
            parts = [table.values.get(name) or [None] * table.rows for table in tables]
            only = parts[0][0]
            if all(_consists_of(only, part) for part in parts):
                columns[name] = only
                size += len(only) * len(timestamps) if isinstance(only, (str, bytes)) else 0
                continue
            various.append(name)
            for part in parts:
                values += part
        if not various:
            continue
        yield ()
        # As parts of one array: a call of pyarrow costs as much as a hundred values.
        everything = pa.array(values, type_)
        size += everything.nbytes
        for place, name in enumerate(various):
            columns[name] = everything[place * len(timestamps) : (place + 1) * len(timestamps)]
    return ColumnSlice(len(timestamps), columns, size)


def _consists_of(value: Any, part: Sequence[Any]) -> bool:
    return part[0] == value and part[-1] == value and part.count(value) == len(part)


def _split_timestamps(timestamps: Sequence[dt.datetime], zones: set[dt.tzinfo | None]) -> tuple[pa.Array, Column]:
    """Return what the timestamps say, and the offsets of their zones from UTC in seconds."""
    if len(zones) == 1:
        epoch = _EPOCH.replace(tzinfo=zones.pop())
        return _count_from(epoch, timestamps), _offset_of(epoch)
    offsets = pa.array(map(_offset_of, timestamps), _CODE)
    return _count_from(_EPOCH, [timestamp.replace(tzinfo=None) for timestamp in timestamps]), offsets


def _count_from(epoch: dt.datetime, timestamps: Sequence[dt.datetime]) -> pa.Array:
    return pa.array(list(map(sub, timestamps, repeat(epoch))), _DURATION).view(_MOMENT)


def _offset_of(timestamp: dt.datetime) -> int | None:
    offset = timestamp.utcoffset()
    return None if offset is None else int(offset.total_seconds())


@attrs.define
class BatchAssembler:
    """A buffer that puts column slices together to record batches.

    Attributes:
        most: The largest number of rows in a batch.
    """

    most: int
    _rows: int = attrs.field(default=0, init=False)
    _bytes: int = attrs.field(default=0, init=False)
    _slices: list[ColumnSlice] = attrs.field(factory=list, init=False)
    _owners: list[tuple[str, int]] = attrs.field(factory=list, init=False)

    def add(self, profile: str, rows: ColumnSlice) -> Iterator[Generator[None, None, pa.RecordBatch]]:
        """Add rows of one profile, and yield the steps to each batch that is full.

        Args:
            profile: Whose rows they are, as `str(profile)` writes it.
            rows: The rows in columns.
        """
        start = 0
        while start < rows.rows:
            stop = min(start + self.most - self._rows, rows.rows)
            part = rows if stop - start == rows.rows else rows.slice(start, stop)
            self._slices.append(part)
            self._owners.append((profile, part.rows))
            self._rows += part.rows
            self._bytes += part.size
            start = stop
            if self._rows == self.most or self._bytes >= MOST_BYTES:
                yield self._take()

    def flush(self) -> Iterator[Generator[None, None, pa.RecordBatch]]:
        """Yield the steps to a last batch, if there are rows for one."""
        if self._rows:
            yield self._take()

    def _take(self) -> Generator[None, None, pa.RecordBatch]:
        steps = _build_record_batch(self._slices, self._owners)
        self._slices, self._owners, self._rows, self._bytes = [], [], 0, 0
        return steps


def _build_record_batch(
    slices: Sequence[ColumnSlice], owners: Sequence[tuple[str, int]]
) -> Generator[None, None, pa.RecordBatch]:
    columns = []
    for field in SCHEMA:
        column = _build_profiles(owners) if field.name == "profile" else _build_column(field, slices)
        yield
        if field.type == _WORD and column.type != _WORD:
            column = column.dictionary_encode()
            yield
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def _build_profiles(owners: Sequence[tuple[str, int]]) -> pa.Array:
    codes: dict[str, int] = {}
    indices = array("i")
    for profile, rows in owners:
        indices += array("i", [codes.setdefault(profile, len(codes))]) * rows
    buffers = [None, pa.py_buffer(indices)]
    return pa.DictionaryArray.from_arrays(
        pa.Array.from_buffers(_CODE, len(indices), buffers), pa.array(list(codes), _TEXT)
    )


def _build_column(field: pa.Field, slices: Sequence[ColumnSlice]) -> pa.Array:
    type_ = _TEXT if field.type == _WORD else field.type
    parts = [one.columns[field.name] for one in slices]
    only = parts[0]
    if not isinstance(only, pa.Array) and parts.count(only) == len(parts):
        return _repeat(only, sum(one.rows for one in slices), type_)
    return pa.concat_arrays(
        [
            part if isinstance(part, pa.Array) else _repeat(part, one.rows, type_)
            for part, one in zip(parts, slices, strict=True)
        ]
    )


def _repeat(value: Any, rows: int, type_: pa.DataType) -> pa.Array:
    return pa.nulls(rows, type_) if value is None else pa.repeat(pa.scalar(value, type_), rows)
