"""Columns of Python values to record batches: a few hundred rows become a piece, and the pieces a batch. No I/O."""

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

_TEXT, _NUMBER, _CODE = pa.string(), pa.int64(), pa.int32()
_WORD = pa.dictionary(_CODE, _TEXT)
_MOMENT = pa.timestamp("us")
_SPAN = pa.duration("us")

SCHEMA = pa.schema(
    {
        "profile": _WORD,
        "action": _WORD,
        "datetime": _MOMENT,
        "utc_offset": _CODE,
        "count": _NUMBER,
        "email": _TEXT,
        "list_id": _NUMBER,
        "message_id": _NUMBER,
        "xxh": _TEXT,
        "campaign_id": _NUMBER,
        "profile_id": _TEXT,
        "event_id": _TEXT,
        "smid": _TEXT,
        "channel": _WORD,
        "campaign_name": _TEXT,
        "message_name": _TEXT,
        "subscription": _TEXT,
        "subscriptions": _TEXT,
        "fields": _TEXT,
        "extra": _TEXT,
    }
)
"""The columns of every batch.

| column | type | what it holds |
|---|---|---|
| `profile` | dictionary of text | the profile that was asked for, as `str(profile)` writes it |
| `action` | dictionary of text | what happened |
| `datetime` | timestamp in microseconds, no zone | the date and time on the label; its zone is in `utc_offset` |
| `utc_offset` | 32-bit integer | the label's seconds east of UTC, 0 for `Z`, null where the label names no zone |
| `count`, `list_id`, `message_id`, `campaign_id` | 64-bit integer | as of an event |
| `email`, `xxh`, `profile_id`, `event_id`, `smid` | text | as of an event |
| `channel` | dictionary of text | the channel as the row names it |
| `campaign_name`, `message_name` | text | as of an event |
| `subscription`, `subscriptions`, `fields` | text | JSON as the server wrote it |
| `extra` | text | what else the row holds, as a JSON object; see `Event.extra` |

Null is what the row has not.
"""

# Bytes. The columns of a batch are put together in one go each, and that holds the loop for as long.
MOST_BYTES = 4 * 1024 * 1024

# Making its first array, pyarrow imports pandas where there is one; that is better done now than on a loop at work.
_NO_TEXT = pa.array([], _TEXT)

_EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001 (labels are compared as they are)
# Columns that are made together, since they are of one type.
_ALIKE = (
    (_NUMBER, ("count", "list_id", "message_id", "campaign_id")),
    (_TEXT, ("action", "email", "xxh", "channel", "profile_id", "event_id", "smid", "campaign_name", "message_name")),
    (_TEXT, ("subscription", "subscriptions", "fields", "extra")),
)

# An array, or the one value of all rows, which most often is null.
Column: TypeAlias = Any


