"""The person whose history is asked for: one constructor for each way the API finds a profile. No I/O."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from profile_history._checks import MOST, describe
from profile_history._profile_fields import check_email, check_id, check_name, check_phone, check_text, check_xxh
from profile_history.errors import ConfigurationError
from profile_history.matching import Matching, join_values, parse_matching, split_value

__all__ = ["Matching", "Profile"]


@attrs.frozen(init=False, repr=False)
class Profile:
    """One profile, named the way the API is to look it up.

    Build it with the constructor of a matching mode, such as `Profile.email("john@example.com")`. Blanks around a
    value and Unicode format marks in it are dropped, but for the value of a custom field. A value that cannot be right
    raises `ConfigurationError` at once; whether it exists is for the server to say.

    Attributes:
        matching: The mode.
        fields: The names and values that this mode puts into the request body.
        alias: What `str` and `repr` show instead of the values, `None` if they show the values. Profiles that a client
            with `redact_profiles` hands out have one; they equal those that were given to it.
    """

    matching: Matching
    fields: tuple[tuple[str, str | int], ...]
    alias: str | None = attrs.field(default=None, eq=False)

    def __init__(self, matching: Matching, **fields: str | int) -> None:
        for name, value in fields.items():
            if isinstance(value, int) and not -MOST <= value < 2 * MOST:
                raise ConfigurationError(f"{name} is a text or a whole number of 64 bits, not {describe(value)}")
        self.__attrs_init__(matching, tuple(fields.items()))

    @property
    def known_id(self) -> str | None:
        """Return the `profile_id` that its rows carry; `None` if its matching mode does not tell.

        An `xxh` does not: it is the hash of an address, and the vendor's own sample of a response has rows of two.
        """
        return str(self.fields[0][1]) if self.matching is Matching.PROFILE_ID else None

    @property
    def text(self) -> str:
        """Return the profile as one line that names its values, also where `str` does not.

        Example:
            >>> Profile.email("john@example.com").text
            'email:john@example.com'
        """
        return f"{self.matching}:{join_values(self.matching, dict(self.fields))}"

    def with_alias(self, alias: str | None) -> Profile:
        """Return an equal profile with other texts.

        Args:
            alias: What `str` and `repr` show instead of the values; `None` to show the values.

        Example:
            >>> Profile.email("john@example.com").with_alias("a customer")
            Profile.email('a customer')
        """
        profile = object.__new__(Profile)
        profile.__attrs_init__(self.matching, self.fields, alias)
        return profile

    @classmethod
    def xxh(cls, xxh: str) -> Profile:
        """Return the profile whose xxHash id is `xxh`, 16 hexadecimal digits; they are put into lower case.

        Example:
            >>> Profile.xxh("0EB51AEFD919F90A")
            Profile.xxh(xxh='0eb51aefd919f90a')
        """
        return cls(Matching.XXH, xxh=check_xxh(xxh))

    @classmethod
    def email(cls, email: str) -> Profile:
        """Return the profile that has this address itself or in a subscription.

        Example:
            >>> Profile.email(" john@example.com ")
            Profile.email(email='john@example.com')
        """
        return cls(Matching.EMAIL, email=check_email(email))

    @classmethod
    def email_profile(cls, email: str) -> Profile:
        """Return the profile that has this address itself.

        Example:
            >>> str(Profile.email_profile("john@example.com"))
            'email_profile:john@example.com'
        """
        return cls(Matching.EMAIL_PROFILE, email=check_email(email))

    @classmethod
    def email_sub(cls, email: str) -> Profile:
        """Return the profile that has this address in a subscription.

        Example:
            >>> Profile.email_sub("john@example.com").body()
            {'matching': 'email_sub', 'email': 'john@example.com'}
        """
        return cls(Matching.EMAIL_SUB, email=check_email(email))

    @classmethod
    def phone(cls, phone: str) -> Profile:
        """Return the profile that has this phone number itself or in a subscription.

        Example:
            >>> Profile.phone("+7 900 000-00-00")
            Profile.phone(phone='+7 900 000-00-00')
        """
        return cls(Matching.PHONE, phone=check_phone(phone))

    @classmethod
    def phone_sub(cls, phone: str) -> Profile:
        """Return the profile that has this phone number in a subscription.

        Example:
            >>> Profile.phone_sub("+79000000000").matching
            <Matching.PHONE_SUB: 'phone_sub'>
        """
        return cls(Matching.PHONE_SUB, phone=check_phone(phone))

    @classmethod
    def profile_id(cls, profile_id: str) -> Profile:
        """Return the profile with this id, 24 hexadecimal digits in the vendor's samples.

        Example:
            >>> Profile.profile_id("5d4d4d0a7f4e3a0001234567").known_id
            '5d4d4d0a7f4e3a0001234567'
        """
        return cls(Matching.PROFILE_ID, profile_id=check_id("profile_id", profile_id))

    @classmethod
    def push_sub(cls, provider: str, subscription_id: str) -> Profile:
        """Return the profile with this push subscription.

        Args:
            provider: Such as `android-firebase`.
            subscription_id: The id that the provider gave.

        Example:
            >>> str(Profile.push_sub("android-firebase", "token-1"))
            'push_sub:android-firebase:token-1'
        """
        return cls(
            Matching.PUSH_SUB,
            provider=check_id("provider", provider, without=":"),
            subscription_id=check_id("subscription_id", subscription_id),
        )

    @classmethod
    def custom(cls, field_name: str, field_value: str | int) -> Profile:
        """Return the profile whose custom field holds a value.

        Args:
            field_name: The name of the field.
            field_value: Its value, which is not changed; several tags are one string, comma-separated.

        Example:
            >>> str(Profile.custom("loyalty_card", 1001))
            'custom:loyalty_card=1001'
        """
        return cls._custom(Matching.CUSTOM, field_name, field_value)

    @classmethod
    def custom_sub(cls, field_name: str, field_value: str | int) -> Profile:
        """Return the profile with a subscription whose custom field holds a value.

        Args:
            field_name: The name of the field.
            field_value: Its value, which is not changed.

        Example:
            >>> Profile.custom_sub("city", "Perm").fields
            (('field_name', 'city'), ('field_value', 'Perm'))
        """
        return cls._custom(Matching.CUSTOM_SUB, field_name, field_value)

    @classmethod
    def email_phone(cls, email: str | None = None, phone: str | None = None) -> Profile:
        """Return the profile with this address, this phone number, or both, itself or in a subscription.

        Args:
            email: The address; `None` if only the phone number is known.
            phone: The phone number; `None` if only the address is known.

        Example:
            >>> str(Profile.email_phone(phone="+79000000000"))
            'email_phone:,+79000000000'
        """
        return cls._email_phone(Matching.EMAIL_PHONE, email, phone)

    @classmethod
    def email_phone_sub(cls, email: str | None = None, phone: str | None = None) -> Profile:
        """Return the profile with this address, this phone number, or both, in a subscription.

        Args:
            email: The address; `None` if only the phone number is known.
            phone: The phone number; `None` if only the address is known.

        Example:
            >>> Profile.email_phone_sub()
            Traceback (most recent call last):
            ConfigurationError: email_phone_sub takes an email, a phone, or both; pass at least one
        """
        return cls._email_phone(Matching.EMAIL_PHONE_SUB, email, phone)

    @classmethod
    def parse(cls, matching: Matching | str, text: str) -> Profile:
        """Build a profile from one line of text, as a command line or a file holds it.

        Args:
            matching: The matching mode.
            text: The value; `PROVIDER:SUBSCRIPTION_ID` for `push_sub`, `FIELD_NAME=FIELD_VALUE` for `custom` and
                `custom_sub`, `EMAIL,PHONE` with either side left empty for `email_phone` and `email_phone_sub`.

        Raises:
            ConfigurationError: The mode is unknown or the text does not fit it.

        Example:
            >>> Profile.parse("custom", "city=Perm")
            Profile.custom(field_name='city', field_value='Perm')
        """
        mode = parse_matching(matching)
        profile: Profile = getattr(cls, mode.value)(**split_value(mode, text))
        return profile

    @classmethod
    def _custom(cls, matching: Matching, field_name: str, field_value: str | int) -> Profile:
        whole = isinstance(field_value, int) and not isinstance(field_value, bool)
        value = field_value if whole else check_text("field_value", field_value, kinds="a text or a whole number")
        return cls(matching, field_name=check_name("field_name", field_name, without="="), field_value=value)

    @classmethod
    def _email_phone(cls, matching: Matching, email: str | None, phone: str | None) -> Profile:
        fields = {}
        if email is not None:
            fields["email"] = check_email(email)
        if phone is not None:
            fields["phone"] = check_phone(phone)
        if not fields:
            raise ConfigurationError(f"{matching} takes an email, a phone, or both; pass at least one")
        return cls(matching, **fields)

    def body(self) -> dict[str, str | int]:
        """Return the fields this profile puts into the request body, `matching` among them.

        Example:
            >>> Profile.xxh("0eb51aefd919f90a").body()
            {'xxh': '0eb51aefd919f90a'}
        """
        fields = dict(self.fields)
        return fields if self.matching is Matching.XXH else {"matching": self.matching.value, **fields}

    def __str__(self) -> str:
        return self.text if self.alias is None else f"{self.matching}:{self.alias}"

    def __repr__(self) -> str:
        if self.alias is not None:
            return f"Profile.{self.matching}({self.alias!r})"
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.fields)
        return f"Profile.{self.matching}({arguments})"

    def __rich_repr__(self) -> Iterator[tuple[str, object]]:
        # What rich prints, and structlog with it: else they would go through the attributes, values and all.
        yield "matching", self.matching.value
        yield from self.fields if self.alias is None else (("alias", self.alias),)
