"""A table in a PostgreSQL database; it needs the extra `postgres`."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any
from urllib.parse import quote

import attrs

from profile_history._extras import missing_extra

try:
    import psycopg
    import pyarrow as pa
    from psycopg import sql
except ModuleNotFoundError as error:
    raise missing_extra("PostgreSQL needs psycopg and pyarrow", "postgres") from error

from profile_history._secrets import SecretText
from profile_history.errors import ConfigurationError, HistoryError
from profile_history.sinks.arrow_table import ROW, UNIT
from profile_history.sinks.base import LedgerView, Receipt, RowFormat, SinkError
from profile_history.sinks.batch import SinkBatch
from profile_history.sinks.checksums import Tally, digests_of, unit_checksums
from profile_history.sinks.lock import JobHeld
from profile_history.sinks.nul_check import with_nul, without_nul
from profile_history.sinks.old_names import OldSinkNames
from profile_history.sinks.postgres_address import ServerAddress, read_address, without_secrets
from profile_history.sinks.postgres_security import find_weakened, join_parameters
from profile_history.sinks.postgres_session import Held, Session, conninfo
from profile_history.sinks.row_text import READ_COLUMNS, lines_of, table_of_rows
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

_NAMES = sql.SQL(", ").join(map(sql.Identifier, COLUMNS))
# Wherever the search path would look first.
_STAGING = sql.Identifier("pg_temp", "profile_history_staging")
_ENCODINGS = ("UTF8", "SQL_ASCII")
# The server cuts longer names off, in bytes.
_LONGEST_NAME = 63
# A predecessor that was killed has the lock until the server has noticed; seconds.
_PREDECESSOR = 1.2
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0
_AT_ONCE = 10_000
_SWALLOWS = "a trigger, a rule or row-level security"


@attrs.define(eq=False)
class PostgresSink(OldSinkNames):
    """A table in a PostgreSQL database, which one job at a time writes to and anybody may read.

    A batch is one transaction, and it is on the server's disk when the commit returns, whatever `synchronous_commit`
    says elsewhere. When the connection is lost, also during a commit, the sink connects again and looks whether the
    batch is there.

    The server holds no text with the character 0: such a text is null in its column, and stands in `extra` as JSON.
    An action goes by its JSON, since every row has one.

    Attributes:
        table: The table of the rows, such as "history" or "crm.history". `<table>_job` says whose it is.
        patience: For how many seconds it tries to get a lost connection back.
        url: The server and the table as text, without the parameters of the address.
        parameters: The parameters of the address but secrets, such as `sslmode`. A job keeps them.
    """

    _address: ServerAddress = attrs.field(repr=False)
    table: str = "history"
    patience: float = 60.0
    _sleep: Callable[[float], None] = attrs.field(default=time.sleep, kw_only=True, repr=False)
    _clock: Callable[[], float] = attrs.field(default=time.monotonic, kw_only=True, repr=False)
    url: str = attrs.field(init=False)
    parameters: Mapping[str, str] = attrs.field(init=False)
    row_format: RowFormat = attrs.field(default="arrow", init=False)
    transactional: bool = attrs.field(default=True, init=False)
    compacts_on_finish: bool = attrs.field(default=False, init=False)
    _session: Session = attrs.field(init=False, repr=False)
    _job_table: str = attrs.field(init=False, repr=False)
    _ledger: LedgerView | None = attrs.field(default=None, init=False, repr=False)
    _last: int = attrs.field(default=0, init=False, repr=False)

    def __init__(self, dsn: str, table: str = "history", patience: float = 60.0, **clock: Any) -> None:
        # What prints local variables, as crash reporters do, does not see it.
        dsn = SecretText(dsn)
        self.__attrs_init__(read_address(dsn), table, patience, **clock)  # type: ignore[attr-defined]

    def __attrs_post_init__(self) -> None:
        schema, _, table = self.table.rpartition(".")
        self._job_table = job_table(table)
        if "%" in self.table:
            raise ConfigurationError(f"the name of the table {self.table} has a percent sign: name another table")
        if len(self._job_table.encode()) > _LONGEST_NAME:
            raise ConfigurationError(
                f"the name of the table {table} is too long: {_LONGEST_NAME - 4} bytes are allowed"
            )
        self.url = f"{self._address.url}?table={quote(self.table)}"
        self.parameters = {}
        self._session = Session(SecretText(""), schema or None, table)
        self.recall({})

    def recall(self, kept: Mapping[str, str]) -> list[str]:
        """Use the parameters again that the job has kept, where the address leaves them out.

        Args:
            kept: What the ledger has kept.

        Returns:
            A sentence for each by which the connection is protected less than before.
        """
        self.parameters = join_parameters(kept, self._address.parameters, os.environ)
        self._session.conninfo = conninfo(self._address, self.parameters)
        return list(find_weakened(kept, self.parameters))

    def open(self, ledger: LedgerView, *, new: bool) -> int:  # noqa: ARG002 (the tables themselves tell)
        """Connects, and makes the tables where there are none.

        Raises:
            ConfigurationError: The table is there and is not this job's. Nothing was written.
            JobHeld: Another job is writing into the table.
            SinkError: The server cannot be reached.
        """
        with self._closing_on_failure():
            self._connect()
            place = self._place()
            last = place.admit(ledger)
            self._make_tables(place, last, ledger)
            self._make_staging()
        self._ledger, self._last = ledger, last or 0
        return self._last

    def open_to_read(self, ledger: LedgerView) -> int:
        """See `Sink`: nothing is written, and no lock is taken."""
        with self._closing_on_failure():
            self._session.connect_to_read()
            last = self._place().admit(ledger)
        self._ledger, self._last = ledger, last or 0
        return self._last

    def _connect(self) -> None:
        pauses = self._pauses(_PREDECESSOR)
        while not self._session.connected:
            try:
                self._session.connect()
            except Held as held:
                self._wait(pauses, _held(held))

    @contextlib.contextmanager
    def _closing_on_failure(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            failed = self._failed(error)
            self.close()
            raise failed from error
        except BaseException:
            self.close()
            raise

    def check(self, batch: SinkBatch) -> list[Refused]:
        """The rows whose profile holds the character 0."""
        return with_nul(batch)

    def checksums(self, batch: SinkBatch) -> dict[int, int]:
        """See `Sink`: of the values in the columns."""
        return unit_checksums(batch.units, lines_of(without_nul(batch.table)))

    def write(self, batch: SinkBatch) -> Receipt:
        """Replaces and adds rows, and notes the number of the batch, in one transaction.

        Raises:
            JobHeld: Another job has taken the table while the connection was lost.
            SinkError: It cannot be written, or the connection stays lost; then all of it may be there or nothing.
        """
        pauses: Iterator[float] | None = None
        while True:
            try:
                if self._session.connected or not self._returned(batch.number):
                    self._commit(batch)
                break
            except (psycopg.Error, Held) as error:
                if isinstance(error, psycopg.Error) and not self._session.is_lost(error):
                    raise self._failed(error) from error
                self._session.close()
                pauses = pauses or self._pauses(self.patience)
                self._wait(pauses, _held(error) if isinstance(error, Held) else self._failed(error))
        self._last = batch.number
        return Receipt()

    def finish(self) -> None:
        """Nothing: every batch is in its place at once."""

    def publish(self, receipt: Receipt) -> None:
        """Nothing, for the same reason."""

    def drop(self, receipt: Receipt) -> None:
        """Nothing: there are no files to delete."""

    def verify(self) -> Iterator[str]:
        """Read the rows of each unit, and say in one sentence each what differs from the ledger.

        Raises:
            SinkError: The table cannot be read.
        """
        assert self._ledger is not None
        tally = Tally(self._ledger)
        try:
            with self._session.connection.transaction():
                if tally.knows_content:
                    self._compare(tally)
                else:
                    for unit, rows in self._selected("unit, count(*)", "GROUP BY unit"):
                        tally.count(unit, rows)
        except psycopg.Error as error:
            raise self._failed(error) from error
        yield from tally.differences()

    def discard(self, ledger: LedgerView, publishing: Receipt | None) -> None:  # noqa: ARG002 (there are no files to publish)
        """Drop the tables of a job.

        Args:
            ledger: What the ledger tells.
            publishing: Of no concern here.

        Raises:
            ConfigurationError: They are another job's, or nobody's. Nothing was deleted.
            SinkError: The server cannot be reached, or another job is writing into the table.
        """
        with self._closing_on_failure():
            self._connect()
            session = self._session
            self._place().check_owner(ledger)
            with session.connection.transaction():
                for table in (session.table, self._job_table):
                    session.connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(session.identifier(table)))
        self.close()

    def close(self) -> None:
        """Closes the connection; again is harmless."""
        self._session.close()

    def _place(self) -> Place:
        session, connection = self._session, self._session.connection
        encoding = connection.info.parameter_status("server_encoding")
        if encoding not in _ENCODINGS:
            raise ConfigurationError(f"the database is encoded in {encoding}, which lacks characters: name one in UTF8")
        owners = None
        if session.is_there(self._job_table):
            query = sql.SQL("SELECT * FROM {} LIMIT 2").format(session.identifier(self._job_table))
            rows = connection.execute(query)
            names = [column.name for column in rows.description or ()]
            owners = [Owner.of(names, row) for row in rows.fetchall()]
        name = f"the table {session.schema}.{session.table}"
        return Place(name, session.is_there(session.table), owners)

    def _make_tables(self, place: Place, last: int | None, ledger: LedgerView) -> None:
        """Make the tables, or give them the columns that they lack, and say where the ledger is."""
        session, connection = self._session, self._session.connection
        table, jobs = session.identifier(session.table), session.identifier(self._job_table)
        values = job_values(ledger)
        with connection.transaction():
            if last is None:
                connection.execute(sql.SQL("CREATE TABLE {} ({})").format(table, _columns(COLUMNS)))
                connection.execute(sql.SQL("CREATE INDEX ON {} (unit)").format(table))
                connection.execute(sql.SQL("CREATE TABLE {} ({})").format(jobs, _columns(JOB_COLUMNS)))
                names = sql.SQL(", ").join(map(sql.Identifier, values))
                marks = sql.SQL(", ").join([sql.Placeholder()] * len(values))
                insert = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(jobs, names, marks)
                connection.execute(insert, [*values.values()])
            if place.is_older:
                for name, new in ((table, NEW_COLUMNS), (jobs, NEW_JOB_COLUMNS)):
                    for column, kind in new.items():
                        query = sql.SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS {} {}")
                        connection.execute(query.format(name, sql.Identifier(column), sql.SQL(kind)))
            mine = [values["layout"], values["ledger"], values["host"]]
            query = sql.SQL(
                "UPDATE {} SET layout = %s, ledger = %s, host = %s"
                " WHERE (layout, ledger, host) IS DISTINCT FROM (%s, %s, %s)"
            )
            connection.execute(query.format(jobs), [*mine, *mine])

    def _make_staging(self) -> None:
        """Makes a table that only this connection sees; batches pass through it, so that a torn one leaves no waste."""
        query = sql.SQL("CREATE TEMP TABLE {} ({}) ON COMMIT DELETE ROWS").format(_STAGING, _columns(COLUMNS))
        self._session.connection.execute(query)

    def _returned(self, number: int) -> bool:
        """Connects again, and says whether a batch is there."""
        self._session.connect()
        self._make_staging()
        jobs = self._session.identifier(self._job_table)
        query = sql.SQL("SELECT FROM {} WHERE job = %s AND last_batch = %s").format(jobs)
        return bool(self._session.connection.execute(query, [self._job, number]).fetchall())

    def _commit(self, batch: SinkBatch) -> None:
        connection, session = self._session.connection, self._session
        table, jobs = session.identifier(session.table), session.identifier(self._job_table)
        replaced = [stored.unit for stored in batch.replaced]
        kept = 0
        with connection.transaction():
            if batch.units:
                self._stage(batch)
            if batch.replaced:
                query = sql.SQL("DELETE FROM {} WHERE unit = ANY(%s)").format(table)
                missing = sum(stored.rows for stored in batch.replaced) - connection.execute(query, [replaced]).rowcount
                kept = self._kept(replaced, missing) if missing else 0
            query = sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {}").format(table, _NAMES, _NAMES, _STAGING)
            said = connection.execute(query).rowcount
            # A rule may have put the rows elsewhere, and a trigger may have deleted them again.
            query = sql.SQL("SELECT count(*) FROM {} WHERE unit = ANY(%s)").format(table)
            units = [*replaced, *(unit.unit for unit in batch.units)]
            ((there,),) = connection.execute(query, [units]).fetchall()
            inserted = said if said != batch.rows else there
            check_counts(self.url, batch, inserted=inserted, kept=kept, swallows=_SWALLOWS)
            query = sql.SQL("UPDATE {} SET last_batch = %s WHERE job = %s AND last_batch = %s").format(jobs)
            if connection.execute(query, [batch.number, self._job, self._last]).rowcount != 1:
                raise SinkError(
                    f"{self.url}: the table {self._job_table} was changed by somebody else; nothing was written"
                )

    def _kept(self, units: list[int], missing: int) -> int:
        """Return how many rows of some units the table did not let go.

        Rows that somebody has deleted or added by hand are none of them: all that is left is to be gone. But rows that
        row-level security hides are not seen, so where that is active those that are missing count.

        Args:
            units: Their numbers.
            missing: How many rows more the ledger counts than were deleted; fewer than 0 if some were added.
        """
        table = self._session.identifier(self._session.table)
        query = sql.SQL("SELECT (SELECT count(*) FROM {} WHERE unit = ANY(%s)), row_security_active(%s)").format(table)
        name = table.as_string(self._session.connection)
        ((there, hidden),) = self._session.connection.execute(query, [units, name]).fetchall()
        return int(there or (max(0, missing) if hidden else 0))

    def _stage(self, batch: SinkBatch) -> None:
        query = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(_STAGING, _NAMES)
        with self._session.connection.cursor() as cursor, cursor.copy(query) as copy:
            copy.set_types(list(COLUMNS.values()))
            for some in batch.table.to_batches(_AT_ONCE):
                for part in without_nul(pa.Table.from_batches([some])).to_batches():
                    for row in zip(*map(_values, part.columns), strict=True):
                        copy.write_row(row)

    def _compare(self, tally: Tally) -> None:
        assert self._ledger is not None
        session = self._session
        query = "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped"
        name = session.identifier(session.table).as_string(session.connection)
        there = {column for (column,) in session.connection.execute(query, [name])}
        names = [name for name in READ_COLUMNS if name in there or name != ROW.name]
        columns = ", ".join(f'"{name}"' for name in names)
        rows = self._selected(columns)
        while some := list(islice(rows, _AT_ONCE)):
            self._ledger.check_stop()
            table = table_of_rows(names, some)
            tally.add(table[UNIT.name].to_pylist(), digests_of(lines_of(table)))

    def _selected(self, what: str, how: str = "") -> Iterator[tuple[Any, ...]]:
        session = self._session
        query = f"SELECT {what} FROM {{}} {how}"
        with session.connection.cursor("profile_history_units") as cursor:
            cursor.itersize = _AT_ONCE
            yield from cursor.execute(sql.SQL(query).format(session.identifier(session.table)))

    @property
    def _job(self) -> str:
        assert self._ledger is not None
        return self._ledger.job

    def _pauses(self, patience: float) -> Iterator[float]:
        deadline, pause = self._clock() + patience, _FIRST_PAUSE
        while (left := deadline - self._clock()) > 0:
            yield min(pause, left)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _wait(self, pauses: Iterator[float], failure: HistoryError) -> None:
        pause = next(pauses, None)
        if pause is None:
            raise failure
        self._sleep(pause)

    def _failed(self, error: Exception) -> SinkError:
        failed = SinkError(f"{self.url}: {' '.join(str(without_secrets(error)).split())}")
        if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
            failed.hint = "the server is a standby, or read only: name one that can be written, or resume the job later"
            return failed
        failed.hint = "see to the server (that it runs, lets you in and has space), then resume the job"
        return failed


def _held(held: Held) -> JobHeld:
    return JobHeld(f"{held}; stop it or let it end, then resume", held.pid)


def _values(column: pa.Array) -> list[Any]:
    if not pa.types.is_dictionary(column.type):
        return list(column.to_pylist())
    # pyarrow makes a new text for each row, which takes ten times as long.
    words = column.dictionary.to_pylist()
    return [None if code is None else words[code] for code in column.indices.to_pylist()]


def _columns(types: dict[str, str]) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("{} {}{}").format(sql.Identifier(name), sql.SQL(kind), sql.SQL(" NOT NULL" if name == "unit" else ""))
        for name, kind in types.items()
    )
