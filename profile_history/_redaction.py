"""Keep what identifies a profile out of texts: a short keyed hash stands for it. No I/O.

A profile that is redacted equals the original, and has the same values; only its texts are others. So whatever prints
it, be it an error, a log, a crash report that shows local variables, or a hook, prints the hash.
"""

from __future__ import annotations

import functools
import hashlib
import html
import os
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

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
# Digits of a phone number, which a server may write in another way.
_SHORTEST_PHONE = 7
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
    for value in sorted(set(_spell(profile)), key=len, reverse=True):
        text = re.sub(re.escape(value), profile.alias, text, flags=re.IGNORECASE)
        if text.endswith(_CUT):
            text = _redact_cut(text, value, profile.alias)
    return text


def _redact(value: Any, profile: Profile) -> Any:
    if isinstance(value, list):
        return [_redact(item, profile) for item in value]
    # Not the members of enums, which are texts as well.
    return redact_text(value, profile) if type(value) is str else value


def _redact_cut(text: str, value: str, alias: str) -> str:
    kept = text.removesuffix(_CUT)
    for size in range(len(value) - 1, _SHORTEST_VALUE - 1, -1):
        if kept.casefold().endswith(value[:size].casefold()):
            return kept[:-size] + alias + _CUT
    return text


def _spell(profile: Profile) -> Iterator[str]:
    """Yield the values of a profile in the ways in which a server may write them."""
    for name, value in profile.fields:
        text = str(value)
        if name in _NO_VALUE or len(text) < _SHORTEST_VALUE:
            continue
        yield from (text, quote(text), quote(text, safe=""), html.escape(text), text.encode("unicode_escape").decode())
        digits = "".join(filter(str.isdecimal, text))
        if name == "phone" and len(digits) >= _SHORTEST_PHONE:
            yield digits
