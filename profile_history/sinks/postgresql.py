"""A table in a PostgreSQL database; it needs the extra `postgres`."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import attrs

from profile_history._extras import missing_extra

try:
    import psycopg
    import pyarrow as pa
except ModuleNotFoundError as _error:
    raise missing_extra("PostgreSQL needs psycopg and pyarrow", "postgres") from _error

from profile_history._secrets import SecretText
from profile_history.errors import ConfigurationError, HistoryError
from profile_history.sinks.base import LedgerView, Receipt, SinkError
from profile_history.sinks.batch import SinkBatch
from profile_history.sinks.lock import JobHeld
from profile_history.sinks.nul_check import with_nul, without_nul
from profile_history.sinks.postgres_address import ServerAddress, read_address, without_secrets
from profile_history.sinks.postgres_security import find_weakened, join_parameters
from profile_history.sinks.postgres_session import LockTaken, Session, conninfo
from profile_history.sinks.postgres_tables import PostgresTables
from profile_history.sinks.sql_tables import JobTables, job_table
from profile_history.sinks.transactional import DroppableSink
from profile_history.sinks.unit_rows import Refused

# The server cuts longer names off, in bytes: NAMEDATALEN - 1 of a build with the defaults.
_LONGEST_NAME = 63
# A predecessor that was killed has the lock until the server has noticed; seconds.
_PREDECESSOR = 1.2
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0


@attrs.define(eq=False)
class PostgresSink(DroppableSink):
    """A table in a PostgreSQL database, which one job at a time writes to and anybody may read.

    A batch is one transaction, and it is on the server's disk when the commit returns, whatever `synchronous_commit`
    says elsewhere. When the connection is lost, also during a commit, the sink connects again and looks whether the
    batch is there.

    The server holds no text with the character 0: such a text is null in its column, and stands in `extra` as JSON.
    An action goes by its JSON, since every row has one.

        >>> from profile_history.sinks.postgresql import PostgresSink
        >>> PostgresSink("postgresql://writer:secret@db.example/crm?sslmode=verify-full", table="history").url
        'postgresql://writer@db.example/crm?table=history'

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
    parameters: Mapping[str, str] = attrs.field(init=False)
    _session: Session = attrs.field(init=False, repr=False)
    _tables: PostgresTables = attrs.field(init=False, repr=False)

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
        self.url: str = f"{self._address.url}?table={quote(self.table)}"
        self.parameters = {}
        self._session = Session(SecretText(""), schema or None, table)
        self._tables = PostgresTables(self._session, self._job_table, self.url)
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
        """Connect, and make the tables if they are not there.

        Args:
            ledger: What the ledger tells.
            new: Of no concern here: the tables themselves tell.

        Returns:
            The number of the last batch in the table.

        Raises:
            ConfigurationError: The table is there and is not this job's. Nothing was written.
            JobHeld: Another job is writing into the table.
            SinkError: The server cannot be reached.
        """
        with self._opening():
            self._connect()
            found = self._tables.find()
            last = found.admit(ledger)
            self._tables.make(ledger, are_there=last is not None, are_older=found.is_older)
            self._tables.make_staging()
        self._view, self._last = ledger, last or 0
        return self._last

    def open_to_read(self, ledger: LedgerView) -> int:
        """Connect for `verify` alone, without the lock, and return the number of the last batch; nothing is written."""
        with self._opening():
            self._session.connect_to_read()
            last = self._tables.find().admit(ledger)
        self._view, self._last = ledger, last or 0
        return self._last

    def _connect(self) -> bool:
        pauses = self._pauses(_PREDECESSOR)
        while not self._session.connected:
            try:
                self._session.connect()
            except LockTaken as taken:
                self._wait(pauses, _job_held(taken))
        return True

    def check(self, batch: SinkBatch) -> list[Refused]:
        """Return the rows whose profile holds the character 0."""
        return with_nul(batch)

    def _storable(self, batch: SinkBatch) -> pa.Table:
        return without_nul(batch.table)

    def write(self, batch: SinkBatch) -> Receipt:
        """Replace and add rows, and note the number of the batch, in one transaction.

        Raises:
            JobHeld: Another job has taken the table while the connection was lost.
            SinkError: It cannot be written, or the connection stays lost; then all of it may be there or nothing.
        """
        pauses: Iterator[float] | None = None
        while True:
            try:
                # A connection that was lost during a COMMIT leaves its outcome unknown: the server may have committed,
                # and only the confirmation was lost. Sent again blindly, the rows would be there twice. The number of
                # the last batch changes in the same transaction, so a new connection can tell.
                if self._session.connected or not self._reconnect_and_look_for(batch.number):
                    self._tables.store(batch, self._ledger.job, after=self._last)
                break
            except (psycopg.Error, LockTaken) as error:
                if isinstance(error, psycopg.Error) and not self._session.is_lost(error):
                    raise self._describe(error) from error
                self._session.close()
                pauses = pauses or self._pauses(self.patience)
                self._wait(pauses, _job_held(error) if isinstance(error, LockTaken) else self._describe(error))
        self._last = batch.number
        return Receipt()

    def _reconnect_and_look_for(self, number: int) -> bool:
        """Connect again, and tell whether a batch is there."""
        self._session.connect()
        self._tables.make_staging()
        return self._tables.has_batch(self._ledger.job, number)

    def close(self) -> None:
        """Close the connection; safe to call twice."""
        self._session.close()

    def _find_tables(self) -> JobTables:
        return self._tables.find()

    def _drop_tables(self) -> None:
        self._tables.drop()

    def _read_tables(self) -> Generator[pa.Table]:
        return self._tables.read()

    def _count_rows(self) -> Generator[tuple[int, int]]:
        return self._tables.count()

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

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise self._describe(error) from error

    def _describe(self, error: Exception) -> SinkError:
        failed = SinkError(f"{self.url}: {' '.join(str(without_secrets(error)).split())}")
        if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
            failed.hint = "the server is a standby, or read only: name one that can be written, or resume the job later"
            return failed
        failed.hint = "see to the server (that it runs, lets you in and has space), then resume the job"
        return failed


def _job_held(taken: LockTaken) -> JobHeld:
    return JobHeld(f"{taken}; stop it or let it end, then resume", taken.pid)
