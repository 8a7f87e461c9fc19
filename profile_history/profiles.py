"""Whose history is asked for: one constructor for each way the API finds a profile. No I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import StrEnum

import attrs

from profile_history.checks import MOST, shown
from profile_history.errors import ConfigurationError

_XXH = re.compile(r"[0-9A-Fa-f]{16}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class Matching(StrEnum):
    """How the API finds the profile; `xxh` is the mode that sends no `matching`."""

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


@attrs.frozen(init=False, repr=False)
class Profile:
    """One profile, named the way the API is to look it up.

    Build it with the constructor of a matching mode, such as `Profile.email("john@example.com")`. A value that
    cannot be right raises `ConfigurationError` at once; whether it exists is for the server to say.

    Attributes:
        matching: The mode.
        fields: The names and values that this mode puts into the request body.
    """

    matching: Matching
    fields: tuple[tuple[str, str | int], ...]

    def __init__(self, matching: Matching, **fields: str | int) -> None:
        for name, value in fields.items():
            if isinstance(value, int) and not -MOST <= value < 2 * MOST:
                raise ConfigurationError(f"{name} is a text or a whole number of 64 bits, not {shown(value)}")
        self.__attrs_init__(matching, tuple(fields.items()))

    @property
    def known_id(self) -> str | None:
        """The `profile_id` that its rows carry, where its matching mode tells.

        An `xxh` does not: it is the hash of an address, and the vendor's own sample answers a request for one with rows
        of two.
        """
        return str(self.fields[0][1]) if self.matching is Matching.PROFILE_ID else None

    @classmethod
    def xxh(cls, xxh: str) -> Profile:
        """The profile whose xxHash id is `xxh`, 16 hexadecimal digits."""
        if not isinstance(xxh, str) or not _XXH.fullmatch(xxh):
            raise ConfigurationError(f"xxh is 16 hexadecimal digits, such as 0eb51aefd919f90a, not {xxh!r}")
        return cls(Matching.XXH, xxh=xxh)

    @classmethod
    def email(cls, email: str) -> Profile:
        """The profile that has this address itself or in a subscription."""
        return cls(Matching.EMAIL, email=_email(email))

    @classmethod
    def email_profile(cls, email: str) -> Profile:
        """The profile that has this address itself."""
        return cls(Matching.EMAIL_PROFILE, email=_email(email))

    @classmethod
    def email_sub(cls, email: str) -> Profile:
        """The profile that has this address in a subscription."""
        return cls(Matching.EMAIL_SUB, email=_email(email))

    @classmethod
    def phone(cls, phone: str) -> Profile:
        """The profile that has this phone number itself or in a subscription."""
        return cls(Matching.PHONE, phone=_phone(phone))

    @classmethod
    def phone_sub(cls, phone: str) -> Profile:
        """The profile that has this phone number in a subscription."""
        return cls(Matching.PHONE_SUB, phone=_phone(phone))

    @classmethod
    def profile_id(cls, profile_id: str) -> Profile:
        """The profile with this id, 24 hexadecimal digits in the vendor's samples."""
        return cls(Matching.PROFILE_ID, profile_id=_text("profile_id", profile_id))

    @classmethod
    def push_sub(cls, provider: str, subscription_id: str) -> Profile:
        """The profile with this push subscription of a provider such as `android-firebase`."""
        return cls(
            Matching.PUSH_SUB,
            provider=_text("provider", provider, without=":"),
            subscription_id=_text("subscription_id", subscription_id),
        )

    @classmethod
    def custom(cls, field_name: str, field_value: str | int) -> Profile:
        """The profile whose field `field_name` holds `field_value` (several tags: one string, comma-separated)."""
        return cls._custom(Matching.CUSTOM, field_name, field_value)

    @classmethod
    def custom_sub(cls, field_name: str, field_value: str | int) -> Profile:
        """The profile with a subscription whose field `field_name` holds `field_value`."""
        return cls._custom(Matching.CUSTOM_SUB, field_name, field_value)

    @classmethod
    def email_phone(cls, email: str | None = None, phone: str | None = None) -> Profile:
        """The profile with this address, this phone number, or both, itself or in a subscription."""
        return cls._email_phone(Matching.EMAIL_PHONE, email, phone)

    @classmethod
    def email_phone_sub(cls, email: str | None = None, phone: str | None = None) -> Profile:
        """The profile with this address, this phone number, or both, in a subscription."""
        return cls._email_phone(Matching.EMAIL_PHONE_SUB, email, phone)

    @classmethod
    def parse(cls, matching: Matching | str, text: str) -> Profile:
        """Builds a profile from one line of text, as a command line or a file holds it.

        Args:
            matching: The matching mode.
            text: The value; `PROVIDER:SUBSCRIPTION_ID` for `push_sub`, `FIELD_NAME=FIELD_VALUE` for `custom` and
                `custom_sub`, `EMAIL,PHONE` with either side left empty for `email_phone` and `email_phone_sub`.

        Raises:
            ConfigurationError: The mode is unknown or the text does not fit it.
        """
        mode = matching_of(matching)
        return _PARSERS[mode](_text(mode, text))

    @classmethod
    def _custom(cls, matching: Matching, field_name: str, field_value: str | int) -> Profile:
        whole = isinstance(field_value, int) and not isinstance(field_value, bool)
        value = field_value if whole else _text("field_value", field_value, kinds="a text or a whole number")
        return cls(matching, field_name=_text("field_name", field_name, without="="), field_value=value)

    @classmethod
    def _email_phone(cls, matching: Matching, email: str | None, phone: str | None) -> Profile:
        fields = {}
        if email is not None:
            fields["email"] = _email(email)
        if phone is not None:
            fields["phone"] = _phone(phone)
        if not fields:
            raise ConfigurationError(f"{matching} takes an email, a phone, or both; pass at least one")
        return cls(matching, **fields)

    def body(self) -> dict[str, str | int]:
        """The fields this profile puts into the request body, `matching` among them."""
        fields = dict(self.fields)
        return fields if self.matching is Matching.XXH else {"matching": self.matching.value, **fields}

    def __str__(self) -> str:
        values = dict(self.fields)
        if self.matching in (Matching.EMAIL_PHONE, Matching.EMAIL_PHONE_SUB):
            return f"{self.matching}:{values.get('email', '')},{values.get('phone', '')}"
        return f"{self.matching}:{_JOINERS.get(self.matching, '').join(map(str, values.values()))}"

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.fields)
        return f"Profile.{self.matching}({arguments})"


