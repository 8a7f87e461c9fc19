"""Verified bytes to rows as they came: no byte is changed, and of each row only its key is decoded. No I/O."""

from __future__ import annotations

from typing import Any

from profile_history._decoding.row_decoder import DecodedChunk, RowDecoder, decode_row_by_row
from profile_history._decoding.timestamps import ParsedRowKey, RowKey, read_datetime, read_row_keys
from profile_history._protocol.chunking import split_rows


def split_strict(chunk: bytes) -> DecodedChunk[bytes] | None:
    """Split rows that all have a documented `datetime`; timestamps are rounded to microseconds.

    Returns:
        The rows, or `None` if one has another `datetime`.
    """
    keys = read_row_keys(chunk)
    return None if keys is None else DecodedChunk(split_rows(chunk), keys)


def split_lenient(chunk: bytes) -> DecodedChunk[bytes]:
    """Split row by row, and quarantine rows without a readable `datetime`.

    Raises:
        DecodeError: The rows are nested too deeply for the caller's stack.
    """
    return decode_row_by_row(chunk, _read_key)


def _read_key(raw: bytes, row: Any) -> tuple[bytes, RowKey]:
    label = row.get("datetime") if isinstance(row, dict) else None
    if not isinstance(label, str):
        raise ValueError("datetime is missing" if label is None else "datetime is no text")
    owner = row.get("profile_id")
    return raw, ParsedRowKey(read_datetime(label), owner if isinstance(owner, str) else None)


RAW = RowDecoder(split_strict, split_lenient)
