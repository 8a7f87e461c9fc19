"""The tables of a sink in PostgreSQL, by an open session: what stands in them, and how a batch gets there."""

from __future__ import annotations

from collections.abc import Generator
from itertools import islice
from typing import Any

import attrs
import pyarrow as pa
from psycopg import sql

from profile_history.errors import ConfigurationError
from profile_history.sinks.arrow_table import ROW
from profile_history.sinks.base import LedgerView, SinkError
from profile_history.sinks.batch import SinkBatch
from profile_history.sinks.nul_check import without_nul
from profile_history.sinks.postgres_session import Session
from profile_history.sinks.row_text import READ_COLUMNS, table_of_rows
from profile_history.sinks.sql_tables import (
    COLUMNS,
    JOB_COLUMNS,
    NEW_COLUMNS,
    NEW_JOB_COLUMNS,
    JobTables,
    Owner,
    check_counts,
    job_values,
)

_NAMES = sql.SQL(", ").join(map(sql.Identifier, COLUMNS))
# Wherever the search path would look first.
_STAGING = sql.Identifier("pg_temp", "profile_history_staging")
_COLUMNS_THERE = """
    SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped
"""
_ENCODINGS = ("UTF8", "SQL_ASCII")
# Rows that are sent or read at once: some megabytes.
_ROWS_AT_ONCE = 10_000
_SWALLOWS = "a trigger, a rule or row-level security"


