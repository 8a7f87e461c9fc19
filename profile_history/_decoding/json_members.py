"""A row's members one by one, for a row with a value that Python cannot hold: each keeps its own JSON text. No I/O.

JSON has numbers of any size and Python's JSON has not: `1e400` becomes infinite, and an integer of more than 4,300
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
class Unheld:
    """A value that Python cannot hold.

    Attributes:
        text: Its JSON, as the server wrote it.
    """

    text: str


def load_row(raw: bytes) -> Any:
    """Return what a verified row says; in an object, each value that Python cannot hold is an `Unheld`.

    Raises:
        ValueError: The row is no object, and Python cannot hold it.
    """
    try:
        return load_value(raw.decode())
    except (ValueError, RecursionError):
        return {key: _load_member(text) for key, text in split_members(raw).items()}


def load_value(text: str) -> Any:
    """Return what a JSON text says; control characters in it need not be escaped.

    Raises:
        ValueError: A number in it is too large, or is NaN.
        RecursionError: It is nested too deeply.
    """
    return _decoder.decode(text)


def split_members(raw: bytes) -> dict[str, str]:
    """Return the JSON text behind each key of a verified row; of equal keys the last one counts.

    However deeply the values are nested, that takes no stack.

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
    """Return the integer that a JSON number stands for, whichever way it is written; None if it has a fraction."""
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
        return Unheld(text)


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number is too large")
    return number


# Making one takes longer than decoding a row.
_decoder = json.JSONDecoder(strict=False, parse_constant=_refuse_constant, parse_float=_finite)
