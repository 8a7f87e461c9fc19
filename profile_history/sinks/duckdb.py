"""A table in a DuckDB file; it needs the extra `duckdb`."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs

from profile_history._extras import missing_extra

try:
    import duckdb
    import pyarrow as pa
except ModuleNotFoundError as _error:
    raise missing_extra("DuckDB needs duckdb and pyarrow", "duckdb") from _error

from profile_history.errors import ConfigurationError, UsageError
from profile_history.sinks.arrow_table import ROW
from profile_history.sinks.base import LedgerView, Receipt, SinkError
from profile_history.sinks.batch import SinkBatch
from profile_history.sinks.disk import lock_beside, sync_directory
from profile_history.sinks.lock import JobHeld
from profile_history.sinks.row_text import READ_COLUMNS
from profile_history.sinks.sql_tables import (
    COLUMNS,
    JOB_COLUMNS,
    NEW_COLUMNS,
    NEW_JOB_COLUMNS,
    JobTables,
    Owner,
    check_counts,
    job_table,
    job_values,
)
from profile_history.sinks.transactional import DroppableSink

_NAMES = ", ".join(f'"{name}"' for name in COLUMNS)
_INCOMING, _REPLACED = "profile_history_incoming", "profile_history_replaced"
_HOLDER = re.compile(r"lock is held .*\(PID (\d+)\)")
# Rows that are read at once: some megabytes.
_ROWS_AT_ONCE = 10_000


def _to_absolute(path: str | os.PathLike[str]) -> Path:
    return Path(path).absolute()


@attrs.define(eq=False)
class DuckDBSink(DroppableSink):
    """A table in a DuckDB file, which nobody else can open while the job runs.

    A batch is one transaction. DuckDB syncs its log before a commit returns (so does the system call trace of version
    2.0 say), but not the directory that the log was made in; this sink does that. So what was committed outlives the
    process and, on disks that keep what they confirm, a loss of power. The setting `fsync_mode` must stay as it is.

    Any row can be held: text may have the character 0, and numbers the edges of 64 bits.

        >>> from profile_history.sinks.duckdb import DuckDBSink
        >>> DuckDBSink("/data/crm.duckdb", table="history").url
        '/data/crm.duckdb?table=history'

    Attributes:
        path: The file; it is made if it is not there.
        table: The table of the rows. `<table>_job` says whose it is.
        url: Both as text.
    """

    path: Path = attrs.field(converter=_to_absolute)
    table: str = "history"
    _connection: duckdb.DuckDBPyConnection | None = attrs.field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._job_table = job_table(self.table)
        self.url: str = f"{self.path.as_posix()}?table={quote(self.table)}"

    @property
    def lock_path(self) -> Path:
        """Return the file that one job at a time holds locked: beside the database, wherever links to it are."""
        return lock_beside(self.path.resolve())

    def open(self, ledger: LedgerView, *, new: bool) -> int:  # noqa: ARG002 (the tables themselves tell)
        """Open the file, and make the tables if they are not there.

        Args:
            ledger: What the ledger tells.
            new: Of no concern here: the tables themselves tell.

        Returns:
            The number of the last batch in the table.

        Raises:
            ConfigurationError: The table is there and is not this job's, or the path is no file. Nothing was written.
            JobHeld: Another process has the file open.
            SinkError: The file cannot be opened.
        """
        if self.path.exists() and not self.path.is_file():
            raise ConfigurationError(f"{self.path} is no regular file; name another one")
        return self._open(ledger, read_only=False)

    def open_to_read(self, ledger: LedgerView) -> int:
        """Open the file for `verify` alone, and return the number of the last batch; nothing is written."""
        if not self.path.exists():
            raise ConfigurationError(f"{self.path} is gone; bring it back, or begin a new job")
        return self._open(ledger, read_only=True)

    def _open(self, ledger: LedgerView, *, read_only: bool) -> int:
        with self._opening():
            self._connection = duckdb.connect(str(self.path), read_only=read_only)
            found = self._find_tables()
            last = found.admit(ledger)
            if not read_only:
                self._make_tables(found, last, ledger)
        self._view, self._last = ledger, last or 0
        return self._last

    def _make_tables(self, found: JobTables, last: int | None, ledger: LedgerView) -> None:
        """Make the tables, or give them the columns that they lack, and write down where the ledger is."""
        table, jobs = _quote(self.table), _quote(self._job_table)
        values = job_values(ledger)
        with self._transaction() as connection:
            if last is None:
                connection.execute(f"CREATE TABLE {table} ({_define(COLUMNS)})")
                connection.execute(f"CREATE TABLE {jobs} ({_define(JOB_COLUMNS)})")
                marks = ", ".join("?" * len(values))
                connection.execute(f"INSERT INTO {jobs} ({', '.join(values)}) VALUES ({marks})", [*values.values()])
            if found.is_older:
                for name, new in ((table, NEW_COLUMNS), (jobs, NEW_JOB_COLUMNS)):
                    for column, kind in new.items():
                        connection.execute(f'ALTER TABLE {name} ADD COLUMN IF NOT EXISTS "{column}" {kind}')
            said = "layout = ?, ledger = ?, host = ?"
            known = "layout = ? AND ledger IS NOT DISTINCT FROM ? AND host IS NOT DISTINCT FROM ?"
            mine = [values["layout"], values["ledger"], values["host"]]
            connection.execute(f"UPDATE {jobs} SET {said} WHERE NOT ({known})", [*mine, *mine])

    def write(self, batch: SinkBatch) -> Receipt:
        """Replace and add rows, and note the number of the batch, in one transaction.

        Raises:
            SinkError: It cannot be written, or the rows that it replaces are not those that the ledger knows; nothing
                of it is there, or all of it if the disk failed in the very end.
        """
        # As a table, since a list of a million numbers in the statement would be parsed number by number.
        replaced = pa.table({"unit": pa.array([stored.unit for stored in batch.replaced], pa.int64())})
        table = _quote(self.table)
        inserted = 0
        with self._transaction() as connection:
            if batch.replaced:
                with _register(connection, _REPLACED, replaced):
                    connection.execute(f"DELETE FROM {table} WHERE unit IN (SELECT unit FROM {_REPLACED})")
            if batch.units:
                with _register(connection, _INCOMING, batch.table):
                    query = f"INSERT INTO {table} ({_NAMES}) SELECT {_NAMES} FROM {_INCOMING}"
                    ((inserted,),) = connection.execute(query).fetchall()
            check_counts(self.url, batch, inserted=inserted)
            self._note(connection, batch.number)
        self._last = batch.number
        return Receipt()

    def finish(self) -> Receipt | None:
        """Write the log into the file, so that the file can be copied as it is.

        Raises:
            SinkError: It cannot be written.
        """
        with self._failing():
            self._connected().execute("CHECKPOINT")
        return None

    def close(self) -> None:
        """Close the file; safe to call twice."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connect(self) -> bool:
        if not self.path.exists():
            return False
        self._connection = duckdb.connect(str(self.path))
        return True

    def _find_tables(self) -> JobTables:
        with self._failing():
            connection = self._connected()
            found = connection.execute(
                "SELECT lower(table_name) FROM information_schema.tables"
                " WHERE table_catalog = current_database() AND table_schema = current_schema()"
            ).fetchall()
            owners = None
            if (self._job_table.lower(),) in found:
                rows = connection.execute(f"SELECT * FROM {_quote(self._job_table)} LIMIT 2")
                names = [column[0] for column in rows.description]
                owners = [Owner.of(names, row) for row in rows.fetchall()]
        return JobTables(f"the table {self.table} in {self.path}", (self.table.lower(),) in found, owners)

    def _drop_tables(self) -> None:
        with self._transaction() as connection:
            for table in (self.table, self._job_table):
                connection.execute(f"DROP TABLE IF EXISTS {_quote(table)}")

    def _note(self, connection: duckdb.DuckDBPyConnection, number: int) -> None:
        # Only from the batch before: another process that wrote in between changes it, and then nothing is written.
        noted = connection.execute(
            f"UPDATE {_quote(self._job_table)} SET last_batch = ? WHERE last_batch = ? RETURNING last_batch",
            [number, self._last],
        ).fetchall()
        if len(noted) != 1:
            raise SinkError(
                f"{self.path}: the table {self._job_table} was changed by somebody else; nothing was written"
            )

    def _read_tables(self) -> Generator[pa.Table]:
        cursor = self._connected().cursor()
        there = {name for name, *_ in cursor.execute(f"DESCRIBE {_quote(self.table)}").fetchall()}
        names = [name for name in READ_COLUMNS if name in there or name != ROW.name]
        found: Any = cursor.sql(f"SELECT {', '.join(map(_quote, names))} FROM {_quote(self.table)}")
        # Versions before 1.4 have it by the other name, which is gone in 2.0.
        reader = getattr(found, "to_arrow_reader", None) or found.fetch_arrow_reader
        for batch in reader(_ROWS_AT_ONCE):
            yield pa.Table.from_batches([batch])

    def _count_rows(self) -> Generator[tuple[int, int]]:
        cursor = self._connected().cursor()
        cursor.execute(f"SELECT unit, count(*) FROM {_quote(self.table)} GROUP BY unit")
        while some := cursor.fetchmany(_ROWS_AT_ONCE):
            yield from some

    def _connected(self) -> duckdb.DuckDBPyConnection:
        if self._connection is None:
            raise UsageError(f"{self.path} is not open")
        return self._connection

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Keep all changes of a block for good, or none of them.

        Yields:
            The connection.
        """
        connection = self._connected()
        with self._failing():
            connection.begin()
            try:
                yield connection
                connection.commit()
            except BaseException:
                # After a commit that failed there is nothing to roll back.
                with contextlib.suppress(duckdb.Error):
                    connection.rollback()
                raise
            # The log may be a new file, whose name a loss of power would take, and the commit with it. A directory that
            # may be written to, but not opened, is left as it is.
            with contextlib.suppress(PermissionError):
                sync_directory(self.path.parent)

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except (duckdb.Error, OSError) as error:
            words = str(error)
            if holder := _HOLDER.search(words):
                raise JobHeld(
                    f"{self.path} is open in another process (PID {holder[1]}): stop it or let it end, then resume",
                    int(holder[1]),
                ) from error
            failed = SinkError(f"{self.path}: {words}")
            # In other words than DuckDB's of today, the lock of another process would come here too.
            failed.hint = (
                "see that the disk has space, the file can be written and no other process has it open, "
                "then resume the job"
            )
            raise failed from error


@contextlib.contextmanager
def _register(connection: duckdb.DuckDBPyConnection, name: str, table: Any) -> Iterator[None]:
    connection.register(name, table)
    try:
        yield
    finally:
        connection.unregister(name)


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _define(types: dict[str, str]) -> str:
    return ", ".join(f'"{name}" {kind}{" NOT NULL" if name == "unit" else ""}' for name, kind in types.items())
