"""The base of all decoders of rows, which decode chunk by chunk, and quarantine unreadable rows. No I/O."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import attrs

from profile_history._decoding.json_members import load_row
from profile_history._decoding.timestamps import RowKey, has_nanoseconds, read_datetime
from profile_history._protocol.chunking import split_rows
from profile_history.errors import DecodeError
from profile_history.results import QuarantineEntry

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@attrs.frozen
class DecodedChunk(Generic[T_co]):
    """The rows of one chunk.

    Attributes:
        rows: The rows that can be read, in the server's order, as events or as they came.
        keys: The key of each of them; an event is its own key.
        quarantined: The rows that cannot be read.
    """

    rows: list[T_co]
    keys: Sequence[RowKey]
    quarantined: list[QuarantineEntry] = attrs.field(factory=list)


@attrs.frozen
class RowDecoder(Generic[T]):
    """A decoder of verified rows, which are separated by commas: into events, flat rows, or as they came.

    Attributes:
        decode_strict: Decodes rows that are all as documented, quickly; returns `None` if one is not.
        decode_lenient: Decodes them one by one, whatever they are, to the same result.
    """

    decode_strict: Callable[[bytes], DecodedChunk[T] | None]
    decode_lenient: Callable[[bytes], DecodedChunk[T]]

    def decode(self, chunk: bytes, *, short_timestamps: bool = False) -> DecodedChunk[T]:
        """Decode verified rows, which are separated by commas.

        Args:
            chunk: The rows.
            short_timestamps: Whether it is known that no `datetime` has more digits than `decode_strict` keeps.

        Raises:
            DecodeError: The rows are nested too deeply for the caller's stack.
        """
        # msgspec would round a longer fraction, to the next day in the worst case.
        strict = short_timestamps or not has_nanoseconds(chunk)
        return (self.decode_strict(chunk) if strict else None) or self.decode_lenient(chunk)


def decode_row_by_row(chunk: bytes, decode_row: Callable[[bytes, Any], tuple[T, RowKey]]) -> DecodedChunk[T]:
    """Decode row by row, and quarantine unreadable ones.

    Args:
        chunk: Verified rows, separated by commas.
        decode_row: Given a row's bytes and what `load_row` makes of them, returns the decoded row and its key, or
            raises ValueError.

    Returns:
        The decoded rows and the quarantined ones.

    Raises:
        DecodeError: The rows are nested too deeply for the caller's stack.
    """
    rows: list[T] = []
    keys: list[RowKey] = []
    quarantined: list[QuarantineEntry] = []
    try:
        raw_rows = split_rows(chunk)
    except RecursionError:
        raise DecodeError("the rows are nested too deeply", path="$.data") from None
    for place, raw in enumerate(raw_rows):
        loaded = None
        try:
            loaded = load_row(raw)
            row, key = decode_row(raw, loaded)
        except (ValueError, RecursionError) as error:
            reason = str(error) or type(error).__name__
            quarantined.append(QuarantineEntry(reason, raw, place, _datetime_of(loaded)))
        else:
            rows.append(row)
            keys.append(key)
    return DecodedChunk(rows, keys, quarantined)


def _datetime_of(row: Any) -> dt.datetime | None:
    text = row.get("datetime") if isinstance(row, dict) else None
    try:
        return read_datetime(text) if isinstance(text, str) else None
    except ValueError:
        return None
