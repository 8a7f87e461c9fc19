"""A table in a DuckDB file; it needs the extra `duckdb`."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs

from profile_history._extras import missing_extra

try:
    import duckdb
    import pyarrow as pa
except ModuleNotFoundError as error:
    raise missing_extra("DuckDB needs duckdb and pyarrow", "duckdb") from error

from profile_history.errors import ConfigurationError, UsageError
from profile_history.sinks.arrow_table import ROW, UNIT
from profile_history.sinks.base import LedgerView, Receipt, RowFormat, SinkError
from profile_history.sinks.batch import SinkBatch
from profile_history.sinks.checksums import Tally, digests_of, unit_checksums
from profile_history.sinks.disk import lock_beside, sync
from profile_history.sinks.lock import JobHeld
from profile_history.sinks.old_names import OldSinkNames
from profile_history.sinks.row_text import READ_COLUMNS, lines_of
from profile_history.sinks.sql_tables import (
    COLUMNS,
    JOB_COLUMNS,
    NEW_COLUMNS,
    NEW_JOB_COLUMNS,
    Owner,
    Place,
    check_counts,
    job_table,
    job_values,
)
from profile_history.sinks.unit_rows import Refused

_NAMES = ", ".join(f'"{name}"' for name in COLUMNS)
_INCOMING, _REPLACED = "profile_history_incoming", "profile_history_replaced"
_HOLDER = re.compile(r"lock is held .*\(PID (\d+)\)")
_AT_ONCE = 10_000


def _absolute(path: str | os.PathLike[str]) -> Path:
    return Path(path).absolute()


@attrs.define(eq=False)
class DuckDBSink(OldSinkNames):
    """A table in a DuckDB file, which nobody else can open while the job runs.

    A batch is one transaction. DuckDB syncs its log before a commit returns (so does the system call trace of version
    2.0 say), but not the directory that the log was made in; this sink does that. So what was committed outlives the
    process and, on disks that keep what they confirm, a loss of power. The setting `fsync_mode` must stay as it is.

    Any row can be held: text may have the character 0, and numbers the edges of 64 bits.

    Attributes:
        path: The file; it is made when it is not there.
        table: The table of the rows. `<table>_job` says whose it is.
        url: Both as text.
    """

    path: Path = attrs.field(converter=_absolute)
    table: str = "history"
    url: str = attrs.field(init=False)
    row_format: RowFormat = attrs.field(default="arrow", init=False)
    transactional: bool = attrs.field(default=True, init=False)
    compacts_on_finish: bool = attrs.field(default=False, init=False)
    _job_table: str = attrs.field(init=False)
    _connection: duckdb.DuckDBPyConnection | None = attrs.field(default=None, init=False, repr=False)
    _ledger: LedgerView | None = attrs.field(default=None, init=False, repr=False)
    _last: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._job_table = job_table(self.table)
        self.url = f"{self.path.as_posix()}?table={quote(self.table)}"

    @property
    def lock_path(self) -> Path:
        """The file that one job at a time holds locked: beside the database, wherever links to it are."""
        return lock_beside(self.path.resolve())

    def open(self, ledger: LedgerView, *, new: bool) -> int:  # noqa: ARG002 (the tables themselves tell)
        """Opens the file, and makes the tables where there are none.

        Raises:
            ConfigurationError: The table is there and is not this job's, or the path is no file. Nothing was written.
            JobHeld: Another process has the file open.
            SinkError: The file cannot be opened.
        """
        if self.path.exists() and not self.path.is_file():
            raise ConfigurationError(f"{self.path} is no regular file; name another one")
        return self._open(ledger, read_only=False)

    def open_to_read(self, ledger: LedgerView) -> int:
        """See `Sink`: nothing is written."""
        if not self.path.exists():
            raise ConfigurationError(f"{self.path} is gone; bring it back, or begin a new job")
        return self._open(ledger, read_only=True)

    def _open(self, ledger: LedgerView, *, read_only: bool) -> int:
        with self._failing():
            self._connection = duckdb.connect(str(self.path), read_only=read_only)
        try:
            place = self._place()
            last = place.admit(ledger)
            if not read_only:
                self._make_tables(place, last, ledger)
        except BaseException:
            self.close()
            raise
        self._ledger, self._last = ledger, last or 0
        return self._last

    def _make_tables(self, place: Place, last: int | None, ledger: LedgerView) -> None:
        """Make the tables, or give them the columns that they lack, and say where the ledger is."""
        table, jobs = _quoted(self.table), _quoted(self._job_table)
        values = job_values(ledger)
        with self._transaction() as connection:
            if last is None:
                connection.execute(f"CREATE TABLE {table} ({_columns(COLUMNS)})")
                connection.execute(f"CREATE TABLE {jobs} ({_columns(JOB_COLUMNS)})")
                marks = ", ".join("?" * len(values))
                connection.execute(f"INSERT INTO {jobs} ({', '.join(values)}) VALUES ({marks})", [*values.values()])
            if place.is_older:
                for name, new in ((table, NEW_COLUMNS), (jobs, NEW_JOB_COLUMNS)):
                    for column, kind in new.items():
                        connection.execute(f'ALTER TABLE {name} ADD COLUMN IF NOT EXISTS "{column}" {kind}')
            said = "layout = ?, ledger = ?, host = ?"
            known = "layout = ? AND ledger IS NOT DISTINCT FROM ? AND host IS NOT DISTINCT FROM ?"
            mine = [values["layout"], values["ledger"], values["host"]]
            connection.execute(f"UPDATE {jobs} SET {said} WHERE NOT ({known})", [*mine, *mine])

    def check(self, batch: SinkBatch) -> list[Refused]:  # noqa: ARG002 (any row will do)
        """Nothing: DuckDB holds whatever the Arrow lane brings."""
        return []

    def checksums(self, batch: SinkBatch) -> dict[int, int]:
        """See `Sink`: of the values in the columns."""
        return unit_checksums(batch.units, lines_of(batch.table))

    def write(self, batch: SinkBatch) -> Receipt:
        """Replaces and adds rows, and notes the number of the batch, in one transaction.

        Raises:
            SinkError: It cannot be written, or the rows that it replaces are not those that the ledger knows; nothing
                of it is there, or all of it when the disk failed in the very end.
        """
        replaced = pa.table({"unit": pa.array([stored.unit for stored in batch.replaced], pa.int64())})
        table = _quoted(self.table)
        inserted = 0
        with self._transaction() as connection:
            if batch.replaced:
                with _registered(connection, _REPLACED, replaced):
                    connection.execute(f"DELETE FROM {table} WHERE unit IN (SELECT unit FROM {_REPLACED})")
            if batch.units:
                with _registered(connection, _INCOMING, batch.table):
                    query = f"INSERT INTO {table} ({_NAMES}) SELECT {_NAMES} FROM {_INCOMING}"
                    ((inserted,),) = connection.execute(query).fetchall()
            check_counts(self.url, batch, inserted=inserted)
            self._note(connection, batch.number)
        self._last = batch.number
        return Receipt()

    def finish(self) -> None:
        """Writes the log into the file, so that the file can be copied as it is.

        Raises:
            SinkError: It cannot be written.
        """
        with self._failing():
            self._connected().execute("CHECKPOINT")

    def publish(self, receipt: Receipt) -> None:
        """Nothing: every batch is in its place at once."""

    def drop(self, receipt: Receipt) -> None:
        """Nothing: there are no files to delete."""

    def verify(self) -> Iterator[str]:
        """Read the rows of each unit, and say in one sentence each what differs from the ledger.

        Raises:
            SinkError: The file cannot be read.
        """
        assert self._ledger is not None
        tally = Tally(self._ledger)
        with self._failing():
            if tally.knows_content:
                self._compare(tally)
            else:
                for unit, rows in self._counted():
                    tally.count(unit, rows)
        yield from tally.differences()

    def discard(self, ledger: LedgerView, publishing: Receipt | None) -> None:  # noqa: ARG002 (there are no files to publish)
        """Drop the tables of a job.

        Args:
            ledger: What the ledger tells.
            publishing: Of no concern here.

        Raises:
            ConfigurationError: They are another job's, or nobody's. Nothing was deleted.
            SinkError: The file cannot be opened or written.
        """
        if not self.path.exists():
            return
        with self._failing():
            self._connection = duckdb.connect(str(self.path))
        try:
            found = self._place()
            found.check_owner(ledger)
            with self._transaction() as connection:
                for table in (self.table, self._job_table):
                    connection.execute(f"DROP TABLE IF EXISTS {_quoted(table)}")
        finally:
            self.close()

    def close(self) -> None:
        """Closes the file; again is harmless."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _place(self) -> Place:
        with self._failing():
            connection = self._connected()
            found = connection.execute(
                "SELECT lower(table_name) FROM information_schema.tables"
                " WHERE table_catalog = current_database() AND table_schema = current_schema()"
            ).fetchall()
            owners = None
            if (self._job_table.lower(),) in found:
                rows = connection.execute(f"SELECT * FROM {_quoted(self._job_table)} LIMIT 2")
                names = [column[0] for column in rows.description]
                owners = [Owner.of(names, row) for row in rows.fetchall()]
        return Place(f"the table {self.table} in {self.path}", (self.table.lower(),) in found, owners)

    def _note(self, connection: duckdb.DuckDBPyConnection, number: int) -> None:
        noted = connection.execute(
            f"UPDATE {_quoted(self._job_table)} SET last_batch = ? WHERE last_batch = ? RETURNING last_batch",
            [number, self._last],
        ).fetchall()
        if len(noted) != 1:
            raise SinkError(
                f"{self.path}: the table {self._job_table} was changed by somebody else; nothing was written"
            )

    def _compare(self, tally: Tally) -> None:
        assert self._ledger is not None
        cursor = self._connected().cursor()
        there = {name for name, *_ in cursor.execute(f"DESCRIBE {_quoted(self.table)}").fetchall()}
        names = [name for name in READ_COLUMNS if name in there or name != ROW.name]
        query = f"SELECT {', '.join(map(_quoted, names))} FROM {_quoted(self.table)}"
        found: Any = cursor.sql(query)
        # Versions before 1.4 have it by the other name, which is gone in 2.0.
        reader = getattr(found, "to_arrow_reader", None) or found.fetch_arrow_reader
        for batch in reader(_AT_ONCE):
            self._ledger.check_stop()
            table = pa.Table.from_batches([batch])
            tally.add(table[UNIT.name].to_pylist(), digests_of(lines_of(table)))

    def _counted(self) -> Iterator[tuple[int, int]]:
        cursor = self._connected().cursor()
        cursor.execute(f"SELECT unit, count(*) FROM {_quoted(self.table)} GROUP BY unit")
        while some := cursor.fetchmany(_AT_ONCE):
            yield from some

    def _connected(self) -> duckdb.DuckDBPyConnection:
        if self._connection is None:
            raise UsageError(f"{self.path} is not open")
        return self._connection

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection whose changes are kept for good, or none of them."""
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
            _sync_directory(self.path.parent)

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
def _registered(connection: duckdb.DuckDBPyConnection, name: str, table: Any) -> Iterator[None]:
    connection.register(name, table)
    try:
        yield
    finally:
        connection.unregister(name)


def _sync_directory(path: Path) -> None:
    # Windows lets nobody open a directory.
    with contextlib.suppress(PermissionError):
        handle = os.open(path, os.O_RDONLY)
        try:
            sync(handle)
        finally:
            os.close(handle)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _columns(types: dict[str, str]) -> str:
    return ", ".join(f'"{name}" {kind}{" NOT NULL" if name == "unit" else ""}' for name, kind in types.items())
