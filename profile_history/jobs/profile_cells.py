"""Values as files and databases hold them become what the constructors of a profile take. No I/O.

A source cleans more than a constructor does, since what stands around its values comes from spreadsheets, mail programs
and exports, and not from the program that names the profile. Whatever it makes of a value, the constructor judges.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from uuid import UUID

from profile_history._profile_fields import strip_marks, unquote
from profile_history._text import escape_surrogates
from profile_history.errors import ConfigurationError

_SCHEMES: Mapping[str, str] = {"email": "mailto:", "phone": "tel:"}
_FLOATS = frozenset({"phone", "profile_id"})
_FLOAT = re.compile(r"(\+?\d+)\.0+")
_EXACT = 2**53
# Python writes no number of some thousand digits, and no profile has one.
_DIGITS = 100
_LONG = 10**_DIGITS


def clean_text(name: str, text: str) -> str:
    """Return a value without what cannot be part of it.

    That is: Unicode format marks, outer blanks, one pair of outer quotes or angle brackets, `mailto:` before an
    address, `tel:` before a number, and the `.0` that a table of floats puts behind a whole number.

    Args:
        name: The word of the API for it, such as "email"; "field_value" is returned as it is.
        text: The value. Where something would be left to clean, such as a second pair of quotes, only marks and blanks
            are dropped: the constructor says what is wrong with it.
    """
    if name == "field_value":
        return text
    bare = strip_marks(text)
    clean = _peel(name, bare)
    return clean if clean == bare or _peel(name, clean) == clean else bare


def plain_value(name: str, value: object) -> str | int:
    """Return the text or the whole number that a typed value is; nothing, and a float that is no number, are "".

    Args:
        name: The word of the API for it, for messages.
        value: Of a table, a query or JSON: a text, bytes in UTF-8, a UUID, an integer, or a float or a decimal that
            is whole.

    Raises:
        ConfigurationError: It is of another type, no UTF-8, or a float whose last digits are lost.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return _check_digits(name, value)
    if value is None:
        return ""
    if isinstance(value, (bytes, bytearray, memoryview)):
        try:
            return bytes(value).decode()
        except UnicodeDecodeError:
            raise ConfigurationError(f"{name} is no UTF-8: {bytes(value)!r}") from None
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, (float, Decimal)):
        return _as_whole(name, value)
    raise ConfigurationError(f"{name} is a text or a whole number, not {value!r}")


def check_storable(**options: str | None) -> None:
    """Check texts that come from outside.

    Raises:
        ConfigurationError: One of them cannot be encoded in UTF-8, such as an argument of a command line that is none.
    """
    for name, text in options.items():
        if text is not None and text != escape_surrogates(text):
            raise ConfigurationError(f"{name} is no UTF-8: {text!r}; pass another one")


def _peel(name: str, text: str) -> str:
    inner = unquote(text)
    if inner is not None:
        text = inner.strip()
    scheme = _SCHEMES.get(name, "")
    if scheme and text[: len(scheme)].lower() == scheme:
        text = text[len(scheme) :].strip()
    if name in _FLOATS and text.endswith("0"):
        whole = _FLOAT.fullmatch(text)
        text = whole[1] if whole else text
    return text


def _as_whole(name: str, number: float | Decimal) -> str | int:
    # Each type knows best: as floats, large decimals are infinite.
    exact = number if isinstance(number, Decimal) else Decimal(number)
    if exact.is_nan():
        return ""
    if exact.is_infinite() or exact != exact.to_integral_value():
        raise ConfigurationError(f"{name} is a text or a whole number, not {number!r}")
    if isinstance(number, float) and abs(number) >= _EXACT:
        raise ConfigurationError(
            f"{name} is the float {number!r}, of which the last digits are lost; store it as text or as an integer"
        )
    return _check_digits(name, int(exact) if exact.adjusted() < _DIGITS else _LONG)


def _check_digits(name: str, number: int) -> int:
    if abs(number) >= _LONG:
        raise ConfigurationError(f"{name} is a number of more than {_DIGITS} digits")
    return number