@attrs.define(eq=False)
class PostgresTables:
    """The table of rows and the table of the job in PostgreSQL.

    Attributes:
        session: The session, which names the table of rows.
        job_table: The name of the table of the job.
        url: The table of rows, for messages.
    """

    session: Session
    job_table: str
    url: str

    @property
    def _rows(self) -> sql.Identifier:
        return self.session.identifier(self.session.table)

    @property
    def _jobs(self) -> sql.Identifier:
        return self.session.identifier(self.job_table)

    def find(self) -> JobTables:
        """Return which of the tables are there, and whose they are.

        Raises:
            ConfigurationError: The database cannot hold every character.
        """
        session, connection = self.session, self.session.connection
        encoding = connection.info.parameter_status("server_encoding")
        if encoding not in _ENCODINGS:
            raise ConfigurationError(f"the database is encoded in {encoding}, which lacks characters: name one in UTF8")
        owners = None
        if session.is_there(self.job_table):
            rows = connection.execute(sql.SQL("SELECT * FROM {} LIMIT 2").format(self._jobs))
            names = [column.name for column in rows.description or ()]
            owners = [Owner.of(names, row) for row in rows.fetchall()]
        name = f"the table {session.schema}.{session.table}"
        return JobTables(name, session.is_there(session.table), owners)

    def make(self, ledger: LedgerView, *, are_there: bool, are_older: bool) -> None:
        """Make the tables, or give them the columns that they lack, and write down where the ledger is.

        Args:
            ledger: What the ledger tells.
            are_there: Whether the tables are there.
            are_older: Whether they are of an earlier layout.
        """
        connection = self.session.connection
        values = job_values(ledger)
        with connection.transaction():
            if not are_there:
                connection.execute(sql.SQL("CREATE TABLE {} ({})").format(self._rows, _define(COLUMNS)))
                connection.execute(sql.SQL("CREATE INDEX ON {} (unit)").format(self._rows))
                connection.execute(sql.SQL("CREATE TABLE {} ({})").format(self._jobs, _define(JOB_COLUMNS)))
                names = sql.SQL(", ").join(map(sql.Identifier, values))
                marks = sql.SQL(", ").join([sql.Placeholder()] * len(values))
                insert = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(self._jobs, names, marks)
                connection.execute(insert, [*values.values()])
            if are_older:
                for name, new in ((self._rows, NEW_COLUMNS), (self._jobs, NEW_JOB_COLUMNS)):
                    for column, kind in new.items():
                        query = sql.SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS {} {}")
                        connection.execute(query.format(name, sql.Identifier(column), sql.SQL(kind)))
            mine = [values["layout"], values["ledger"], values["host"]]
            query = sql.SQL(
                "UPDATE {} SET layout = %s, ledger = %s, host = %s"
                " WHERE (layout, ledger, host) IS DISTINCT FROM (%s, %s, %s)"
            )
            connection.execute(query.format(self._jobs), [*mine, *mine])

    def make_staging(self) -> None:
        """Make a table that only this connection sees; batches pass through it, so that a torn one leaves no waste."""
        query = sql.SQL("CREATE TEMP TABLE {} ({}) ON COMMIT DELETE ROWS").format(_STAGING, _define(COLUMNS))
        self.session.connection.execute(query)

    def has_batch(self, job: str, number: int) -> bool:
        """Tell whether the last batch in the table is a certain one.

        Args:
            job: The id of the job.
            number: The number of the batch.
        """
        query = sql.SQL("SELECT FROM {} WHERE job = %s AND last_batch = %s").format(self._jobs)
        return bool(self.session.connection.execute(query, [job, number]).fetchall())

    def store(self, batch: SinkBatch, job: str, *, after: int) -> None:
        """Replace and add the rows of a batch, and note its number, in one transaction.

        Args:
            batch: The batch.
            job: The id of the job.
            after: The number of the last batch that is there.

        Raises:
            psycopg.Error: The server cannot do it, or the connection is lost.
            SinkError: The server did something else than it was told to, and nothing was stored.
        """
        connection = self.session.connection
        replaced = [stored.unit for stored in batch.replaced]
        kept = 0
        with connection.transaction():
            if batch.units:
                self._stage(batch)
            if batch.replaced:
                query = sql.SQL("DELETE FROM {} WHERE unit = ANY(%s)").format(self._rows)
                missing = sum(stored.rows for stored in batch.replaced) - connection.execute(query, [replaced]).rowcount
                kept = self._count_kept(replaced, missing) if missing else 0
            query = sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {}").format(self._rows, _NAMES, _NAMES, _STAGING)
            said = connection.execute(query).rowcount
            # A rule may have put the rows elsewhere, and a trigger may have deleted them again.
            query = sql.SQL("SELECT count(*) FROM {} WHERE unit = ANY(%s)").format(self._rows)
            units = [*replaced, *(unit.unit for unit in batch.units)]
            ((there,),) = connection.execute(query, [units]).fetchall()
            inserted = said if said != batch.rows else there
            check_counts(self.url, batch, inserted=inserted, kept=kept, swallows=_SWALLOWS)
            # Only from the batch before: a second writer, or a batch that is there already, changes no row here.
            query = sql.SQL("UPDATE {} SET last_batch = %s WHERE job = %s AND last_batch = %s").format(self._jobs)
            if connection.execute(query, [batch.number, job, after]).rowcount != 1:
                raise SinkError(
                    f"{self.url}: the table {self.job_table} was changed by somebody else; nothing was written"
                )

    def _count_kept(self, units: list[int], missing: int) -> int:
        """Return how many rows of some units the table did not let go.

        Rows that somebody has deleted or added by hand are none of them: all that is left is to be gone. But rows that
        row-level security hides are not seen, so where that is active those that are missing count.

        Args:
            units: Their numbers.
            missing: How many rows more the ledger counts than were deleted; fewer than 0 if some were added.
        """
        query = sql.SQL("SELECT (SELECT count(*) FROM {} WHERE unit = ANY(%s)), row_security_active(%s)")
        name = self._rows.as_string(self.session.connection)
        ((there, hidden),) = self.session.connection.execute(query.format(self._rows), [units, name]).fetchall()
        return int(there or (max(0, missing) if hidden else 0))

    def _stage(self, batch: SinkBatch) -> None:
        query = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(_STAGING, _NAMES)
        with self.session.connection.cursor() as cursor, cursor.copy(query) as copy:
            copy.set_types(list(COLUMNS.values()))
            for some in batch.table.to_batches(_ROWS_AT_ONCE):
                for part in without_nul(pa.Table.from_batches([some])).to_batches():
                    for row in zip(*map(_values, part.columns), strict=True):
                        copy.write_row(row)

    def read(self) -> Generator[pa.Table]:
        """Yield all rows, some at a time, in the columns that the table has of those that checksums are made of."""
        connection = self.session.connection
        with connection.transaction():
            there = {column for (column,) in connection.execute(_COLUMNS_THERE, [self._rows.as_string(connection)])}
            names = [name for name in READ_COLUMNS if name in there or name != ROW.name]
            rows = self._select(", ".join(f'"{name}"' for name in names))
            while some := list(islice(rows, _ROWS_AT_ONCE)):
                yield table_of_rows(names, some)

    def count(self) -> Generator[tuple[int, int]]:
        """Yield the number of each unit that has rows, and how many it has."""
        with self.session.connection.transaction():
            yield from self._select("unit, count(*)", "GROUP BY unit")

    def _select(self, what: str, how: str = "") -> Generator[tuple[Any, ...]]:
        query = f"SELECT {what} FROM {{}} {how}"
        with self.session.connection.cursor("profile_history_units") as cursor:
            cursor.itersize = _ROWS_AT_ONCE
            yield from cursor.execute(sql.SQL(query).format(self._rows))

    def drop(self) -> None:
        """Drop both tables, as far as they are there, in one transaction."""
        connection = self.session.connection
        with connection.transaction():
            for table in (self._rows, self._jobs):
                connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(table))


def _values(column: pa.Array) -> list[Any]:
    if not pa.types.is_dictionary(column.type):
        return list(column.to_pylist())
    # pyarrow makes a new text for each row, which takes ten times as long.
    words = column.dictionary.to_pylist()
    return [None if code is None else words[code] for code in column.indices.to_pylist()]


def _define(types: dict[str, str]) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("{} {}{}").format(sql.Identifier(name), sql.SQL(kind), sql.SQL(" NOT NULL" if name == "unit" else ""))
        for name, kind in types.items()
    )
