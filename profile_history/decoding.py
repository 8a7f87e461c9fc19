"""Verified bytes to events: a fast lane for rows as documented, a lenient one for all others. No I/O.

The fast lane is a msgspec struct that refuses what it does not know, and then one positional call an event; decoding
straight into the attrs class would drop unknown keys without a word. What it refuses goes to the lenient lane, row by
row. Both give equal events for every row that both can read.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any

import attrs
import cattrs
import msgspec

from profile_history.actions import Action
from profile_history.envelope import split_rows
from profile_history.errors import DecodeError
from profile_history.events import Event

_LEAST, _MOST = -(2**63), 2**63 - 1
_Integer = Annotated[int, msgspec.Meta(ge=_LEAST, le=_MOST)]
_SHORTEST_DATETIME = len("2017-04-05T07:48:44")

_DATETIME = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}):(\d{2}):(\d{2})(?:[.,](\d{1,9}))?\s*([Zz]|[+-]\d{2}(?::?\d{2})?)?", re.ASCII
)
_WHOLE_NUMBER = re.compile(r"\s*[+-]?[0-9]{1,4000}\s*")
_SECONDS_A_DAY = 24 * 60 * 60


class _FastRow(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    action: Action
    datetime: Annotated[str, msgspec.Meta(min_length=_SHORTEST_DATETIME)]
    count: _Integer | None = None
    email: str | None = None
    message_id: _Integer | None = None
    xxh: str | None = None
    campaign_id: _Integer | None = None
    profile_id: str | None = None
    event_id: str | None = None
    smid: str | None = None
    channel: str | None = None
    campaign_name: str | None = None
    message_name: str | None = None
    subscription: dict[str, Any] | None = None
    subscriptions: list[Any] | None = None
    fields: dict[str, Any] | None = None


class _FastRowWithListId(_FastRow, gc=False, forbid_unknown_fields=True):
    list_id: _Integer | None = None


class _FastRowWithDbId(_FastRow, gc=False, forbid_unknown_fields=True, rename={"list_id": "db_id"}):
    list_id: _Integer | None = None


_FAST = (msgspec.json.Decoder(list[_FastRowWithListId]), msgspec.json.Decoder(list[_FastRowWithDbId]))


@attrs.frozen
class Quarantined:
    """A row that cannot be read.

    Attributes:
        reason: Why.
        raw: The row's bytes, as the server sent them.
        place: Its number in the slice, from 0.
        datetime: When it happened, where that much can be read.
    """

    reason: str
    raw: bytes
    place: int
    datetime: dt.datetime | None


@attrs.frozen
class Batch:
    """The events of one slice, in the server's order, and the rows that are none."""

    events: list[Event]
    quarantined: list[Quarantined] = attrs.field(factory=list)


def decode(chunk: bytes) -> Batch:
    """Decodes some verified rows, with commas between them.

    Raises:
        DecodeError: They are nested too deeply for the caller's stack.
    """
    return decode_fast(chunk) or decode_leniently(chunk)


def decode_fast(chunk: bytes) -> Batch | None:
    """Decodes rows that all have documented keys and types; None where one has not."""
    text = b"[%b]" % chunk
    for decoder in _FAST:
        try:
            return Batch([_event(row) for row in decoder.decode(text)])
        except (msgspec.DecodeError, ValueError, RecursionError):
            continue
    return None


def decode_leniently(chunk: bytes) -> Batch:
    """Decodes row by row: reads numbers written as text, keeps unknown keys, and sets unreadable rows apart."""
    batch = Batch([])
    try:
        rows = split_rows(chunk)
    except RecursionError:
        raise DecodeError("the rows are nested too deeply", path="$.data") from None
    for place, raw in enumerate(rows):
        row = None
        try:
            row = _load(raw)
            batch.events.append(_converter.structure(row, Event))
        except (ValueError, RecursionError) as error:
            reason = str(error) or type(error).__name__
            batch.quarantined.append(Quarantined(reason, raw, place, _datetime_of(row)))
    return batch


def unstructure(event: Event) -> dict[str, Any]:
    """An event as a plain dictionary under the API's own keys: without what is absent, `extra` merged in."""
    row: dict[str, Any] = _converter.unstructure(event)
    extra: dict[str, Any] = row.pop("extra")
    return {key: value for key, value in row.items() if value is not None} | extra


def read_datetime(text: str) -> dt.datetime:
    """Reads a row's `datetime` as it is labelled.

    0 to 9 digits of a second are read and cut to microseconds; a leap second `:60` and the hour `24:00:00` are read as
    the moment that follows. Without a zone the result is naive.

    Raises:
        ValueError: It is no such text.
    """
    if len(text) >= _SHORTEST_DATETIME:
        with contextlib.suppress(ValueError):
            return dt.datetime.fromisoformat(text)
    parts = _DATETIME.fullmatch(text.strip())
    if parts is None:
        raise ValueError("datetime is no moment such as 2017-04-05T07:48:44Z")
    day, hour, minute, second, fraction, zone = parts.groups()
    clock = int(hour) * 3600 + int(minute) * 60 + int(second)
    if int(hour) > 24 or int(minute) > 59 or int(second) > 60 or clock > _SECONDS_A_DAY:
        raise ValueError("datetime has a time of day that no clock shows")
    try:
        moment = dt.datetime.fromisoformat(day) + dt.timedelta(seconds=clock)
        moment = moment.replace(microsecond=int((fraction or "0").ljust(6, "0")[:6]))
        return moment.replace(tzinfo=_zone(zone))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"datetime is outside the calendar: {error}") from None


def _zone(text: str | None) -> dt.tzinfo | None:
    if text is None:
        return None
    if text in "Zz":
        return dt.UTC
    sign = -1 if text[0] == "-" else 1
    digits = text[1:].replace(":", "").ljust(4, "0")
    return dt.timezone(sign * dt.timedelta(hours=int(digits[:2]), minutes=int(digits[2:])))


def _event(row: _FastRowWithListId | _FastRowWithDbId, read: Any = dt.datetime.fromisoformat) -> Event:
    return Event(
        row.action,
        read(row.datetime),
        row.count,
        row.email,
        row.list_id,
        row.message_id,
        row.xxh,
        row.campaign_id,
        row.profile_id,
        row.event_id,
        row.smid,
        row.channel,
        row.campaign_name,
        row.message_name,
        row.subscription,
        row.subscriptions,
        row.fields,
        {},
    )


def _datetime_of(row: Any) -> dt.datetime | None:
    text = row.get("datetime") if isinstance(row, dict) else None
    try:
        return read_datetime(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _load(raw: bytes) -> Any:
    return json.loads(raw, strict=False, parse_constant=_no_number, parse_float=_finite)


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number is too large")
    return number


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
    return Event(**fields, extra=rest)


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
