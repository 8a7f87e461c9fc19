"""Verified bytes to events: a strict decoder for rows as documented, a lenient one for all others. No I/O.

The strict decoder is msgspec's, straight into `Event`; it refuses unknown keys, which would be dropped silently
otherwise. What it refuses goes to the lenient decoder, row by row. Both give equal events for every row that both can
read.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from itertools import starmap
from typing import Any

import cattrs
import msgspec

from profile_history._decoding.json_members import Unrepresentable, has_utf8, parse_exact_integer, split_members
from profile_history._decoding.row_decoder import DecodedChunk, RowDecoder, decode_row_by_row
from profile_history._decoding.timestamps import RowKey, read_datetime
from profile_history.actions import Action
from profile_history.events import FIELDS, NOTHING, Event, FieldKind, rename_list_id

# The whole numbers of 64 bits, which is what `Integer` in an event and a column of a table hold.
_LEAST, _MOST = -(2**63), 2**63 - 1
# From 2^53 on a float stands for several whole numbers; and 0.0 stands for all that is too small for a float.
_INEXACT = 2**53
_WHOLE_NUMBER = re.compile(r"\s*[+-]?[0-9]{1,4000}\s*")

_events = msgspec.json.Decoder(list[Event])
_rows_rename_list_id = msgspec.json.Decoder(list[rename_list_id(Event)])  # type: ignore[misc]


def decode_strict(chunk: bytes) -> DecodedChunk[Event] | None:
    """Decode rows that all have documented keys and types; timestamps are rounded to microseconds.

    Returns:
        The events, or `None` if a row has another key or type.
    """
    text = b"[%b]" % chunk
    try:
        events = _events.decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        try:
            events = list(starmap(Event, map(msgspec.structs.astuple, _rows_rename_list_id.decode(text))))
        except (msgspec.DecodeError, ValueError, RecursionError):
            return None
    return DecodedChunk(events, events)


def decode_lenient(chunk: bytes) -> DecodedChunk[Event]:
    """Decode row by row: read numbers written as text, keep unknown keys, and quarantine unreadable rows.

    Raises:
        DecodeError: The rows are nested too deeply for the caller's stack.
    """

    def decode_row(raw: bytes, row: Any) -> tuple[Event, RowKey]:
        event = _build_event(row, raw)
        return event, event

    return decode_row_by_row(chunk, decode_row)


def unstructure(event: Event) -> dict[str, Any]:
    """Return an event as a plain dictionary under the API's own keys: without what is absent, `extra` merged in.

    Example:
        >>> unstructure(Event(Action.OPEN, dt.datetime(2024, 5, 1, 9, tzinfo=dt.UTC), extra={"score": 3}))
        {'action': <Action.OPEN: 'open'>, 'datetime': '2024-05-01T09:00:00+00:00', 'score': 3}
    """
    row: dict[str, Any] = _converter.unstructure(event)
    extra: dict[str, Any] = row.pop("extra")
    return {key: value for key, value in row.items() if value is not None} | extra


class _MismatchError(ValueError):
    """A value of another kind than its field's; it goes to `extra` as it is."""


class _UnrepresentableError(_MismatchError):
    """A value of the field's own kind that the field cannot hold; it goes to `extra` as the JSON text that came."""


def _build_event(row: Any, raw: bytes) -> Event:
    if not isinstance(row, dict):
        raise ValueError("the row is no object")
    rest = dict(row)
    keys = {"list_id": "db_id"} if rest.get("list_id") is None else {}
    fields: dict[str, Any] = {
        "action": _build_action(_take_required(rest, "action"), raw),
        "datetime": read_datetime(_take_required(rest, "datetime")),
    }
    for name, type_ in _OPTIONAL.items():
        key = keys.get(name, name)
        value = rest.pop(key, None)
        if value is None:
            continue
        try:
            fields[name] = _converter.structure(value, type_)
        except _UnrepresentableError:
            text = split_members(raw)[key]
            number = parse_exact_integer(text) if isinstance(value, float) else None
            if number is not None and _LEAST <= number <= _MOST:
                fields[name] = number
            else:
                rest[key] = text
        except _MismatchError:
            rest[key] = value
    if "list_id" in keys:
        rest.pop("list_id", None)
    extra = {key: value.text if type(value) is Unrepresentable else value for key, value in rest.items()}
    return Event(**fields, extra=extra or NOTHING)


def _take_required(row: dict[str, Any], name: str) -> str:
    value = row.pop(name, None)
    if not isinstance(value, str):
        raise ValueError(f"{name} is missing" if value is None else f"{name} is no text")
    if not value.strip():
        raise ValueError(f"{name} is blank")
    return value


def _build_action(text: str, raw: bytes) -> Action:
    # A row needs an action; one that has no UTF-8 form is represented by its JSON.
    return Action(text if text.isascii() or has_utf8(text) else split_members(raw)["action"])


def _structure_integer(value: Any, _: type[int]) -> int:
    if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value) and _LEAST <= int(value) <= _MOST:
        return int(value)
    if isinstance(value, float) and value.is_integer():
        if not 0 < abs(value) < _INEXACT:
            raise _UnrepresentableError("a float that may stand for another number")
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _MismatchError("no whole number")
    if not _LEAST <= value <= _MOST:
        raise _UnrepresentableError("a whole number is outside 64 bits")
    return value


def _structure_text(value: Any, _: type[str]) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise _MismatchError("no text")
    if not (value.isascii() or has_utf8(value)):
        raise _UnrepresentableError("half of a surrogate pair has no UTF-8 form")
    return value


def _structure_object(value: Any, type_: type[Any]) -> Any:
    if not isinstance(value, type_):
        raise _MismatchError(f"no {type_.__name__}")
    return value


# What cattrs makes of a value of each kind; a required field has a function of its own, and `extra` is what is left.
_TYPES: Mapping[FieldKind, type[Any]] = {
    FieldKind.INTEGER: int,
    FieldKind.TEXT: str,
    FieldKind.WORD: str,
    FieldKind.OBJECT: dict,
    FieldKind.ARRAY: list,
}
_OPTIONAL = {field.name: _TYPES[field.kind] for field in FIELDS if not field.required and field.kind in _TYPES}


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=False)
    converter.register_structure_hook(int, _structure_integer)
    converter.register_structure_hook(str, _structure_text)
    converter.register_structure_hook(dict, _structure_object)
    converter.register_structure_hook(list, _structure_object)
    converter.register_unstructure_hook(dt.datetime, dt.datetime.isoformat)
    # JSON as it came; to go through it would only fail if it is deeply nested.
    for nested in (dict, list):
        converter.register_unstructure_hook(nested, lambda value: value)
    return converter


_converter = _make_converter()

EVENTS = RowDecoder(decode_strict, decode_lenient)
