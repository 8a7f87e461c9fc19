"""The ledger's file: a SQLite database that outlives a crash of the process and of the machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from profile_history.errors import HistoryError
from profile_history.jobs.statements import CREATE_VIEW

SCHEMA_VERSION = 2
"""Of the ledger. An older one is upgraded when it is first opened for writing; a newer one is refused."""

_APPLICATION = 0x50484A31
_RESTORE = "restore it and its sink from a backup, or begin a new job elsewhere"
_DRAFT = ".planning"

# Days are counted from 1970-01-01.
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
    reason TEXT,
    checksum INTEGER,
    fetched_at INTEGER
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
"""


def draft_of(ledger: Path) -> Path:
    """Return where a ledger is until all of its units are planned."""
    return ledger.with_name(f"{ledger.name}{_DRAFT}")


def name_of(path: Path) -> str:
    """Return the name that a ledger has when all of its units are planned.

    Args:
        path: Its file, which may be that of its draft.
    """
    return path.name.removesuffix(_DRAFT)


class LedgerError(HistoryError):
    """A ledger cannot be read or written; the message says what to do."""

    fatal = True


def connect(path: Path, *, new: bool) -> sqlite3.Connection:
    """Open a ledger for writing; a commit is on the disk when it returns.

    Args:
        path: Its file.
        new: Whether to make it.

    Raises:
        LedgerError: It is no ledger, of a newer version, or damaged.
    """
    if new:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600))
    with _connecting(path, "mode=rw") as connection:
        if not new:
            # Before anything is changed: it may be somebody's database.
            check_version(connection, path)
        # The order of the two matters: with FULL a commit in WAL mode waits for the disk (sqlite.org/pragma.html).
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        # On macOS, and without effect elsewhere.
        connection.execute("PRAGMA fullfsync = 1")
        connection.execute("PRAGMA cache_size = -32768")
        if new:
            versions = f"PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = {SCHEMA_VERSION};"
            connection.executescript(f"BEGIN; {versions} {_TABLES} {CREATE_VIEW}; COMMIT;")
    return connection


@contextlib.contextmanager
def connect_for_reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a ledger of any version without writing anything, also where nothing can be written.

    SQLite makes files beside a database in WAL mode even to read it. So a ledger that was closed in good order, which
    has no log beside it, is read as a file that nobody changes; one with a log is read where it is if that can be, else
    in a copy.

    Args:
        path: Its file.

    Raises:
        LedgerError: It is no ledger, of a newer version, or damaged.
    """
    log = path.with_name(f"{path.name}-wal")
    with contextlib.ExitStack() as stack:
        if not log.exists():
            options, place = "mode=ro&immutable=1", path
        elif os.access(path.parent, os.W_OK) and os.access(path, os.W_OK):
            options, place = "mode=ro", path
        else:
            with _copying(path):
                directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="profile-history-"))
                options, place = "mode=rw", Path(directory, path.name)
                for source in (path, log):
                    shutil.copyfile(source, place.with_name(source.name))
        with _connecting(place, options) as connection:
            check_version(connection, path)
        try:
            yield connection
        finally:
            connection.close()


def check_version(connection: sqlite3.Connection, path: Path) -> int:
    """Return the version of a ledger.

    Args:
        connection: To its file.
        path: Its file, for messages.

    Raises:
        LedgerError: It is no ledger, or of a newer version.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != _APPLICATION:
        raise LedgerError(f"{path} is no ledger of a job; name the ledger, or the sink beside which it stands")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version < 1:
        raise LedgerError(f"the ledger {path} is damaged: there is no version {version} of ledgers; {_RESTORE}")
    if version > SCHEMA_VERSION:
        raise LedgerError(
            f"the ledger {path} is of version {version}, and this program knows up to {SCHEMA_VERSION}; "
            "upgrade profile-history"
        )
    return int(version)


@contextlib.contextmanager
def _connecting(path: Path, options: str) -> Iterator[sqlite3.Connection]:
    """Connect, and close the connection if anything of the block fails."""
    # Names of files are bytes, and need not be UTF-8.
    address = f"file:{quote(os.fsencode(path.absolute()))}?{options}"
    try:
        connection = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise ledger_error(path, error) from None


@contextlib.contextmanager
def _copying(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LedgerError(f"the ledger {path} cannot be read ({error.strerror})") from None


class PlanningStopped(HistoryError):
    """Work on a ledger was interrupted; the next start does it anew."""


def ledger_error(path: Path, error: sqlite3.Error) -> LedgerError:
    """Return what SQLite says, with what to do.

    Args:
        path: The ledger.
        error: What was raised.
    """
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith("SQLITE_NOTADB"):
        return LedgerError(
            f"{path} is no ledger of a job, or damaged; name the ledger, or the sink beside which it stands"
        )
    if name.startswith("SQLITE_CORRUPT"):
        return LedgerError(f"the ledger {path} is damaged ({error}); {_RESTORE}")
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN")):
        return LedgerError(f"the ledger {path} cannot be read or written ({error}); free the disk, and run `resume`")
    if name == "SQLITE_ERROR" or not name:
        # A table or a column is not there, or text is no UTF-8.
        return LedgerError(f"the ledger {path} is damaged, or was changed by hand ({error}); {_RESTORE}")
    return LedgerError(f"the ledger {path} cannot be used ({error})")
