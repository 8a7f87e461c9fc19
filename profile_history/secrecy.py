"""Values that never show themselves: the token, and the bytes that carry it. No I/O."""

from __future__ import annotations

from typing import NoReturn, SupportsIndex

from profile_history.errors import ConfigurationError

_NO_PICKLE = "a token is not pickled; let the other process read it from its own environment"


class Token:
    """The API token. Only `reveal` gives it away; it can be neither printed nor pickled."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        if not isinstance(value, str) or not value:
            raise ConfigurationError("the token is empty; pass token=, or set PROFILE_HISTORY_TOKEN(_FILE)")
        if not value.isascii() or not value.isprintable() or " " in value:
            raise ConfigurationError("the token holds a blank, a line end or a character outside ASCII; pass it alone")
        self._value = value

    def reveal(self) -> str:
        """The token itself."""
        return str(self._value)

    def redact(self, text: str) -> str:
        """The text with every copy of the token masked."""
        return text.replace(self.reveal(), "[token]")

    def __repr__(self) -> str:
        return "Token(***)"

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        raise TypeError(_NO_PICKLE)


class SecretText(str):
    """The token as text: what prints local variables, as crash reporters do, does not see it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<secret text>"

    def __reduce_ex__(self, _: SupportsIndex) -> NoReturn:
        raise TypeError(_NO_PICKLE)


class SecretBytes(bytes):
    """Bytes that hold the token; they print as their length."""

    def __repr__(self) -> str:
        return f"<{len(self)} secret bytes>"

    __str__ = __repr__

    def __reduce_ex__(self, _: SupportsIndex) -> NoReturn:
        raise TypeError(_NO_PICKLE)
