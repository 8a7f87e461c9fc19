"""Verified bytes to flat rows: events but for what is nested in them, which stays the JSON text that came. No I/O.

What makes an event makes an equal flat row, and what is set apart as no event is set apart here. Only a nested value
with a number that is too large for Python stays in its field here, since nobody reads it, and not in `extra`.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from operator import attrgetter
from typing import Annotated, Any, NamedTuple, TypeAlias

import attrs
import msgspec

from profile_history._decoding.event_decoder import decode_lenient
from profile_history._decoding.json_members import load_value, split_members
from profile_history._decoding.row_decoder import DecodedChunk, RowDecoder
from profile_history._decoding.timestamps import has_nanoseconds
from profile_history._protocol.chunking import split_rows
from profile_history.actions import Action
from profile_history.errors import DecodeError
from profile_history.events import Event, Integer, with_db_id
from profile_history.results import Quarantined

NULL = msgspec.Raw(b"null")

# No text of JSON is that long: a row's own key `extra` must not be taken for the field.
_NotFromJson: TypeAlias = Annotated[str, msgspec.Meta(min_length=2**31)]


class ShortRow(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A row of an older installation; that it has fewer fields makes it quicker to read and to turn into columns."""

    action: Action
    datetime: dt.datetime
    count: Integer | None = None
    email: str | None = None
    list_id: Integer | None = None
    message_id: Integer | None = None
    xxh: str | None = None
    campaign_id: Integer | None = None


class FlatRow(ShortRow, gc=False, forbid_unknown_fields=True):
    """A row with the fields of an event.

    Attributes:
        subscription: An object as JSON, or NULL.
        subscriptions: An array as JSON, or NULL.
        fields: An object as JSON, or NULL.
        extra: What else the row holds, an object as JSON, or "".
    """

    profile_id: str | None = None
    event_id: str | None = None
    smid: str | None = None
    channel: str | None = None
    campaign_name: str | None = None
    message_name: str | None = None
    subscription: msgspec.Raw = NULL
    subscriptions: msgspec.Raw = NULL
    fields: msgspec.Raw = NULL
    extra: _NotFromJson = ""


class Columns(NamedTuple):
    """Some rows, turned round.

    Attributes:
        rows: How many they are.
        values: The values of each field; a field that no row has may be missing.
        zones: The zones of the labels.
    """

    rows: int
    values: Mapping[str, Sequence[Any]]
    zones: AbstractSet[dt.tzinfo | None]


_short_rows = msgspec.json.Decoder(list[ShortRow])
_flat_rows = msgspec.json.Decoder(list[FlatRow])
_flat_rows_with_db_id: msgspec.json.Decoder[list[FlatRow]] = msgspec.json.Decoder(
    list[with_db_id(FlatRow)]  # type: ignore[misc]
)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_raw = msgspec.json.Decoder(msgspec.Raw)
_zone_of = attrgetter("tzinfo")
# How the JSON of each begins.
_NESTED = {"subscription": b"{", "subscriptions": b"[", "fields": b"{"}
_PLAIN = tuple(name for name in FlatRow.__struct_fields__ if name not in _NESTED and name != "extra")


def decode_rows(chunk: bytes) -> Sequence[ShortRow] | None:
    """Decodes rows that all have documented keys and flat types; None where one has not. It rounds to microseconds."""
    text = b"[%b]" % chunk
    for decoder in (_short_rows, _flat_rows, _flat_rows_with_db_id):
        try:
            return decoder.decode(text)
        except (msgspec.DecodeError, ValueError, RecursionError):
            continue
    return None


def transpose(rows: Sequence[ShortRow]) -> Columns | None:
    """Turns some rows of one kind round; None where what is nested in one is not what its field holds."""
    columns = zip(*map(msgspec.structs.astuple, rows), strict=True)
    values: dict[str, Sequence[Any]] = dict(zip(FlatRow.__struct_fields__, columns, strict=False))
    for name, opening in _NESTED.items():
        if name in values:
            texts = _texts(values[name])
            if not all(text is None or text.startswith(opening) for text in texts):
                return None
            values[name] = texts
    if "extra" in values:
        values["extra"] = [text or None for text in values["extra"]]
    return Columns(len(rows), values, set(map(_zone_of, values["datetime"])))


