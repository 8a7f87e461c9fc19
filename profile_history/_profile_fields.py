"""The fields that name a profile: what is cleaned off a value, and which values cannot be right. No I/O.

Nothing here decides whether an address or a number exists. What is refused is what no server can have: values that a
spreadsheet, a copy from a web page, or a file cut at the wrong character left behind.
"""

from __future__ import annotations

import re
import unicodedata

from profile_history._checks import describe
from profile_history.errors import ConfigurationError

_XXH = re.compile(r"[0-9A-Fa-f]{16}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# They are seen as nothing or as a blank and are no format marks; U+FFFD is what a wrong decoding leaves.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\ufffc\ufffd"
    "\U000e0100-\U000e01ef]"
)
# A sign or a decimal mark has to be there: 66e669730960301450001112 is an id.
_EXPONENT = re.compile(r"[+-]?(?:\d+[.,]\d+E[+-]?\d+|\d+E[+-]\d+)", re.IGNORECASE)
_DECIMAL = re.compile(r"[+-]?\d{7,}\.\d+")
_PHONE = re.compile(r"[0-9+()\-./*#\s\u2010-\u2015\u2212]*[0-9)*#](?:\s*(?:ext|x|доб|вн)\.?\s*[0-9]+)?", re.IGNORECASE)
# Most addresses; what else there is, and whether it can be right, is looked at part by part.
_USUAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*@(?:[A-Za-z0-9-]+\.)+[A-Za-z0-9-]+")
_QUOTED_NAME = re.compile(r'"(?:[^"\\]|\\.)*"')
_NOT_IN_A_NAME = re.compile(r'[()<>\[\]:;\\,"]')
_LABEL = r"[A-Za-z0-9_-]+"
_HOST = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}\.?|\[[A-Za-z0-9.:]+\]")
_DOTS = re.compile("[.\u3002\uff0e\uff61]")
# Of international names: the dots of _DOTS, and marks that stand between letters.
_OTHERS_IN_HOST = "\u3002\uff0e\uff61\u00b7\u05f3\u05f4\u30fb"
_APOSTROPHES = "'\u2018\u2019\u201a\u201b"
_CLOSERS = {
    '"': '"',
    "'": "'",
    "<": ">",
    "\u00ab": "\u00bb",
    "\u00bb": "\u00ab",
    "\u2039": "\u203a",
    "\u203a": "\u2039",
    "\u2018": "\u2019",
    "\u2019": "\u2019",
    "\u201a": "\u2018\u2019",
    "\u201b": "\u2019",
    "\u201c": "\u201d",
    "\u201d": "\u201d",
    "\u201e": "\u201c\u201d",
    "\u201f": "\u201d",
    "\uff02": "\uff02",
    "\uff1c": "\uff1e",
}


def strip_marks(text: str) -> str:
    """Return a text without its Unicode format marks (category Cf) and without the blanks around it.

    Format marks are what nobody sees: a byte order mark, zero-width characters, marks of direction, soft hyphens.
    """
    if not text.isascii():
        text = "".join(character for character in text if unicodedata.category(character) != "Cf")
    return text.strip()


def unquote(text: str) -> str | None:
    """Return what one pair of quotes or angle brackets encloses; `None` if there is no such pair around the text."""
    if len(text) < 2 or text[-1] not in _CLOSERS.get(text[0], ""):
        return None
    inner = text[1:-1]
    if text[0] not in _APOSTROPHES and (text[0] in inner or text[-1] in inner):
        return None
    return inner


def check_text(name: str, value: object, kinds: str = "a text", *, without: str | None = None) -> str:
    """Return a value as it is.

    Args:
        name: The field, for messages.
        value: The value.
        kinds: What it may be, for messages.
        without: The separator that would end it where profiles are written as text.

    Raises:
        ConfigurationError: It is no text, blank, not printable, or holds the separator.
    """
    if not isinstance(value, str):
        raise ConfigurationError(f"{name} is {kinds}, not {describe(value)}")
    if not value.strip():
        raise ConfigurationError(f"{name} is empty; pass a value")
    if _CONTROL.search(value):
        raise ConfigurationError(f"{name} holds a control character or half of a surrogate pair: {describe(value)}")
    if without is not None and without in value:
        raise ConfigurationError(
            f"{name} holds {without!r}, which ends it where profiles are written as text: {describe(value)}"
        )
    return value


def check_name(name: str, value: object, *, without: str) -> str:
    """Return the name of something, such as a custom field, without marks and blanks around it.

    Args:
        name: The field, for messages.
        value: The value.
        without: The separator that would end it where profiles are written as text.

    Raises:
        ConfigurationError: `check_text` does not take it.
    """
    return check_text(name, strip_marks(value) if isinstance(value, str) else value, without=without)


