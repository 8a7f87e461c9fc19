"""Profiles as text that gives the same profile back, and from the words that the API has for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec

from profile_history.errors import ConfigurationError
from profile_history.profiles import Matching, Profile, matching_of

# The words of the request body that name a profile in each mode; they are the arguments of the mode's constructor.
WORDS: Mapping[Matching, tuple[str, ...]] = {
    Matching.XXH: ("xxh",),
    Matching.EMAIL: ("email",),
    Matching.EMAIL_PROFILE: ("email",),
    Matching.EMAIL_SUB: ("email",),
    Matching.PHONE: ("phone",),
    Matching.PHONE_SUB: ("phone",),
    Matching.PROFILE_ID: ("profile_id",),
    Matching.PUSH_SUB: ("provider", "subscription_id"),
    Matching.CUSTOM: ("field_name", "field_value"),
    Matching.CUSTOM_SUB: ("field_name", "field_value"),
    Matching.EMAIL_PHONE: ("email", "phone"),
    Matching.EMAIL_PHONE_SUB: ("email", "phone"),
}

_EITHER = (Matching.EMAIL_PHONE, Matching.EMAIL_PHONE_SUB)
_CUSTOM = (Matching.CUSTOM, Matching.CUSTOM_SUB)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def text_of(profile: Profile) -> str:
    """The profile as one line of text, from which `profile_of` makes an equal one.

    That is `str(profile)`, but where a custom field's value is a whole number: `str` does not tell 5 from "5", so such
    a profile is written as JSON in the API's words.
    """
    if profile.matching in _CUSTOM and not isinstance(profile.fields[-1][1], str):
        return _encode(profile.body()).decode()
    return str(profile)


def profile_of(text: str) -> Profile:
    """The profile that `text_of` or `str` has written.

    Raises:
        ConfigurationError: The text is neither.
    """
    if text.startswith("{"):
        return profile_of_words(words_of(text))
    matching, found, value = text.partition(":")
    if not found:
        raise ConfigurationError(f"a profile is written MATCHING:VALUE, such as email:john@example.com, not {text!r}")
    return Profile.parse(matching, value)


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
    """The profile that a request body with these words asks for; words that its mode does not know are passed over.

    Args:
        words: Such as `{"matching": "email", "email": "john@example.com"}` or `{"xxh": "0eb51aefd919f90a"}`.
        matching: The mode where the words do not name one.

    Raises:
        ConfigurationError: There is no mode, or the words do not fit it.
    """
    named = words.get("matching", matching)
    if named is None:
        if "xxh" not in words:
            raise ConfigurationError('"matching" is missing; name the mode, such as "matching": "email"')
        named = Matching.XXH
    mode = matching_of(plain("matching", named))
    return built(mode, *(words.get(name) for name in WORDS[mode]))


def built(matching: Matching, *values: object) -> Profile:
    """The profile with these values, one for each of the mode's `WORDS`; None and "" are no value.

    Raises:
        ConfigurationError: A value is missing or does not fit.
    """
    arguments = {
        name: value if name == "field_value" and isinstance(value, int) else plain(name, value)
        for name, value in zip(WORDS[matching], values, strict=True)
        if value is not None and value != ""
    }
    if matching not in _EITHER:
        for name in WORDS[matching]:
            if name not in arguments:
                raise ConfigurationError(f"{name} is missing; {matching} takes {' and '.join(WORDS[matching])}")
    profile: Profile = getattr(Profile, matching.value)(**arguments)
    return profile


def plain(name: str, value: object) -> str:
    """The text of a value as a file or a database holds it: a whole number is written out, and nothing is "".

    Raises:
        ConfigurationError: It is neither a text nor a whole number.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise ConfigurationError(f"{name} is no UTF-8: {value!r}") from None
    if isinstance(value, (int, UUID)) and not isinstance(value, bool):
        return str(value)
    raise ConfigurationError(f"{name} is a text or a whole number, not {value!r}")
