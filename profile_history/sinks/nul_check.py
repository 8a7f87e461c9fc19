"""Texts with the character 0, which many databases cannot hold; it needs the extra `arrow`."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from profile_history.sinks.batch import SinkBatch
from profile_history.sinks.unit_rows import Refused


def with_nul(batch: SinkBatch) -> list[Refused]:
    """Return the rows of a batch whose profile holds the character 0, which is no text to many databases."""
    places = _find_nul(batch.table.column("profile"))
    return _refuse(batch, dict.fromkeys(places, "the text of profile holds the character 0"))


def without_nul(table: pa.Table) -> pa.Table:
    """Return the same rows, where a text with the character 0 is null, and stands in `extra` as JSON, which escapes it.

    A row needs an action; such a one goes by its JSON.
    """
    moved: dict[int, dict[str, str]] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if places := _find_nul(column):
            texts = column.to_pylist()
            for place in places:
                escaped = json.dumps(texts[place], ensure_ascii=False)
                texts[place] = escaped if name == "action" else None
                if name != "action":
                    moved.setdefault(place, {})[name] = escaped
            table = _with_column(table, name, texts)
    if moved:
        extras = table["extra"].to_pylist()
        for place, members in moved.items():
            extras[place] = _add_members(extras[place], members)
        table = _with_column(table, "extra", extras)
    return table


def _with_column(table: pa.Table, name: str, texts: list[str | None]) -> pa.Table:
    field, column = table.field(name), pa.array(texts, pa.string())
    column = column.dictionary_encode() if pa.types.is_dictionary(field.type) else column
    return table.set_column(table.column_names.index(name), field, column)


def _add_members(extra: str | None, members: dict[str, str]) -> str:
    """Return an object of JSON, as it was written, with some members more."""
    more = json.dumps(members, ensure_ascii=False)
    return more if extra is None else f"{extra[:-1]},{more[1:]}"


def _find_nul(column: pa.ChunkedArray) -> list[int]:
    """Return the numbers of the rows of a column whose text holds the character 0."""
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


def _refuse(batch: SinkBatch, reasons: dict[int, str]) -> list[Refused]:
    """Return some rows of a batch, and why each cannot be held.

    Args:
        batch: The batch.
        reasons: Why, by the number of the row in the batch's table, from 0.
    """
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
    known = {name: value for name, value in row.items() if value is not None and name not in {"unit", "row"}}
    return json.dumps(known, default=dt.datetime.isoformat, ensure_ascii=False).encode()