def check_id(name: str, value: object, *, without: str | None = None) -> str:
    """Return an id without marks and blanks around it.

    Args:
        name: The field, for messages.
        value: The value.
        without: The separator that would end it where profiles are written as text; `None` if none would.

    Raises:
        ConfigurationError: `check_text` does not take it, or it cannot be right.
    """
    text = _clean(name, value)
    _check_exponent(name, text)
    return check_text(name, text, without=without)


def check_xxh(value: object) -> str:
    """Return an xxHash id in lower case, without marks and blanks around it.

    Raises:
        ConfigurationError: It is none.
    """
    text = strip_marks(value) if isinstance(value, str) else ""
    if not _XXH.fullmatch(text):
        raise ConfigurationError(f"xxh is 16 hexadecimal digits, such as 0eb51aefd919f90a, not {describe(value)}")
    return text.lower()


def check_email(value: object) -> str:
    """Return an address without marks and blanks around it.

    Odd addresses pass, such as `"a b"@example.com` or one of an international domain.

    Raises:
        ConfigurationError: It cannot be right; the message says why.
    """
    if isinstance(value, str) and _USUAL.fullmatch(value):
        return value
    text = _clean("email", value)
    name, _, host = text.rpartition("@")
    quoted = _QUOTED_NAME.fullmatch(name) is not None
    if not (name and host) or any(map(str.isspace, host if quoted else text)):
        raise ConfigurationError(f"email is an address such as john@example.com, not {describe(value)}")
    if not quoted:
        _check_name_of_address(name, text)
    if not _is_host(host):
        raise ConfigurationError(f"email has no host name behind its '@': {text!r}")
    return text


def check_phone(value: object) -> str:
    """Return a phone number without marks and blanks around it; how it is grouped is left as it is.

    Raises:
        ConfigurationError: It cannot be right; the message says why.
    """
    text = _clean("phone", value)
    _check_exponent("phone", text)
    if "@" in text:
        raise ConfigurationError(f"phone holds '@', as an address does: {text!r}")
    check_text("phone", text, without=",")
    if _DECIMAL.fullmatch(text):
        raise ConfigurationError(f"phone has decimals: {text!r}; keep phone numbers as text or as whole numbers")
    if not _PHONE.fullmatch(text) or not any(map(str.isdigit, text)):
        raise ConfigurationError(f"phone is a number such as +79000000000, not {describe(value)}")
    return text


def _clean(name: str, value: object) -> str:
    """Return a text that stands for itself: nothing is left around it, and nothing in it is unseen."""
    text = check_text(name, strip_marks(value) if isinstance(value, str) else value)
    if _UNSEEN.search(text):
        raise ConfigurationError(f"{name} holds a character that is not seen, or was lost in decoding: {text!a}")
    if text[-1] in ";,":
        raise ConfigurationError(f"{name} ends with {text[-1]!r}, which is no part of it: {text!r}")
    if len(text) > 1 and text[-1] in _CLOSERS.get(text[0], ""):
        raise ConfigurationError(f"{name} stands in {text[0]} {text[-1]}, which are no part of it: {text!r}")
    return text


def _check_exponent(name: str, text: str) -> None:
    if _EXPONENT.fullmatch(text):
        raise ConfigurationError(
            f"{name} is written with an exponent, {text!r}, so digits of it may be lost; export the column as text"
        )


def _check_name_of_address(name: str, text: str) -> None:
    if "@" in name:
        raise ConfigurationError(f"email holds more than one '@', and takes one address: {text!r}")
    odd = _NOT_IN_A_NAME.search(name)
    if odd is not None:
        raise ConfigurationError(f"email holds {odd[0]!r}, which no address holds outside of quotes: {text!r}")
    if name[0] in _CLOSERS or (not name.isascii() and any(map(_is_bracket, name))):
        raise ConfigurationError(f"email holds a quote or bracket that is no part of it: {text!r}")


def _is_bracket(character: str) -> bool:
    return character not in _APOSTROPHES and unicodedata.category(character) in {"Ps", "Pe", "Pi", "Pf"}


def _is_host(host: str) -> bool:
    if _HOST.fullmatch(host):
        return True
    *labels, last = _DOTS.split(host)
    return not host.isascii() and all(labels) and bool(last or labels) and all(map(_in_host, host))


def _in_host(character: str) -> bool:
    if character.isascii():
        return character.isalnum() or character in "-_."
    category = unicodedata.category(character)
    return category[0] in "LMN" or category == "So" or character in _OTHERS_IN_HOST
