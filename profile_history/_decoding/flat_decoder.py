"""Verified bytes to flat rows: events except for nested values, which stay the JSON text that the server sent. No I/O.

What makes an event makes an equal flat row, and what is quarantined as no event is quarantined here. There is one
difference: a nested value with a number that is too large for Python stays in its field here, since nobody reads it,
and is not moved to `extra`.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeAlias

import attrs
import msgspec

from profile_history._decoding.event_decoder import decode_lenient
from profile_history._decoding.json_members import load_value, split_members
from profile_history._decoding.row_decoder import DecodedChunk, RowDecoder
from profile_history._decoding.timestamps import has_nanoseconds
from profile_history._protocol.chunking import split_rows
from profile_history.errors import DecodeError
from profile_history.events import FIELDS, Event, EventField, FieldKind, rename_list_id
from profile_history.results import QuarantineEntry

NULL = msgspec.Raw(b"null")

# No text of JSON is that long: a row's own key `extra` must not be taken for the field.
_NotFromJson: TypeAlias = Annotated[str, msgspec.Meta(min_length=2**31)]


def _build_struct(name: str, fields: Sequence[EventField]) -> type[msgspec.Struct]:
    return msgspec.defstruct(name, list(map(_define_field, fields)), forbid_unknown_fields=True, gc=False)


def _define_field(field: EventField) -> tuple[str, Any] | tuple[str, Any, Any]:
    if field.required:
        return field.name, field.type
    if field.kind is FieldKind.EXTRA:
        return field.name, _NotFromJson, ""
    return (field.name, msgspec.Raw, NULL) if field.kind.nested else (field.name, field.type, field.default)


if TYPE_CHECKING:

    class FlatRow(msgspec.Struct):
        """A row with the fields of an event, of which a type checker needs to know these.

        Nested values are JSON, or `NULL` if there is none; `extra` is an object as JSON, or "" if there is none.
        """

        datetime: dt.datetime
        profile_id: str | None

        def __init__(self, **values: Any) -> None: ...
else:
    FlatRow = _build_struct("FlatRow", FIELDS)

# A row of an older installation; that it has fewer fields makes it quicker to read and to turn into columns.
ShortRow = _build_struct("ShortRow", [field for field in FIELDS if not field.newer and field.kind != FieldKind.EXTRA])


class Columns(NamedTuple):
    """Some rows, transposed.

    Attributes:
        rows: The number of rows.
        values: The values of each field; a field that no row has may be missing.
        zones: The zones of the timestamps.
    """

    rows: int
    values: Mapping[str, Sequence[Any]]
    zones: AbstractSet[dt.tzinfo | None]


_short_rows = msgspec.json.Decoder(list[ShortRow])  # type: ignore[valid-type]
_flat_rows = msgspec.json.Decoder(list[FlatRow])
_flat_rows_with_db_id: msgspec.json.Decoder[list[FlatRow]] = msgspec.json.Decoder(
    list[rename_list_id(FlatRow)]  # type: ignore[misc]
)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_raw = msgspec.json.Decoder(msgspec.Raw)
_zone_of = attrgetter("tzinfo")
# How the JSON of each nested field begins.
_OPENINGS = {FieldKind.OBJECT: b"{", FieldKind.ARRAY: b"["}
_NESTED = {field.name: _OPENINGS[field.kind] for field in FIELDS if field.kind in _OPENINGS}
_FLAT = tuple(field.name for field in FIELDS if not field.kind.nested)


def decode_rows(chunk: bytes) -> Sequence[msgspec.Struct] | None:
    """Decode rows that all have documented keys and flat types; timestamps are rounded to microseconds.

    Returns:
        All as `ShortRow`, or all as `FlatRow`; `None` if one has another key or type.
    """
    text = b"[%b]" % chunk
    for decoder in (_short_rows, _flat_rows, _flat_rows_with_db_id):
        try:
            return decoder.decode(text)
        except (msgspec.DecodeError, ValueError, RecursionError):
            continue
    return None


def transpose(rows: Sequence[msgspec.Struct]) -> Columns | None:
    """Return rows of one kind as columns; `None` if a nested value is not what its field holds."""
    columns = zip(*map(msgspec.structs.astuple, rows), strict=True)
    values: dict[str, Sequence[Any]] = dict(zip(FlatRow.__struct_fields__, columns, strict=False))
    for name, opening in _NESTED.items():
        if name in values:
            texts = _as_bytes(values[name])
            if not all(text is None or text.startswith(opening) for text in texts):
                return None
            values[name] = texts
    if "extra" in values:
        values["extra"] = [text or None for text in values["extra"]]
    return Columns(len(rows), values, set(map(_zone_of, values["datetime"])))


def _as_bytes(raws: Sequence[msgspec.Raw]) -> Sequence[bytes | None]:
    if raws.count(NULL) == len(raws):
        return [None] * len(raws)
    texts = [None if raw is NULL else bytes(raw) for raw in raws]
    return [None if text == b"null" else text for text in texts]


def flatten_strict(chunk: bytes) -> DecodedChunk[FlatRow] | None:
    """Decode rows that all have documented keys and types; timestamps are rounded to microseconds.

    Returns:
        The rows, or `None` if one has another key or type.
    """
    text = b"[%b]" % chunk
    for decoder in (_flat_rows, _flat_rows_with_db_id):
        try:
            rows = decoder.decode(text)
        except (msgspec.DecodeError, ValueError, RecursionError):
            continue
        return DecodedChunk(rows, rows) if transpose(rows) else None
    return None


def flatten_lenient(chunk: bytes) -> DecodedChunk[FlatRow]:
    """Decode row by row, each strictly if that can read it alone; what cannot be read is quarantined.

    Raises:
        DecodeError: The rows are nested too deeply for the caller's stack.
    """
    rows: list[FlatRow] = []
    decoded = DecodedChunk(rows, rows)
    try:
        texts = split_rows(chunk)
    except RecursionError:
        raise DecodeError("the rows are nested too deeply", path="$.data") from None
    for place, raw in enumerate(texts):
        alone = (None if has_nanoseconds(raw) else flatten_strict(raw)) or _flatten_row(raw)
        rows += alone.rows
        decoded.quarantined.extend(attrs.evolve(row, place=place) for row in alone.quarantined)
    return decoded


def _flatten_row(raw: bytes) -> DecodedChunk[FlatRow]:
    decoded = decode_lenient(raw)
    rows: list[FlatRow] = []
    quarantined = decoded.quarantined
    for event in decoded.rows:
        try:
            rows.append(_flatten_event(event, raw))
        except (ValueError, RecursionError) as error:
            quarantined = [QuarantineEntry(str(error) or type(error).__name__, raw, 0, event.datetime)]
    return DecodedChunk(rows, rows, quarantined)


def _flatten_event(event: Event, raw: bytes) -> FlatRow:
    members = load_members(raw)
    texts = _encode_members(raw) if members is None else members
    values = {name: getattr(event, name) for name in _FLAT}
    extra = dict(event.extra)
    for name, opening in _NESTED.items():
        text = bytes(texts.get(name, NULL))
        if not text.startswith(opening):
            continue
        held = text if members is not None else _as_strict_json(text)
        if held is None:
            extra.setdefault(name, text.decode())
        else:
            values[name] = msgspec.Raw(held)
            extra.pop(name, None)
    return FlatRow(**values, extra=_encode_extra(extra, members))


def _encode_extra(extra: Mapping[str, Any], members: Mapping[str, msgspec.Raw] | None) -> str:
    if not extra:
        return ""
    if members is None:
        return json.dumps(extra)
    return msgspec.json.encode({name: _pick_member(value, members[name]) for name, value in extra.items()}).decode()


def _pick_member(value: Any, text: msgspec.Raw) -> Any:
    """Return the JSON that the server sent, or what an event has in its place, which is its text."""
    return value if isinstance(value, str) and value.encode() == bytes(text) else text


def load_members(raw: bytes) -> Mapping[str, msgspec.Raw] | None:
    """Return the JSON behind each key of a row as it came, or `None` if msgspec is stricter than the API."""
    try:
        return _members.decode(raw)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


def _encode_members(raw: bytes) -> Mapping[str, bytes]:
    return {name: text.encode() for name, text in split_members(raw).items()}


def _as_strict_json(text: bytes) -> bytes | None:
    """Return the same value as strict JSON, or `None` if a value in it has no JSON."""
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
