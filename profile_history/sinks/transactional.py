"""The base of the sinks in databases: a batch is one transaction, and nothing is left to do at the end.

It needs the extra `arrow`.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, closing

import attrs
import pyarrow as pa

from profile_history.sinks.arrow_table import UNIT
from profile_history.sinks.base import LedgerView, Receipt, RowFormat
from profile_history.sinks.batch import SinkBatch
from profile_history.sinks.checksums import UnitTally, digests_of, unit_checksums
from profile_history.sinks.old_names import OldSinkNames
from profile_history.sinks.opened_ledger import OpenedLedger
from profile_history.sinks.row_text import lines_of
from profile_history.sinks.sql_tables import JobTables
from profile_history.sinks.unit_rows import Refused


@attrs.define(eq=False)
class TransactionalSink(OpenedLedger, OldSinkNames, ABC):
    """A table in a database that has the number of each batch since the transaction that brought the rows.

    Attributes:
        url: The place as text, without a password.
    """

    url: str = attrs.field(init=False)
    row_format: RowFormat = attrs.field(default="arrow", init=False)
    transactional: bool = attrs.field(default=True, init=False)
    compacts_on_finish: bool = attrs.field(default=False, init=False)
    _job_table: str = attrs.field(init=False, repr=False)
    _view: LedgerView | None = attrs.field(default=None, init=False, repr=False)
    _last: int = attrs.field(default=0, init=False, repr=False)

    @abstractmethod
    def _failing(self) -> AbstractContextManager[None]:
        """Turn the errors of the database's library within a block into ours."""

    @abstractmethod
    def _read_tables(self) -> Generator[pa.Table]:
        """Yield all rows of the table, some at a time, in the columns that they have in common with `READ_COLUMNS`."""

    @abstractmethod
    def _count_rows(self) -> Generator[tuple[int, int]]:
        """Yield the number of each unit that has rows in the table, and how many it has."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection; safe to call twice."""

    @contextlib.contextmanager
    def _opening(self) -> Iterator[None]:
        """Close the connection if a block fails."""
        with self._failing():
            try:
                yield
            except BaseException:
                self.close()
                raise

    def check(self, batch: SinkBatch) -> list[Refused]:  # noqa: ARG002 (a database that holds any row overrides nothing)
        """Return no rows: any can be held."""
        return []

    def checksums(self, batch: SinkBatch) -> dict[int, int]:
        """Return the checksum of the values that the columns will have of each unit, by the unit's number."""
        return unit_checksums(batch.units, lines_of(self._storable(batch)))

    def _storable(self, batch: SinkBatch) -> pa.Table:
        """Return the rows of a batch as the database can hold them."""
        return batch.table

    def finish(self) -> Receipt | None:
        """Return `None`: every batch is in its final form at once."""
        return None

    def publish(self, receipt: Receipt) -> None:
        """Do nothing: every batch is in its place at once."""

    def drop(self, receipt: Receipt) -> None:
        """Do nothing: there are no files to delete."""

    def verify(self) -> Iterator[str]:
        """Read the rows of each unit, and yield what differs from the ledger, a sentence each.

        Raises:
            SinkError: The table cannot be read.
        """
        ledger = self._ledger
        tally = UnitTally(ledger)
        with self._failing():
            if tally.knows_content:
                # A cursor that is left half read would keep its transaction open.
                with closing(self._read_tables()) as tables:
                    for table in tables:
                        ledger.check_stop()
                        tally.add(table[UNIT.name].to_pylist(), digests_of(lines_of(table)))
            else:
                with closing(self._count_rows()) as counts:
                    for unit, rows in counts:
                        tally.count(unit, rows)
        yield from tally.differences()


class DroppableSink(TransactionalSink):
    """A sink in a database whose tables can be dropped, so that its job can be begun anew."""

    __slots__ = ()

    @abstractmethod
    def _connect(self) -> bool:
        """Connect so that the tables can be dropped, and tell whether there is a database at all."""

    @abstractmethod
    def _find_tables(self) -> JobTables:
        """Return which tables there are, and whose."""

    @abstractmethod
    def _drop_tables(self) -> None:
        """Drop the table of the rows and that of the job, as far as they are there, in one transaction."""

    def discard(self, ledger: LedgerView, publishing: Receipt | None) -> None:  # noqa: ARG002 (there are no files)
        """Drop the tables of a job.

        Args:
            ledger: What the ledger tells.
            publishing: Of no concern here.

        Raises:
            ConfigurationError: They are another job's, or nobody's. Nothing was deleted.
            SinkError: The database cannot be reached or changed, or another job is writing into it.
        """
        with self._failing():
            try:
                # Whose they are is read on the connection that holds the lock, so nobody can take them over meanwhile.
                if self._connect():
                    self._find_tables().check_owner(ledger)
                    self._drop_tables()
            finally:
                self.close()