def matching_of(text: Matching | str) -> Matching:
    """The mode of this name.

    Raises:
        ConfigurationError: There is none.
    """
    try:
        return Matching(text)
    except ValueError:
        known = ", ".join(Matching)
        raise ConfigurationError(f"no matching mode {text!r}; there are {known}") from None


def _text(name: str, value: object, kinds: str = "a text", *, without: str | None = None) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(f"{name} is {kinds}, not {value!r}")
    if not value.strip():
        raise ConfigurationError(f"{name} is empty; pass a value")
    if _CONTROL.search(value):
        raise ConfigurationError(f"{name} holds a control character or half of a surrogate pair: {value!r}")
    if without is not None and without in value:
        raise ConfigurationError(
            f"{name} holds {without!r}, which ends it where profiles are written as text: {value!r}"
        )
    return value


def _email(value: object) -> str:
    text = _text("email", value)
    name, at, host = text.rpartition("@")
    if not (name and at and host) or any(map(str.isspace, text)):
        raise ConfigurationError(f"email is an address such as john@example.com, not {value!r}")
    return text


def _phone(value: object) -> str:
    text = _text("phone", value, without=",")
    if not any(map(str.isdigit, text)) or text != text.strip():
        raise ConfigurationError(f"phone is a number such as +79000000000, not {value!r}")
    return text


def _halves(mode: Matching, text: str, separator: str, example: str) -> tuple[str, str]:
    left, found, right = text.partition(separator)
    if not found:
        raise ConfigurationError(f"{mode} takes {example}, not {text!r}")
    return left, right


def _email_and_phone(mode: Matching, text: str) -> dict[str, str | None]:
    email, found, phone = text.rpartition(",")
    if not found:
        raise ConfigurationError(f"{mode} takes EMAIL,PHONE, not {text!r}")
    return {"email": email.strip() or None, "phone": phone.strip() or None}


_JOINERS: Mapping[Matching, str] = {Matching.PUSH_SUB: ":", Matching.CUSTOM: "=", Matching.CUSTOM_SUB: "="}

_PARSERS: Mapping[Matching, Callable[[str], Profile]] = {
    Matching.XXH: Profile.xxh,
    Matching.EMAIL: Profile.email,
    Matching.EMAIL_PROFILE: Profile.email_profile,
    Matching.EMAIL_SUB: Profile.email_sub,
    Matching.PHONE: Profile.phone,
    Matching.PHONE_SUB: Profile.phone_sub,
    Matching.PROFILE_ID: Profile.profile_id,
    Matching.PUSH_SUB: lambda text: Profile.push_sub(
        *_halves(Matching.PUSH_SUB, text, ":", "PROVIDER:SUBSCRIPTION_ID")
    ),
    Matching.CUSTOM: lambda text: Profile.custom(*_halves(Matching.CUSTOM, text, "=", "FIELD_NAME=FIELD_VALUE")),
    Matching.CUSTOM_SUB: lambda text: Profile.custom_sub(
        *_halves(Matching.CUSTOM_SUB, text, "=", "FIELD_NAME=FIELD_VALUE")
    ),
    Matching.EMAIL_PHONE: lambda text: Profile.email_phone(**_email_and_phone(Matching.EMAIL_PHONE, text)),
    Matching.EMAIL_PHONE_SUB: lambda text: Profile.email_phone_sub(**_email_and_phone(Matching.EMAIL_PHONE_SUB, text)),
}
