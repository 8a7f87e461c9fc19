"""Tell what protects a connection to PostgreSQL, and when it does so less than before. No I/O.

A job keeps the parameters of its address, so that a command that names only the job connects as safely as the one that
began it.
"""

from __future__ import annotations

import os.path
from collections.abc import Iterator, Mapping

# From the weakest to the strongest, and what libpq takes where nothing is said.
_ORDERS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "sslmode": (("disable", "allow", "prefer", "require", "verify-ca", "verify-full"), "prefer"),
    "gssencmode": (("disable", "prefer", "require"), "prefer"),
    "channel_binding": (("disable", "prefer", "require"), "prefer"),
    "sslnegotiation": (("postgres", "direct"), "postgres"),
    "ssl_min_protocol_version": (("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"), "TLSv1.2"),
}
_VARIABLES = {
    "PGSSLMODE": "sslmode",
    "PGSSLROOTCERT": "sslrootcert",
    "PGGSSENCMODE": "gssencmode",
    "PGCHANNELBINDING": "channel_binding",
    "PGSSLNEGOTIATION": "sslnegotiation",
    "PGSSLMINPROTOCOLVERSION": "ssl_min_protocol_version",
    "PGREQUIREAUTH": "require_auth",
}
_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl", "sslcrldir", "passfile")
_NO_FILES = ("", "system")


def join_parameters(
    kept: Mapping[str, str], given: Mapping[str, str], environment: Mapping[str, str]
) -> dict[str, str]:
    """Return the parameters that a job connects with from now on.

    What the environment says of security counts as well, or a run without it would be less safe; it never makes a
    connection weaker than it was.

    Args:
        kept: What the ledger has kept.
        given: What the address says now; it takes the place of what was kept.
        environment: The environment, in which libpq finds what an address leaves out.
    """
    result = {**kept, **given}
    for variable, name in _VARIABLES.items():
        value = environment.get(variable)
        if value and name not in given and (name not in kept or is_weaker(name, value, kept[name])):
            result[name] = value
    return {
        name: os.path.abspath(value) if name in _FILES and value not in _NO_FILES else value  # noqa: PTH100 (a text)
        for name, value in result.items()
    }


def find_weakened(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each parameter that protects a connection less than before.

    Args:
        before: The parameters until now.
        after: The parameters from now on.
    """
    for name in (*_ORDERS, "require_auth"):
        usual = _ORDERS[name][1] if name in _ORDERS else ""
        old, new = before.get(name) or usual, after.get(name) or usual
        if is_weaker(name, old, new):
            yield f"the connection to the database is protected less than before: {name} was {old}, and is {new or '-'}"


def is_weaker(name: str, old: str, new: str) -> bool:
    """Return whether a new value of a parameter protects less than the old one.

    Args:
        name: The parameter.
        old: Its value until now.
        new: Its value from now on.
    """
    if name == "require_auth":
        asked, allowed = set(old.split(",")) - {""}, set(new.split(",")) - {""}
        return bool(asked) and (not allowed or (old != new and not _is_stricter(asked, allowed)))
    if name not in _ORDERS:
        return False
    order = _ORDERS[name][0]
    # A value that nobody knows is the server's or the library's to refuse.
    return new in order and old in order and order.index(new) < order.index(old)


def _is_stricter(before: set[str], after: set[str]) -> bool:
    """Return whether no way to authenticate is allowed that was not; names behind `!` are those that are forbidden."""
    forbids = [any(name.startswith("!") for name in names) for names in (before, after)]
    if forbids == [False, False]:
        return after <= before
    return forbids == [True, True] and after >= before
