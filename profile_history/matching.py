"""The ways in which the API finds a profile: the words that each takes, and their form as one text. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from profile_history._profile_fields import strip_marks
from profile_history.errors import ConfigurationError


class Matching(StrEnum):
    """The way in which the API finds the profile; `xxh` is the mode that sends no `matching`."""

    XXH = "xxh"
    EMAIL = "email"
    EMAIL_PROFILE = "email_profile"
    EMAIL_SUB = "email_sub"
    PHONE = "phone"
    PHONE_SUB = "phone_sub"
    PROFILE_ID = "profile_id"
    PUSH_SUB = "push_sub"
    CUSTOM = "custom"
    CUSTOM_SUB = "custom_sub"
    EMAIL_PHONE = "email_phone"
    EMAIL_PHONE_SUB = "email_phone_sub"


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
"""The words of the request body that name a profile in each mode; they are the arguments of the mode's constructor."""

EITHER = (Matching.EMAIL_PHONE, Matching.EMAIL_PHONE_SUB)
"""The modes that do with one of their words."""

CUSTOM = (Matching.CUSTOM, Matching.CUSTOM_SUB)
"""The modes whose values may be anything."""

_SEPARATORS: Mapping[Matching, str] = {
    Matching.PUSH_SUB: ":",
    Matching.CUSTOM: "=",
    Matching.CUSTOM_SUB: "=",
    Matching.EMAIL_PHONE: ",",
    Matching.EMAIL_PHONE_SUB: ",",
}


def parse_matching(text: Matching | str) -> Matching:
    """Return the mode of this name.

    Raises:
        ConfigurationError: There is none.
    """
    try:
        return Matching(text)
    except ValueError:
        known = ", ".join(Matching)
        raise ConfigurationError(f"no matching mode {text!r}; there are {known}") from None


def join_values(matching: Matching, values: Mapping[str, str | int]) -> str:
    """Join the values of a mode into one text, which `split_value` splits.

    Args:
        matching: The mode.
        values: The values by their `WORDS`; one that is missing is empty in the text.
    """
    return _SEPARATORS.get(matching, "").join(str(values.get(word, "")) for word in WORDS[matching])


def split_value(matching: Matching, text: str) -> dict[str, str]:
    """Split one text into the words of its mode, as `join_values` has joined them; nothing is checked or cleaned.

    Args:
        matching: The mode.
        text: The value, as `Profile.parse` takes it.

    Returns:
        The values by their `WORDS`; an address or a number that may be left out, and is, is not among them.

    Raises:
        ConfigurationError: It is no text, or the separator of its words is missing.
    """
    if not isinstance(text, str):
        raise ConfigurationError(f"{matching} is a text, not {text!r}")
    separator = _SEPARATORS.get(matching)
    if separator is None:
        return {WORDS[matching][0]: text}
    # A number holds no comma, and an address in quotes may.
    left, found, right = text.rpartition(separator) if matching in EITHER else text.partition(separator)
    if not found:
        form = separator.join(WORDS[matching]).upper()
        raise ConfigurationError(f"{matching} takes {form}, not {text!r}")
    words = dict(zip(WORDS[matching], (left, right), strict=True))
    return {word: value for word, value in words.items() if matching not in EITHER or strip_marks(value)}
