"""Profiles as text that gives the same profile back, and from the words that the API has for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from profile_history._profile_fields import strip_marks, unquote
from profile_history.errors import ConfigurationError
from profile_history.jobs.profile_cells import clean_text, plain_value
from profile_history.matching import CUSTOM, EITHER, WORDS, Matching, parse_matching, split_value
from profile_history.profiles import Profile

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def text_of(profile: Profile) -> str:
    """Return the profile as one line of text, from which `profile_of` makes an equal one.

    That is `profile.text`, unless a custom field's value is a whole number: `str` does not tell 5 from "5", so such
    a profile is written as JSON in the API's words.
    """
    if profile.matching in CUSTOM and not isinstance(profile.fields[-1][1], str):
        return _encode(profile.body()).decode()
    return profile.text


def profile_of(text: str) -> Profile:
    """Return the profile that `text_of` has written.

    What a ledger holds was judged when it got there: it comes back as it was, whatever is taken or cleaned today.

    Raises:
        ConfigurationError: It is no such text.
    """
    if text.startswith("{"):
        words = words_of(text)
        mode = _mode_of(words, None)
        fields = {word: words[word] for word in WORDS[mode] if isinstance(words.get(word), (str, int))}
    else:
        matching, value = _split_text(text)
        mode = parse_matching(matching)
        fields = dict(split_value(mode, value))
    if not fields or "" in fields.values() or (len(fields) < len(WORDS[mode]) and mode not in EITHER):
        raise ConfigurationError(f"{mode} takes {' and '.join(WORDS[mode])}, not {text!r}")
    return Profile(mode, **fields)


def read_printed(text: str) -> Profile:
    """Return the profile of a text that `str` or `text_of` wrote, and that has been through other hands since.

    Raises:
        ConfigurationError: It is no such text, or a value in it cannot be right.
    """
    if text.startswith("{"):
        return profile_of_words(words_of(text))
    matching, value = _split_text(text)
    return read_value(parse_matching(matching), value)


def read_value(matching: Matching, text: str) -> Profile:
    """Return the profile that one text of a source names, cleaned as sources do.

    Args:
        matching: The mode.
        text: The value, as `Profile.parse` takes it.

    Raises:
        ConfigurationError: It does not fit the mode, or cannot be right.
    """
    if matching not in CUSTOM and len(WORDS[matching]) > 1:
        text = strip_marks(text)
        text = unquote(text) or text
    return _profile(matching, {word: clean_text(word, value) for word, value in split_value(matching, text).items()})


def words_of(text: str | bytes) -> Any:
    """Return what a JSON text says.

    Raises:
        ConfigurationError: It is none.
    """
    try:
        # Not left to msgspec: of bytes that are no UTF-8, each version of it says something else.
        encoded = text.encode() if isinstance(text, str) else text.decode().encode()
    except UnicodeError:
        raise ConfigurationError("it is no UTF-8") from None
    try:
        return _decode(encoded)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"it is no JSON: {error}") from None


def profile_of_words(words: Mapping[str, object], matching: Matching | None = None) -> Profile:
    """Return the profile that a request body with these words asks for, cleaned as sources do.

    Args:
        words: Such as `{"matching": "email", "email": "john@example.com"}` or `{"xxh": "0eb51aefd919f90a"}`; words that
            the mode does not know are ignored.
        matching: The mode if the words do not name one.

    Raises:
        ConfigurationError: There is no mode, or the words do not fit it.
    """
    mode = _mode_of(words, matching)
    return build_profile(mode, *(words.get(name) for name in WORDS[mode]))


def build_profile(matching: Matching, *values: object) -> Profile:
    """Return the profile with these values of a source, cleaned as sources do.

    Args:
        matching: The mode.
        values: One for each of the mode's `WORDS`; `None` and "" are no value.

    Raises:
        ConfigurationError: A value is missing, does not fit, or cannot be right.
    """
    arguments: dict[str, str | int] = {}
    for name, value in zip(WORDS[matching], values, strict=True):
        found = plain_value(name, value)
        if isinstance(found, str) or name != "field_value":
            found = clean_text(name, str(found))
        if found != "":
            arguments[name] = found
        elif matching not in EITHER:
            raise ConfigurationError(f"{name} is missing; {matching} takes {' and '.join(WORDS[matching])}")
    return _profile(matching, arguments)


def as_text(name: str, value: object) -> str:
    """Return the text of a value as a file or a database holds it; a whole number is written out, and nothing is "".

    Args:
        name: The word of the API for it, for messages.
        value: The value.

    Raises:
        ConfigurationError: It is neither a text nor a whole number.
    """
    return str(plain_value(name, value))


def _profile(matching: Matching, arguments: Mapping[str, str | int]) -> Profile:
    profile: Profile = getattr(Profile, matching.value)(**arguments)
    return profile


def _split_text(text: str) -> tuple[str, str]:
    matching, found, value = text.partition(":")
    if not found:
        raise ConfigurationError(f"a profile is written MATCHING:VALUE, such as email:john@example.com, not {text!r}")
    return matching, value


def _mode_of(words: Mapping[str, object], matching: Matching | None) -> Matching:
    named = words.get("matching", matching)
    if named is None:
        if "xxh" not in words:
            raise ConfigurationError('"matching" is missing; name the mode, such as "matching": "email"')
        named = Matching.XXH
    return parse_matching(as_text("matching", named))
