"""Passwords of databases on a command line, where every user of the machine could read them."""

from __future__ import annotations

from collections.abc import Iterable

from profile_history.errors import ConfigurationError


def check_words(words: Iterable[str]) -> None:
    """Return if no word of a command line holds the password of a database.

    This comes before anything else reads the words, and could repeat them in a message.

    Args:
        words: The words.

    Raises:
        ConfigurationError: One of them does, or may do so.
    """
    values = [word.partition("=")[2] if word.startswith("--") else word for word in words]
    suspicious = [value for value in values if "@" in value or "=" in value]
    if not suspicious:
        return
    from profile_history.sinks.postgres_address import holds_secret

    if any(map(holds_secret, suspicious)):
        raise ConfigurationError(
            "an address with a password is refused on the command line, where others could read it; leave the "
            "password out and set PGPASSWORD, or put it into ~/.pgpass or a service file of PostgreSQL (an @ "
            "elsewhere in an address is written %40)"
        )
