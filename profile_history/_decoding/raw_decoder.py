"""Verified bytes to rows as they came: not one byte is changed, and of each row only its stamp is read. No I/O."""

from __future__ import annotations

from typing import Any

from profile_history._decoding.row_decoder import Batch, Lane, read_rows
from profile_history._decoding.timestamps import RowStamp, Stamp, read_datetime, read_stamps
from profile_history._protocol.chunking import split_rows


def split_fast(chunk: bytes) -> Batch[bytes] | None:
    """Splits rows that all have a documented `datetime`; None where one has not. It rounds to microseconds."""
    stamps = read_stamps(chunk)
    return None if stamps is None else Batch(split_rows(chunk), stamps)


def split_leniently(chunk: bytes) -> Batch[bytes]:
    """Splits row by row, and sets those apart that say not when they happened."""
    return read_rows(chunk, _read)


def _read(raw: bytes, row: Any) -> tuple[bytes, Stamp]:
    label = row.get("datetime") if isinstance(row, dict) else None
    if not isinstance(label, str):
        raise ValueError("datetime is missing" if label is None else "datetime is no text")
    owner = row.get("profile_id")
    return raw, RowStamp(read_datetime(label), owner if isinstance(owner, str) else None)


RAW = Lane(split_fast, split_leniently)
