"""What becomes of rows that a sink of the Arrow lane cannot hold; it needs the extra `arrow`."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from profile_history.sinks.base import Batch, Refused


def with_nul(batch: Batch) -> list[Refused]:
    """The rows of a batch with the character 0 in a text, which is no text to many databases."""
    columns: dict[int, str] = {}
    for name, column in zip(batch.table.column_names, batch.table.columns, strict=True):
        for place in _places(column) if column.type != pa.int64() else ():
            columns.setdefault(place, name)
    return _refused(batch, {place: f"the text of {name} holds the character 0" for place, name in columns.items()})


def _places(column: pa.ChunkedArray) -> list[int]:
    """The numbers of the rows of a column whose text holds the character 0."""
    places: list[int] = []
    start = 0
    for chunk in column.chunks:
        words = chunk.dictionary if pa.types.is_dictionary(chunk.type) else chunk
        if pa.types.is_string(words.type):
            found = pc.match_substring(words, "\0")
            if pc.any(found).as_py():
                found = found if words is chunk else found.take(chunk.indices)
                places += (start + place for place in pc.indices_nonzero(found).to_pylist())
        start += len(chunk)
    return places


def _refused(batch: Batch, reasons: dict[int, str]) -> list[Refused]:
    """The rows at certain places of the batch's table, from 0, and why each cannot be held."""
    refused = []
    start = 0
    waiting = iter(sorted(reasons))
    at = next(waiting, None)
    for unit in batch.units:
        while at is not None and at < start + len(unit):
            row = batch.table.slice(at, 1).to_pylist()[0]
            refused.append(Refused(unit.unit, at - start, reasons[at], _as_json(row)))
            at = next(waiting, None)
        start += len(unit)
    return refused


def _as_json(row: dict[str, Any]) -> bytes:
    known = {name: value for name, value in row.items() if value is not None and name != "unit"}
    return json.dumps(known, default=dt.datetime.isoformat, ensure_ascii=False).encode()