def _texts(raws: Sequence[msgspec.Raw]) -> Sequence[bytes | None]:
    if raws.count(NULL) == len(raws):
        return [None] * len(raws)
    texts = [None if raw is NULL else bytes(raw) for raw in raws]
    return [None if text == b"null" else text for text in texts]


def flatten_strict(chunk: bytes) -> DecodedChunk[FlatRow] | None:
    """Decodes rows that all have documented keys and types; None where one has not. It rounds to microseconds."""
    text = b"[%b]" % chunk
    for decoder in (_flat_rows, _flat_rows_with_db_id):
        try:
            rows = decoder.decode(text)
        except (msgspec.DecodeError, ValueError, RecursionError):
            continue
        return DecodedChunk(rows, rows) if transpose(rows) else None
    return None


def flatten_lenient(chunk: bytes) -> DecodedChunk[FlatRow]:
    """Decodes row by row, each in the fast way if that can read it alone; what cannot be read is set apart."""
    rows: list[FlatRow] = []
    batch = DecodedChunk(rows, rows)
    try:
        texts = split_rows(chunk)
    except RecursionError:
        raise DecodeError("the rows are nested too deeply", path="$.data") from None
    for place, raw in enumerate(texts):
        alone = (None if has_nanoseconds(raw) else flatten_strict(raw)) or _flatten(raw)
        rows += alone.rows
        batch.quarantined.extend(attrs.evolve(row, place=place) for row in alone.quarantined)
    return batch


def _flatten(raw: bytes) -> DecodedChunk[FlatRow]:
    read = decode_lenient(raw)
    rows: list[FlatRow] = []
    quarantined = read.quarantined
    for event in read.rows:
        try:
            rows.append(_flat(event, raw))
        except (ValueError, RecursionError) as error:
            quarantined = [Quarantined(str(error) or type(error).__name__, raw, 0, event.datetime)]
    return DecodedChunk(rows, rows, quarantined)


def _flat(event: Event, raw: bytes) -> FlatRow:
    members = _members_of(raw)
    texts = _texts_of(raw) if members is None else members
    values = {name: getattr(event, name) for name in _PLAIN}
    extra = dict(event.extra)
    for name, opening in _NESTED.items():
        text = bytes(texts.get(name, NULL))
        if not text.startswith(opening):
            continue
        held = text if members is not None else _strictly(text)
        if held is None:
            extra.setdefault(name, text.decode())
        else:
            values[name] = msgspec.Raw(held)
            extra.pop(name, None)
    return FlatRow(**values, extra=_extra(extra, members))


def _extra(extra: Mapping[str, Any], members: Mapping[str, msgspec.Raw] | None) -> str:
    if not extra:
        return ""
    if members is None:
        return json.dumps(extra)
    return msgspec.json.encode({name: _member(value, members[name]) for name, value in extra.items()}).decode()


def _member(value: Any, text: msgspec.Raw) -> Any:
    """Return the JSON that came, or what an event has in its place, which is its text."""
    return value if isinstance(value, str) and value.encode() == bytes(text) else text


def _members_of(raw: bytes) -> Mapping[str, msgspec.Raw] | None:
    """What stands behind each key, as it came; None where msgspec is stricter than the API."""
    try:
        return _members.decode(raw)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


def _texts_of(raw: bytes) -> Mapping[str, bytes]:
    return {name: text.encode() for name, text in split_members(raw).items()}


def _strictly(text: bytes) -> bytes | None:
    """Return the same as strict JSON; None where a value in it has no JSON."""
    try:
        _raw.decode(text)
    except (msgspec.DecodeError, RecursionError):
        pass
    else:
        return text
    try:
        return json.dumps(load_value(text.decode())).encode()
    except (ValueError, RecursionError):
        return None


FLAT = RowDecoder(flatten_strict, flatten_lenient)
