"""The members of a row with a value that Python cannot hold, each with its own JSON text. No I/O.

JSON has numbers of any size, and Python's JSON does not: `1e400` becomes infinite, and an integer of more than 4,300
digits is refused. Such a value costs its own key, never the row.
"""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal, InvalidOperation
from typing import Any

import attrs

_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],]', re.DOTALL)
_KEY = re.compile(r'[ \t\r\n]*("[^"\\]*(?:\\.[^"\\]*)*")[ \t\r\n]*:', re.DOTALL)
_BLANKS = " \t\r\n"


@attrs.frozen
class Unrepresentable:
    """A value that Python cannot hold.

    Attributes:
        text: Its JSON, as the server wrote it.
    """

    text: str


def load_row(raw: bytes) -> Any:
    """Return the value of a verified row; in an object, each value that Python cannot hold is an `Unrepresentable`.

    Raises:
        ValueError: The row is no object, and Python cannot hold it.
    """
    try:
        return load_value(raw.decode())
    except (ValueError, RecursionError):
        return {key: _load_member(text) for key, text in split_members(raw).items()}


def load_value(text: str) -> Any:
    """Return the value of a JSON text; control characters in it need not be escaped.

    Raises:
        ValueError: A number in it is too large, or is NaN.
        RecursionError: It is nested too deeply.
    """
    return _decoder.decode(text)


def split_members(raw: bytes) -> dict[str, str]:
    """Return the JSON text behind each key of a verified row; of equal keys the last one counts.

    Deeply nested values need no stack.

    Raises:
        ValueError: The row is no object.
    """
    text = raw.decode().strip(_BLANKS)
    if not text.startswith("{"):
        raise ValueError("the row is no object")
    members: dict[str, str] = {}
    depth = start = 0
    for token in _TOKEN.finditer(text):
        mark = token[0]
        # A member ends at a comma of the outermost object, or with it.
        if depth == 1 and mark in (",", "}") and (key := _KEY.match(text, start)) is not None:
            members[json.loads(key[1], strict=False)] = text[key.end() : token.start()].strip(_BLANKS)
        if mark in ("{", "["):
            depth += 1
        elif mark in ("}", "]"):
            depth -= 1
        if depth == 1 and mark in ("{", ","):
            start = token.end()
    return members


def parse_exact_integer(text: str) -> int | None:
    """Return the integer that a JSON number stands for, however it is written; `None` if it has a fraction."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        # The exponent itself is too large.
        return None
    return int(number) if number == number.to_integral_value() else None


def has_utf8(text: str) -> bool:
    """Tell whether a text can be written as UTF-8; one with half of a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _load_member(text: str) -> Any:
    try:
        return load_value(text)
    except (ValueError, RecursionError):
        return Unrepresentable(text)


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON number")


def _parse_finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number is too large")
    return number


# Kept, since to make a decoder takes longer than to decode a row.
_decoder = json.JSONDecoder(strict=False, parse_constant=_refuse_constant, parse_float=_parse_finite)
