"""Verified bytes to events: a fast lane for rows as documented, a lenient one for all others. No I/O.

The fast lane is msgspec's, straight into `Event`; it refuses keys that it does not know, which would be dropped without
a word otherwise. What it refuses goes to the lenient lane, row by row. Both give equal events for every row that both
can read.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from itertools import starmap
from typing import Any

import cattrs
import msgspec

from profile_history.actions import Action
from profile_history.events import NOTHING, Event, with_db_id
from profile_history.labels import Stamp, read_datetime
from profile_history.lanes import Batch, Lane, read_rows

_LEAST, _MOST = -(2**63), 2**63 - 1
_WHOLE_NUMBER = re.compile(r"\s*[+-]?[0-9]{1,4000}\s*")

_events = msgspec.json.Decoder(list[Event])
_rows_with_db_id = msgspec.json.Decoder(list[with_db_id(Event)])  # type: ignore[misc]


def decode_fast(chunk: bytes) -> Batch[Event] | None:
    """Decodes rows that all have documented keys and types; None where one has not. It rounds to microseconds."""
    text = b"[%b]" % chunk
    try:
        events = _events.decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        try:
            events = list(starmap(Event, map(msgspec.structs.astuple, _rows_with_db_id.decode(text))))
        except (msgspec.DecodeError, ValueError, RecursionError):
            return None
    return Batch(events, events)


def decode_leniently(chunk: bytes) -> Batch[Event]:
    """Decodes row by row: reads numbers written as text, keeps unknown keys, and sets unreadable rows apart."""

    def read(_: bytes, row: Any) -> tuple[Event, Stamp]:
        event = _converter.structure(row, Event)
        return event, event

    return read_rows(chunk, read)


def unstructure(event: Event) -> dict[str, Any]:
    """An event as a plain dictionary under the API's own keys: without what is absent, `extra` merged in."""
    row: dict[str, Any] = _converter.unstructure(event)
    extra: dict[str, Any] = row.pop("extra")
    return {key: value for key, value in row.items() if value is not None} | extra


class _Misfit(ValueError):
    """A value that its field cannot hold; it goes to `extra`."""


def _structure_row(row: Any, _: type[Event]) -> Event:
    if not isinstance(row, dict):
        raise ValueError("the row is no object")
    rest = dict(row)
    keys = {"list_id": "db_id"} if rest.get("list_id") is None else {}
    fields = {
        "action": _required(rest, "action", Action),
        "datetime": _required(rest, "datetime", dt.datetime),
    }
    for name, type_ in _OPTIONAL.items():
        key = keys.get(name, name)
        value = rest.pop(key, None)
        if value is None:
            continue
        try:
            fields[name] = _converter.structure(value, type_)
        except _Misfit:
            rest[key] = value
    if "list_id" in keys:
        rest.pop("list_id", None)
    return Event(**fields, extra=rest or NOTHING)


def _required(row: dict[str, Any], name: str, type_: type[Any]) -> Any:
    value = row.pop(name, None)
    if not isinstance(value, str):
        raise ValueError(f"{name} is missing" if value is None else f"{name} is no text")
    if not value.strip():
        raise ValueError(f"{name} is blank")
    return _converter.structure(value, type_)


def _structure_integer(value: Any, _: type[int]) -> int:
    if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _Misfit("no whole number")
    if not _LEAST <= value <= _MOST:
        raise ValueError("a whole number is outside 64 bits")
    return value


def _structure_text(value: Any, _: type[str]) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise _Misfit("no text")
    return value


def _structure_object(value: Any, type_: type[Any]) -> Any:
    if not isinstance(value, type_):
        raise _Misfit(f"no {type_.__name__}")
    return value


_OPTIONAL: Mapping[str, type[Any]] = {
    **dict.fromkeys(("count", "list_id", "message_id", "campaign_id"), int),
    **dict.fromkeys(("email", "xxh", "profile_id", "event_id", "smid", "channel"), str),
    **dict.fromkeys(("campaign_name", "message_name"), str),
    **dict.fromkeys(("subscription", "fields"), dict),
    "subscriptions": list,
}


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=False)
    converter.register_structure_hook(Event, _structure_row)
    converter.register_structure_hook(Action, lambda value, _: Action(value))
    converter.register_structure_hook(dt.datetime, lambda value, _: read_datetime(value))
    converter.register_structure_hook(int, _structure_integer)
    converter.register_structure_hook(str, _structure_text)
    converter.register_structure_hook(dict, _structure_object)
    converter.register_structure_hook(list, _structure_object)
    converter.register_unstructure_hook(dt.datetime, dt.datetime.isoformat)
    # JSON as it came; going through it would only fail where it is deeply nested.
    for plain in (dict, list):
        converter.register_unstructure_hook(plain, lambda value: value)
    return converter


_converter = _make_converter()

EVENTS = Lane(decode_fast, decode_leniently)
