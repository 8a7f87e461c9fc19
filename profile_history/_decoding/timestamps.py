"""The timestamp of a row, as the server labels it, and whose row it is. No I/O."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
from typing import Protocol

import msgspec

_SHORTEST = len("2017-04-05T07:48:44")
_TIMESTAMP = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}):(\d{2}):(\d{2})(?:[.,](\d{1,9}))?\s*([Zz]|[+-]\d{2}(?::?\d{2})?)?", re.ASCII
)
_SECONDS_PER_DAY = 24 * 60 * 60

# msgspec rounds to microseconds, and 23:59:59.9999999 would become the next day's. Letters, digits and dots may be
# escaped without need, which hides such a timestamp.
_LONG_FRACTION = re.compile(rb"\.\d{7}")
_LONG_TIMESTAMP = re.compile(rb'"datetime"[ \t\r\n]*:[ \t\r\n]*"[^"]*\.\d{7}')
_ESCAPE = b"\\u00"
_HIDDEN = re.compile(rb"\\u00(?:2[eE]|3\d|[46][1-9a-fA-F]|[57][\daA])")


class RowKey(Protocol):
    """The fields of a row that put it in order and tell whose it is."""

    @property
    def datetime(self) -> dt.datetime:
        """Return the timestamp, as labelled."""

    @property
    def profile_id(self) -> str | None:
        """Return the owner's `profile_id`, or `None` if the row has none."""


class ParsedRowKey(msgspec.Struct, gc=False):
    """The key of a row of which nothing else is decoded."""

    datetime: dt.datetime
    profile_id: str | None = None


_keys = msgspec.json.Decoder(list[ParsedRowKey])


def read_row_keys(chunk: bytes) -> list[ParsedRowKey] | None:
    """Return the keys of verified rows separated by commas; timestamps are rounded to microseconds.

    Returns:
        One key per row, or `None` if a row is not as documented.
    """
    try:
        return _keys.decode(b"[%b]" % chunk)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


def has_nanoseconds(chunk: bytes) -> bool:
    """Tell whether a `datetime` may have more digits than msgspec keeps."""
    long = _LONG_FRACTION.search(chunk) is not None and _LONG_TIMESTAMP.search(chunk) is not None
    return long or (_ESCAPE in chunk and _HIDDEN.search(chunk) is not None)


def read_datetime(text: str) -> dt.datetime:
    """Return the moment that a row's `datetime` names, as it is labelled.

    0 to 9 digits of a second are read and cut to microseconds; a leap second `:60` and the hour `24:00:00` are read as
    the moment that follows. Without a zone the result is naive.

    Raises:
        ValueError: The text is no such timestamp.
    """
    if len(text) >= _SHORTEST:
        with contextlib.suppress(ValueError):
            return dt.datetime.fromisoformat(text)
    parts = _TIMESTAMP.fullmatch(text.strip())
    if parts is None:
        raise ValueError("datetime is no moment such as 2017-04-05T07:48:44Z")
    day, hour, minute, second, fraction, zone = parts.groups()
    clock = int(hour) * 3600 + int(minute) * 60 + int(second)
    if int(hour) > 24 or int(minute) > 59 or int(second) > 60 or clock > _SECONDS_PER_DAY:
        raise ValueError("datetime has a time of day that no clock shows")
    try:
        moment = dt.datetime.fromisoformat(day) + dt.timedelta(seconds=clock)
        moment = moment.replace(microsecond=int((fraction or "0").ljust(6, "0")[:6]))
        return moment.replace(tzinfo=_read_zone(zone))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"datetime is outside the calendar: {error}") from None


def _read_zone(text: str | None) -> dt.tzinfo | None:
    if text is None:
        return None
    if text in "Zz":
        return dt.UTC
    sign = -1 if text[0] == "-" else 1
    digits = text[1:].replace(":", "").ljust(4, "0")
    return dt.timezone(sign * dt.timedelta(hours=int(digits[:2]), minutes=int(digits[2:])))
