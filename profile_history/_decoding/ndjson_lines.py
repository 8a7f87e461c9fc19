"""Rows as lines of NDJSON: `{"profile":"...","event":{...}}`. No I/O.

The event is the row as the server wrote it, except for what would end its line or is no JSON: a line break between its
tokens becomes a blank, which means the same, and a control character in a text becomes its escape. No value is
decoded, so none is changed: `1e400` and `NaN` stay.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

import msgspec

_CONTROL = re.compile(rb"[\x00-\x1f]")
_TEXT_OR_BREAK = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\r\n]', re.DOTALL)
_CONTROLS = bytes(range(0x20))
_BREAKS = bytes.maketrans(b"\r\n", b"  ")
_raw = msgspec.json.Decoder(msgspec.Raw)


def encode_lines(profile: str, rows: Iterable[bytes]) -> bytes:
    """Return verified rows of one profile as lines, each ended by a line break.

    Args:
        profile: Whose rows they are, as `str(profile)` writes it.
        rows: The rows, each as the server wrote it.

    Returns:
        The lines, in the order of the rows.
    """
    opening = b'{"profile":%b,"event":' % _encode(profile)
    lines = [opening + row + b"}\n" for row in rows]
    data = b"".join(lines)
    if len(data) - len(data.translate(None, _CONTROLS)) == len(lines):
        return data
    return b"".join([join_lines(line[:-1]) + b"\n" for line in lines])


def join_lines(text: bytes) -> bytes:
    """Return the same JSON on one line, with every control character in a text escaped."""
    try:
        _raw.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return _TEXT_OR_BREAK.sub(_fit, text)
    # A text in strict JSON has no line break, so all line breaks stand between tokens.
    return text.translate(_BREAKS)


def _fit(match: re.Match[bytes]) -> bytes:
    found = match[0]
    return _CONTROL.sub(_escape, found) if found.startswith(b'"') else b" "


def _escape(match: re.Match[bytes]) -> bytes:
    return b"\\u%04x" % match[0][0]


def _encode(text: str) -> bytes:
    try:
        return msgspec.json.encode(text)
    except UnicodeEncodeError:
        # Half of a surrogate pair has no UTF-8 form, but it has an escape.
        return json.dumps(text).encode()
