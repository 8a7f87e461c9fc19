"""The ways to hand out rows have in common: they read slice by slice, and set apart what they cannot read. No I/O."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import attrs

from profile_history._decoding.json_members import load_row
from profile_history._decoding.timestamps import RowKey, has_nanoseconds, read_datetime
from profile_history._protocol.chunking import split_rows
from profile_history.errors import DecodeError
from profile_history.results import Quarantined

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@attrs.frozen
class DecodedChunk(Generic[T_co]):
    """What one slice holds.

    Attributes:
        rows: The others, in the server's order, as events or as they came.
        keys: What has to be known of each of them; of events, the events.
        quarantined: The rows that cannot be read.
    """

    rows: list[T_co]
    keys: Sequence[RowKey]
    quarantined: list[Quarantined] = attrs.field(factory=list)


@attrs.frozen
class RowDecoder(Generic[T]):
    """A way to hand out rows: as events, or as they came.

    Attributes:
        decode_strict: Reads some verified rows with commas between them, unless one is odd.
        decode_lenient: The same one by one, whatever they are.
    """

    decode_strict: Callable[[bytes], DecodedChunk[T] | None]
    decode_lenient: Callable[[bytes], DecodedChunk[T]]

    def decode(self, chunk: bytes, *, short_timestamps: bool = False) -> DecodedChunk[T]:
        """Reads some verified rows, with commas between them.

        Args:
            chunk: The rows.
            short_timestamps: Whether it is known that no `datetime` has more digits than the fast way keeps.

        Raises:
            DecodeError: They are nested too deeply for the caller's stack.
        """
        fast = short_timestamps or not has_nanoseconds(chunk)
        return (self.decode_strict(chunk) if fast else None) or self.decode_lenient(chunk)


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
    quarantined: list[Quarantined] = []
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
            quarantined.append(Quarantined(reason, raw, place, _datetime_of(loaded)))
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