@attrs.frozen
class ColumnSlice:
    """Some rows in columns.

    Attributes:
        rows: How many they are.
        columns: All columns but the profile.
        size: About how many bytes they take.
    """

    rows: int
    columns: Mapping[str, Column] = attrs.field(repr=False)
    size: int

    def __len__(self) -> int:
        return self.rows

    def slice(self, start: int, stop: int) -> ColumnSlice:
        """Some of the rows; nothing is copied."""
        columns = {
            name: column[start:stop] if isinstance(column, pa.Array) else column
            for name, column in self.columns.items()
        }
        return ColumnSlice(stop - start, columns, self.size * (stop - start) // self.rows)


def build_column_slice(tables: Sequence[Columns]) -> Generator[tuple[()], None, ColumnSlice]:
    """Makes one piece of some tables of Python values, one below the other, in short steps."""
    labels: list[dt.datetime] = []
    for table in tables:
        labels += table.values["datetime"]
    moments, offsets = _moments(labels, set().union(*(table.zones for table in tables)))
    columns, size = {"datetime": moments, "utc_offset": offsets}, moments.nbytes
    there = set().union(*(table.values for table in tables))
    for kind, names in _ALIKE:
        columns.update(dict.fromkeys(names))
        values: list[Any] = []
        various: list[str] = []
        for name in filter(there.__contains__, names):
            parts = [table.values.get(name) or [None] * table.rows for table in tables]
            only = parts[0][0]
            if all(_consists_of(only, part) for part in parts):
                columns[name] = only
                size += len(only) * len(labels) if isinstance(only, (str, bytes)) else 0
                continue
            various.append(name)
            for part in parts:
                values += part
        if not various:
            continue
        yield ()
        # As slices of one array: a call costs as much as a hundred values.
        everything = pa.array(values, kind)
        size += everything.nbytes
        for place, name in enumerate(various):
            columns[name] = everything[place * len(labels) : (place + 1) * len(labels)]
    return ColumnSlice(len(labels), columns, size)


def _consists_of(value: Any, part: Sequence[Any]) -> bool:
    return part[0] == value and part[-1] == value and part.count(value) == len(part)


def _moments(labels: Sequence[dt.datetime], zones: set[dt.tzinfo | None]) -> tuple[pa.Array, Column]:
    """What the labels say, and the offsets of their zones from UTC in seconds."""
    if len(zones) == 1:
        epoch = _EPOCH.replace(tzinfo=zones.pop())
        return _since(epoch, labels), _offset(epoch)
    offsets = pa.array(map(_offset, labels), _CODE)
    return _since(_EPOCH, [label.replace(tzinfo=None) for label in labels]), offsets


def _since(epoch: dt.datetime, labels: Sequence[dt.datetime]) -> pa.Array:
    return pa.array(list(map(sub, labels, repeat(epoch))), _SPAN).view(_MOMENT)


def _offset(label: dt.datetime) -> int | None:
    offset = label.utcoffset()
    return None if offset is None else int(offset.total_seconds())


@attrs.define
class BatchAssembler:
    """ColumnSlices on their way to batches.

    Attributes:
        most: How many rows a batch has at most.
    """

    most: int
    _rows: int = attrs.field(default=0, init=False)
    _bytes: int = attrs.field(default=0, init=False)
    _pieces: list[ColumnSlice] = attrs.field(factory=list, init=False)
    _owners: list[tuple[str, int]] = attrs.field(factory=list, init=False)

    def add(self, profile: str, piece: ColumnSlice) -> Iterator[Generator[None, None, pa.RecordBatch]]:
        """Takes some rows of one profile, and gives the steps to each batch that is full."""
        start = 0
        while start < piece.rows:
            stop = min(start + self.most - self._rows, piece.rows)
            part = piece if stop - start == piece.rows else piece.slice(start, stop)
            self._pieces.append(part)
            self._owners.append((profile, part.rows))
            self._rows += part.rows
            self._bytes += part.size
            start = stop
            if self._rows == self.most or self._bytes >= MOST_BYTES:
                yield self._take()

    def flush(self) -> Iterator[Generator[None, None, pa.RecordBatch]]:
        """Gives the steps to a last batch, if there are rows for one."""
        if self._rows:
            yield self._take()

    def _take(self) -> Generator[None, None, pa.RecordBatch]:
        steps = _record_batch(self._pieces, self._owners)
        self._pieces, self._owners, self._rows, self._bytes = [], [], 0, 0
        return steps


def _record_batch(
    pieces: Sequence[ColumnSlice], owners: Sequence[tuple[str, int]]
) -> Generator[None, None, pa.RecordBatch]:
    columns = []
    for field in SCHEMA:
        column = _profiles(owners) if field.name == "profile" else _column(field, pieces)
        yield
        if field.type == _WORD and column.type != _WORD:
            column = column.dictionary_encode()
            yield
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def _profiles(owners: Sequence[tuple[str, int]]) -> pa.Array:
    codes: dict[str, int] = {}
    indices = array("i")
    for profile, rows in owners:
        indices += array("i", [codes.setdefault(profile, len(codes))]) * rows
    buffers = [None, pa.py_buffer(indices)]
    return pa.DictionaryArray.from_arrays(
        pa.Array.from_buffers(_CODE, len(indices), buffers), pa.array(list(codes), _TEXT)
    )


def _column(field: pa.Field, pieces: Sequence[ColumnSlice]) -> pa.Array:
    kind = _TEXT if field.type == _WORD else field.type
    parts = [piece.columns[field.name] for piece in pieces]
    only = parts[0]
    if not isinstance(only, pa.Array) and parts.count(only) == len(parts):
        return _repeated(only, sum(piece.rows for piece in pieces), kind)
    return pa.concat_arrays(
        [
            part if isinstance(part, pa.Array) else _repeated(part, piece.rows, kind)
            for part, piece in zip(parts, pieces, strict=True)
        ]
    )


def _repeated(value: Any, rows: int, kind: pa.DataType) -> pa.Array:
    return pa.nulls(rows, kind) if value is None else pa.repeat(pa.scalar(value, kind), rows)
