"""A connection to PostgreSQL that holds the lock of one table; it needs the extra `postgres`."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import socket
from collections.abc import Mapping
from typing import Any

import attrs
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from profile_history._secrets import SecretText
from profile_history.errors import ConfigurationError, UsageError
from profile_history.sinks.postgres_address import ServerAddress
from profile_history.sinks.postgres_settings import WRITING, apply_settings

_Connection = psycopg.Connection[tuple[Any, ...]]

# Where the address says nothing of it: how soon a network is noticed that has gone silent, in seconds and milliseconds.
_WATCH = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
# How soon the server stops working for a process that died, in milliseconds.
_ABANDONED = "250"
# The states of errors with which the server ends a connection (its manual, appendix A): connection exceptions, operator
# intervention, and a transaction that was idle for too long.
_LAST_WORDS = ("08", "57P", "25P03")

_APPLICATION = re.compile(r"profile-history \(process (\d+) ")
# Of the 63 bytes that the server keeps of a name, the rest is ours.
_LONGEST_HOST = 25

_DURABLE = """
    SELECT set_config(name, 'on', false) FROM pg_settings WHERE name = 'synchronous_commit' AND setting = 'off'
"""
_SCHEMA = """
    SELECT coalesce(
        (SELECT nspname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE pg_class.oid = to_regclass(%s)),
        current_schema(), 'public')
"""
_HOLDER = """
    SELECT pid, application_name FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND classid::bigint = %s AND objid::bigint = %s
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class LockTaken(Exception):
    """Another connection has the lock of the table; the message says which.

    Attributes:
        pid: The process at its other end if it is one of ours, else `None`.
    """

    def __init__(self, message: str, pid: int | None = None) -> None:
        super().__init__(message)
        self.pid = pid


@attrs.define(eq=False)
class Session:
    """A connection that holds the lock of one table.

    The lock belongs to the server's session, and the server lets go of it when it has done with the last transaction,
    whatever has become of the client. So who has the lock sees all that its predecessor has committed or ever will.
    It takes the server itself, or a pooler that keeps sessions apart.

    Attributes:
        conninfo: How to reach the server.
        schema: Where the table is; `None` for where the server looks for it, until that is known.
        table: The table.
    """

    conninfo: str = attrs.field(repr=False)
    schema: str | None
    table: str
    _connection: _Connection | None = attrs.field(default=None, init=False, repr=False)
    _backend: tuple[Any, ...] | None = attrs.field(default=None, init=False)

    @property
    def connection(self) -> _Connection:
        """Return the connection.

        Raises:
            UsageError: There is none.
        """
        if self._connection is None:
            raise UsageError(f"the table {self.table} is not open")
        return self._connection

    @property
    def connected(self) -> bool:
        """Return whether there is a connection, as far as is known."""
        return self._connection is not None

    def connect(self) -> None:
        """Connect and take the lock, once what is left of an earlier connection of this session is ended.

        Raises:
            LockTaken: Another connection has the lock.
            psycopg.Error: The server cannot be reached, or refuses.
        """
        try:
            self._connection = psycopg.connect(self.conninfo, autocommit=True)
            self._configure(self._connection)
            self._lock(self._connection)
        except BaseException:
            self.close()
            raise

    def connect_to_read(self) -> None:
        """Connect for reading alone, without the lock.

        Raises:
            psycopg.Error: The server cannot be reached, or refuses.
        """
        self._connection = psycopg.connect(self.conninfo, autocommit=True)
        self._configure(self._connection)
        self._connection.execute("SET default_transaction_read_only = on")

    def close(self) -> None:
        """Close the connection, if there is one; the lock goes with it. Safe to call twice."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def is_lost(self, error: psycopg.Error) -> bool:
        """Tell whether an error means that the connection is gone, and another may do better."""
        if self._connection is None:
            return isinstance(error, psycopg.OperationalError)
        return self._connection.closed or (error.sqlstate or "").startswith(_LAST_WORDS)

    def identifier(self, table: str) -> sql.Identifier:
        """Return the name of a table in the schema, quoted."""
        assert self.schema is not None
        return sql.Identifier(self.schema, table)

    def is_there(self, table: str) -> bool:
        """Tell whether there is a table of that name, or something else that takes the name."""
        name = self.identifier(table).as_string(self.connection)
        return self.connection.execute("SELECT to_regclass(%s)", [name]).fetchone() != (None,)

    def _configure(self, connection: _Connection) -> None:
        # A role may have another default. Under SERIALIZABLE a batch could fail for what others only read.
        connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        apply_settings(connection, WRITING)
        connection.execute(_DURABLE)
        # Neither old servers know it, nor those on every system.
        with contextlib.suppress(psycopg.errors.UndefinedObject, psycopg.errors.InvalidParameterValue):
            connection.execute("SELECT set_config('client_connection_check_interval', %s, false)", [_ABANDONED])
        if self.schema is None:
            name = sql.Identifier(self.table).as_string(connection)
            self.schema = str(connection.execute(_SCHEMA, [name]).fetchall()[0][0])

    def _lock(self, connection: _Connection) -> None:
        # The server may still work for the connection that was lost, and hold its lock until it notices. The process id
        # alone could be somebody else's by now; together with the time when it began it is ours.
        if self._backend:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = %s AND backend_start = %s",
                self._backend,
            )
        # Advisory locks have numbers of 64 bits for names. Two tables with the same one would only wait for each other.
        key = hashlib.sha256(f"profile_history {self.schema}.{self.table}".encode()).digest()[:8]
        number = int.from_bytes(key, signed=True)
        if connection.execute("SELECT pg_try_advisory_lock(%s)", [number]).fetchone() != (True,):
            halves = [int.from_bytes(key[:4]), int.from_bytes(key[4:])]
            holders = connection.execute(_HOLDER, halves).fetchall()
            who = ", ".join(f"server process {pid} ({name})" for pid, name in holders) or "somebody who has just gone"
            named = [int(known[1]) for _, name in holders if (known := _APPLICATION.match(name))]
            ledger = self._ledger_of_owner(connection)
            theirs = f" (its ledger is {ledger})" if ledger else ""
            raise LockTaken(f"another job is writing into {self.schema}.{self.table}: {who}{theirs}", *named[:1])
        mine = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
        self._backend = connection.execute(mine).fetchone()

    def _ledger_of_owner(self, connection: _Connection) -> str | None:
        """Return the ledger of the job that has the table, if the table of the job is there and says so."""
        with contextlib.suppress(psycopg.Error):
            name = self.identifier(f"{self.table}_job")
            rows = connection.execute(sql.SQL("SELECT ledger FROM {}").format(name)).fetchall()
            return rows[0][0] if rows else None
        return None


def conninfo(server: ServerAddress, parameters: Mapping[str, str]) -> SecretText:
    """Return how to reach a server, watchfully.

    Args:
        server: Its address.
        parameters: What else libpq is told, but for secrets.

    Raises:
        ConfigurationError: libpq does not know one of the parameters.
    """
    # The server keeps 63 bytes of it.
    name = f"profile-history (process {os.getpid()} on {socket.gethostname()[:_LONGEST_HOST]})"
    known = {"fallback_application_name": name, **_WATCH, **server.settings(), **parameters, "client_encoding": "utf8"}
    made = _make_conninfo(known)
    if made is None:
        raise ConfigurationError(
            f"libpq knows not all parameters of the address {server.url}; they are at "
            "https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS"
        )
    return made


def _make_conninfo(parameters: Mapping[str, Any]) -> SecretText | None:
    try:
        return SecretText(make_conninfo("", **parameters))
    except psycopg.Error:
        return None
