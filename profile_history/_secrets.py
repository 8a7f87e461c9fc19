"""Values that never show themselves: the token, and the bytes that carry it. No I/O."""

from __future__ import annotations

from typing import Any, NoReturn, SupportsIndex

from profile_history.errors import ConfigurationError

_NO_PICKLE = "a token is not pickled; let the other process read it from its own environment"


class Token:
    """The API token. Only `reveal` gives it away; it can be neither printed nor pickled.

    Attributes:
        generation: How often the token was replaced by a newer one.
    """

    __slots__ = ("_former", "_value", "generation")

    def __init__(self, value: str) -> None:
        if not isinstance(value, str) or not value:
            raise ConfigurationError("the token is empty; pass token=, or set PROFILE_HISTORY_TOKEN(_FILE)")
        if not fits_a_header(value):
            raise ConfigurationError("the token holds a blank, a line end or a character outside ASCII; pass it alone")
        self._value = value
        self._former: tuple[str, ...] = ()
        self.generation: int = 0

    def reveal(self) -> str:
        """Return the token itself."""
        return str(self._value)

    def redact(self, text: str) -> str:
        """Return the text with every copy of the token masked, of those that it has replaced, and of other secrets.

        A server may still quote one that was sent before.
        """
        for value in sorted((self._value, *self._former), key=len, reverse=True):
            text = text.replace(str(value), "[token]")
        return text

    def redact_also(self, secret: SecretText) -> None:
        """Mask another secret that is sent with the token, as a proxy of plain http may quote it."""
        self._former = (*self._former, secret)

    def replace(self, value: SecretText) -> None:
        """Go on with another token; the same one changes nothing."""
        if value != self._value:
            self._former = (*self._former, self._value)
            self._value = value
            self.generation += 1

    async def renew(self, generation: int) -> bool:
        """Return whether there is a newer token than that of a generation; one that was passed never changes."""
        return generation != self.generation

    def __repr__(self) -> str:
        return "Token(***)"

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        raise TypeError(_NO_PICKLE)


def fits_a_header(token: str) -> bool:
    """Return whether a token can be sent: ASCII without blanks, line ends and control characters."""
    return token.isascii() and token.isprintable() and " " not in token


class SecretText(str):
    """The token as text: what prints local variables, as crash reporters do, does not see it, nor its beginning."""

    __slots__ = ()

    def __getitem__(self, key: SupportsIndex | slice, /) -> SecretText:
        return SecretText(super().__getitem__(key))

    def __repr__(self) -> str:
        return "<secret text>"

    def __reduce_ex__(self, _: SupportsIndex) -> NoReturn:
        raise TypeError(_NO_PICKLE)


class SecretBytes(bytes):
    """Bytes that hold the token; they print as their length, and so does what is cut off them, as rich does."""

    def __getitem__(self, key: SupportsIndex | slice, /) -> Any:
        part = super().__getitem__(key)
        return SecretBytes(part) if isinstance(part, bytes) else part

    def __repr__(self) -> str:
        return f"<{len(self)} secret bytes>"

    __str__ = __repr__

    def __reduce_ex__(self, _: SupportsIndex) -> NoReturn:
        raise TypeError(_NO_PICKLE)
