"""The ledger's file: a SQLite database that outlives a crash of the process and of the machine."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from profile_history.errors import HistoryError
from profile_history.jobs.plan import SCHEMA_VERSION

_APPLICATION = 0x50484A31

# Days are counted from 1970-01-01. The view is for people who look into it with `sqlite3`.
_TABLES = """
CREATE TABLE job (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE profiles (ordinal INTEGER PRIMARY KEY, profile TEXT NOT NULL);
CREATE TABLE units (
    number INTEGER PRIMARY KEY,
    profile INTEGER NOT NULL,
    date_from INTEGER NOT NULL,
    date_to INTEGER NOT NULL,
    status INTEGER NOT NULL,
    rows INTEGER NOT NULL DEFAULT 0,
    batch INTEGER,
    place INTEGER,
    attempts INTEGER NOT NULL DEFAULT 0,
    reason TEXT
);
CREATE TABLE parts (
    name TEXT NOT NULL,
    "offset" INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    size INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    checksum TEXT NOT NULL,
    PRIMARY KEY (name, "offset")
) WITHOUT ROWID;
CREATE TABLE dead (unit INTEGER, batch INTEGER, place INTEGER, rows INTEGER);
CREATE INDEX dead_by_place ON dead (batch, place);
CREATE TABLE quarantine (unit INTEGER NOT NULL, reason TEXT NOT NULL, raw BLOB NOT NULL);
CREATE INDEX quarantine_by_unit ON quarantine (unit);
CREATE TABLE rejects (line INTEGER NOT NULL, reason TEXT NOT NULL, text TEXT NOT NULL);
CREATE VIEW unit AS
    SELECT units.number, profiles.profile, date(date_from * 86400, 'unixepoch') AS date_from,
        date(date_to * 86400, 'unixepoch') AS date_to,
        CASE status WHEN 0 THEN 'pending' WHEN 1 THEN 'done' WHEN 2 THEN 'empty' WHEN 3 THEN 'failed'
            ELSE 'provisional' END AS status,
        rows, batch, attempts, reason
    FROM units JOIN profiles ON profiles.ordinal = units.profile;
"""

# Made when all units are planned: one at a time costs more.
INDEXES = """
CREATE INDEX IF NOT EXISTS pending ON units (number) WHERE status = 0;
CREATE INDEX IF NOT EXISTS failed ON units (number) WHERE status = 3;
CREATE INDEX IF NOT EXISTS provisional ON units (profile) WHERE status = 4;
"""


def draft_of(ledger: Path) -> Path:
    """Where a ledger is until all of its units are planned."""
    return ledger.with_name(f"{ledger.name}.planning")


class LedgerError(HistoryError):
    """A ledger cannot be read or written; the message says what to do."""

    fatal = True


def connect(path: Path, *, new: bool) -> sqlite3.Connection:
    """Opens a ledger; a commit is on the disk when it returns.

    Args:
        path: Its file.
        new: Whether to make it.

    Raises:
        LedgerError: It is no ledger, of a newer version, or damaged.
    """
    if new:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    address = f"file:{_quoted(path)}?mode=rw"
    connection = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)
    try:
        _set_up(connection, path, new=new)
    except BaseException:
        connection.close()
        raise
    return connection


def _set_up(connection: sqlite3.Connection, path: Path, *, new: bool) -> None:
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        if application != _APPLICATION and not new:
            # Before anything is changed: it may be somebody's database.
            raise LedgerError(f"{path} is no ledger of a job; name the ledger, or the sink beside which it stands")
        # The order of the two matters: with FULL a commit in WAL mode waits for the disk (sqlite.org/pragma.html).
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cache_size = -32768")
        if new:
            versions = f"PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = {SCHEMA_VERSION};"
            connection.executescript(f"BEGIN; {versions} {_TABLES} COMMIT;")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.Error as error:
        raise failure(path, error) from None
    if version > SCHEMA_VERSION:
        raise LedgerError(
            f"the ledger {path} is of version {version}, and this program knows up to {SCHEMA_VERSION}; "
            "upgrade profile-history"
        )


def failure(path: Path, error: sqlite3.Error) -> LedgerError:
    """What SQLite says, with what to do."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith("SQLITE_NOTADB"):
        return LedgerError(
            f"{path} is no ledger of a job, or damaged; name the ledger, or the sink beside which it stands"
        )
    if name.startswith("SQLITE_CORRUPT"):
        return LedgerError(
            f"the ledger {path} is damaged ({error}); restore it and its sink from a backup, or begin a new job "
            "elsewhere"
        )
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN")):
        return LedgerError(f"the ledger {path} cannot be read or written ({error}); free the disk, and run `resume`")
    return LedgerError(f"the ledger {path} cannot be used ({error})")


def _quoted(path: Path) -> str:
    return str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
