"""Settings of a PostgreSQL session that a role or a database may have changed, and that this package leans on. No I/O.

`ALTER ROLE ... SET` and `ALTER DATABASE ... SET` reach every session, and may be there for other programs: dates
in another style cannot be read back, numbers lose digits, and a limit on the time of statements ends each attempt to
write a large batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

READING: Mapping[str, str] = {
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
}
"""For a session that reads rows of others."""

WRITING: Mapping[str, str] = {
    **READING,
    "default_transaction_read_only": "off",
    "standard_conforming_strings": "on",
}
"""For a session that fills a table. Whoever named the table wants it written to."""

# Old servers do not know all of them.
_SET = """
    SELECT set_config(known.name, wanted.setting, false)
    FROM unnest(%s::text[], %s::text[]) AS wanted (name, setting)
    JOIN pg_catalog.pg_settings AS known ON lower(known.name) = lower(wanted.name)
"""


def apply_settings(connection: Any, settings: Mapping[str, str]) -> None:
    """Give a session these settings, as far as its server knows them.

    Args:
        connection: A connection of psycopg.
        settings: Names and values.
    """
    connection.execute(_SET, [list(settings.keys()), list(settings.values())])
