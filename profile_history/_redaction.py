"""Keep what identifies a profile out of texts: a short keyed hash stands for it. No I/O.

A profile that is redacted equals the original, and has the same values; only its texts are others. So whatever prints
it, be it an error, a log, a crash report that shows local variables, or a hook, prints the hash.
"""

from __future__ import annotations

import functools
import hashlib
import html.entities
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from profile_history._checks import describe
from profile_history.errors import ConfigurationError, HistoryError
from profile_history.profiles import Profile
from profile_history.units import Unit

# Bytes: fewer could be found by trying, and blake2b takes no more.
_SHORTEST_KEY, _LONGEST_KEY = 16, hashlib.blake2b.MAX_KEY_SIZE
# Bytes of the hash: among a million profiles two have the same with a chance of one in five hundred.
_HASH_BYTES = 6
# Characters; shorter values, such as a number of a custom field, occur in any text.
_SHORTEST_VALUE = 4
# Digits of a phone number, which a server may write in another way, and of a country code (ITU-T E.164).
_SHORTEST_PHONE, _LONGEST_COUNTRY_CODE = 7, 3
_GAP = re.compile(r"(?:[\s()./+-]|%(?:25)*2[089bdef]|&nbsp;){1,3}", re.IGNORECASE)
# The beginning of an escape.
_PART = re.compile(r"(?:%[0-9a-f]*|&[#0-9a-z]*|\\[0-9a-z]*)?", re.IGNORECASE)
_NO_VALUE = frozenset({"field_name", "provider"})
_CUT = "…"


@functools.cache
def _process_key() -> bytes:
    return os.urandom(_LONGEST_KEY)


class Redactor:
    """The hashes of one key.

    Args:
        key: The key; the same one gives the same hashes in every process.

    Raises:
        ConfigurationError: It is too short or too long.
    """

    def __init__(self, key: bytes) -> None:
        if not _SHORTEST_KEY <= len(key) <= _LONGEST_KEY:
            raise ConfigurationError(
                f"redact_profiles takes True, or a key of {_SHORTEST_KEY} to {_LONGEST_KEY} bytes, not of {len(key)}"
            )
        self._key = key

    def redact(self, profile: Profile) -> Profile:
        """Return an equal profile whose texts show a hash of its values."""
        text = profile.text.partition(":")[2]
        made = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_HASH_BYTES, key=self._key)
        return profile.with_alias(f"#{made.hexdigest()}")

    def redact_unit(self, unit: Unit) -> Unit:
        """Return the same unit of a redacted profile."""
        return attrs.evolve(unit, profile=self.redact(unit.profile))

    def wrap(self, make_unit: Callable[[Any], Unit]) -> Callable[[Any], Unit]:
        """Return what makes the same units, of redacted profiles."""
        return lambda wanted: self.redact_unit(make_unit(wanted))

    def __repr__(self) -> str:
        return "Redactor(***)"


def make_redactor(option: object) -> Redactor | None:
    """Return what the option `redact_profiles` asks for, `None` if it is False.

    Args:
        option: False, True for a key that is random for the process, or the key.

    Raises:
        ConfigurationError: It is something else.
    """
    if isinstance(option, bool):
        return Redactor(_process_key()) if option else None
    if isinstance(option, bytes):
        return Redactor(option)
    raise ConfigurationError(f"redact_profiles takes True, False or a key in bytes, not {describe(option)}")


def redact_error(error: HistoryError, profile: Profile) -> None:
    """Replace the values of a redacted profile in all that an error says, as where it quotes the server.

    Args:
        error: The error, which is changed.
        profile: Whose it is; nothing is done if it is not redacted.
    """
    if profile.alias is None:
        return
    error.args = tuple(_redact(value, profile) for value in error.args)
    for name, value in vars(error).items():
        setattr(error, name, _redact(value, profile))


def redact_text(text: str, profile: Profile) -> str:
    """Return a text without the values of a redacted profile.

    Args:
        text: The text, which may have been cut off behind its beginning.
        profile: The profile; nothing is done if it is not redacted.
    """
    if profile.alias is None:
        return text
    for value, gap in sorted(set(_list_values(profile)), key=lambda found: len(found[0]), reverse=True):
        text = _replace(text, value, gap, profile.alias)
    return text


def _redact(value: Any, profile: Profile) -> Any:
    if isinstance(value, list):
        return [_redact(item, profile) for item in value]
    # Not the members of enums, which are texts as well.
    return redact_text(value, profile) if type(value) is str else value


def _list_values(profile: Profile) -> Iterator[tuple[str, bool]]:
    """Yield what is looked for in texts, and whether a few other characters may stand between any two of it."""
    for name, value in profile.fields:
        text = str(value)
        if name in _NO_VALUE or len(text) < _SHORTEST_VALUE:
            continue
        yield text, False
        digits = "".join(filter(str.isdecimal, text))
        # With its country code, or without it as numbers are written at home.
        for start in range(_LONGEST_COUNTRY_CODE + 1):
            if name == "phone" and len(digits) - start >= _SHORTEST_PHONE:
                yield digits[start:], True


def _replace(text: str, value: str, gaps: bool, alias: str) -> str:  # noqa: FBT001
    shown, position, begin = "", 0, _compile(value[0])
    while (found := begin.search(text, position)) is not None:
        end = _find_end(text, found.end(), value, gaps)
        shown += text[position : found.start()] + (text[found.start()] if end is None else alias)
        position = found.start() + 1 if end is None else end
    return shown + text[position:]


def _find_end(text: str, position: int, value: str, gaps: bool) -> int | None:  # noqa: FBT001
    """Return where a value ends whose first character ends here, or where it was cut off; `None` if it is another."""
    for number in range(1, len(value)):
        if gaps and (gap := _GAP.match(text, position)) is not None:
            position = gap.end()
        found = _compile(value[number]).match(text, position)
        if found is None:
            cut = number >= _SHORTEST_VALUE and text.endswith(_CUT) and _PART.fullmatch(text, position, len(text) - 1)
            return len(text) - 1 if cut else None
        position = found.end()
    return position


@functools.cache
def _compile(character: str) -> re.Pattern[str]:
    """Return a pattern of the ways in which a server may write a character, each by itself.

    As it is, in the other case, in an URL (also escaped twice), in HTML, and as an escape of JSON or Python.
    """
    number, units = ord(character), character.encode("utf-16-be", "surrogatepass")
    quoted = (f"%(?:25)*{byte:02x}" for byte in character.encode("utf-8", "surrogatepass"))
    pairs = (rf"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
    names = [f"&{name}" for name, meant in html.entities.html5.items() if meant == character and name.endswith(";")]
    ways = ["".join(quoted), f"&#0*{number};", f"&#x0*{number:x};", *names, "".join(pairs), rf"\\x{number:02x}"]
    if character == " ":
        ways.append(r"\+")
    # The likeliest way first; but what begins escapes is one only where no escape begins.
    ways.insert(len(ways) if character in "%&\\" else 0, re.escape(character))
    return re.compile("|".join(ways), re.IGNORECASE)
