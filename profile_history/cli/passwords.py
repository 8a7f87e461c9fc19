"""Passwords of databases and proxies on a command line, where every user of the machine could read them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from profile_history.errors import ConfigurationError

_PROXY = "--proxy"
_SCHEME = re.compile(r"^([a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)


def check_words(words: Sequence[str]) -> None:
    """Return if no word of a command line holds the password of a database or a proxy.

    This comes before anything else reads the words, and could repeat them in a message.

    Args:
        words: The words.

    Raises:
        ConfigurationError: One of them does, or may do so.
    """
    _check_proxy(words)
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


def _check_proxy(words: Sequence[str]) -> None:
    proxies = [value for word, value in pairwise(words) if word == _PROXY]
    proxies += [word.partition("=")[2] for word in words if word.startswith(f"{_PROXY}=")]
    # What stands before the last @, without the scheme.
    users = [_SCHEME.sub("", proxy.rpartition("@")[0]) for proxy in proxies]
    if any(":" in user or "/" in user for user in users):
        raise ConfigurationError(
            "a proxy with a password is refused on the command line, where others could read it; leave out --proxy "
            "and set PROFILE_HISTORY_PROXY to its URL"
        )
