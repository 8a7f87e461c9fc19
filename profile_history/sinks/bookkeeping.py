"""What the sinks in databases have in common: a table of rows, and beside it one row that says whose it is.

The table `<table>_job` holds the id of the job and the number of its last batch. That number changes in the transaction
that brings the rows, so it is right whenever a process or a server dies. It needs the extra `arrow`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import attrs
import pyarrow as pa

from profile_history.errors import ConfigurationError
from profile_history.sinks.base import Batch, Books, SinkError
from profile_history.sinks.tables import FULL_SCHEMA
from profile_history.version import __version__

LAYOUT = 1
"""The version of the tables' layout; a newer one is not written to."""

WRITER = f"profile-history {__version__}"

_TYPES = {pa.int64(): "bigint", pa.int32(): "integer", pa.timestamp("us"): "timestamp"}

COLUMNS = {field.name: _TYPES.get(field.type, "text") for field in FULL_SCHEMA}
"""The columns of the table and their types in SQL.

Nested values are text, as the server wrote them: a type for JSON would drop equal keys, reorder the others, change how
numbers are written, or refuse the row.
"""

JOB_COLUMNS = {"job": "text", "last_batch": "bigint", "layout": "integer", "written_by": "text"}

_END = (None, 0)


def job_table(table: str) -> str:
    """The name of the table that says whose a table is.

    Raises:
        ConfigurationError: The table has no name.
    """
    if not table or "\0" in table:
        raise ConfigurationError("the table needs a name, such as table=history")
    return f"{table}_job"


@attrs.frozen
class Place:
    """What stands where a job wants to write.

    Attributes:
        name: The place, for messages.
        filled: Whether there is a table of rows.
        owners: The job, last batch and layout of each row of the table that says whose it is; None without a table.
    """

    name: str
    filled: bool
    owners: list[tuple[Any, ...]] | None

    def admit(self, books: Books) -> int | None:
        """The last batch of this job that is there; None where the tables have yet to be made.

        Raises:
            ConfigurationError: The place is not this job's, or what the job had written is gone.
        """
        if self.owners is None and not self.filled and not books.last_batch:
            return None
        if self.owners is None:
            raise self._nobodys() if self.filled else self._gone(books)
        if len(self.owners) != 1:
            raise self._nobodys()
        job, last, layout = self.owners[0]
        self._check_job(job, books)
        if layout > LAYOUT:
            raise ConfigurationError(f"{self.name} was begun by a newer version of this program: update this one")
        if not self.filled:
            raise self._gone(books)
        return int(last)

    def check_owner(self, books: Books) -> None:
        """Return if there is nothing, or only what this job has made.

        Raises:
            ConfigurationError: The place is another job's, or nobody's.
        """
        if self.owners is None and not self.filled:
            return
        if self.owners is None or len(self.owners) != 1:
            raise self._nobodys()
        self._check_job(self.owners[0][0], books)

    def _check_job(self, job: str, books: Books) -> None:
        if job != books.job:
            raise ConfigurationError(
                f"{self.name} belongs to another job ({job}): resume that one, or name another table"
            )

    def _nobodys(self) -> ConfigurationError:
        return ConfigurationError(f"{self.name} is there already and belongs to no job: name another table")

    def _gone(self, books: Books) -> ConfigurationError:
        return ConfigurationError(
            f"{self.name} is gone, and {books.last_batch} batches with it: bring it back, or begin a new job"
        )


def check_counts(place: str, batch: Batch, *, deleted: int, inserted: int, swallows: str = "") -> None:
    """Compare what a database did with what it was told to do, before the transaction is committed.

    Args:
        place: The table, for messages.
        batch: What it was given.
        deleted: How many rows of the units that the batch replaces it says it has deleted.
        inserted: How many rows of the batch it says it has taken.
        swallows: What in a database of this kind keeps rows from being stored or deleted without an error, if anything.

    Raises:
        SinkError: They differ.
    """
    if deleted != (known := sum(stored.rows for stored in batch.replaced)):
        raise SinkError(
            f"{place} deleted {deleted} rows of the units that batch {batch.number} replaces, and the ledger counts "
            f"{known}: somebody else has deleted or added some"
            + (f", or {swallows} of the table keeps them" if swallows else "")
            + "; `verify` names the units. Put the rows as they were, or begin a new job with another table; nothing "
            "of the batch was stored"
        )
    if inserted != batch.rows:
        raise SinkError(
            f"{place} took {inserted} of the {batch.rows} rows of batch {batch.number}"
            + (f": {swallows} of the table keeps or changes them; remove it" if swallows else "; see to the database")
            + ", or name another table. Nothing of the batch was stored; resume the job"
        )


def differences(found: Iterable[tuple[int, int]], expected: Iterable[tuple[int, int]]) -> Iterator[str]:
    """What differs between two lists of units and their numbers of rows, both in order; a sentence each."""
    ours, theirs = chain(found, [_END]), chain(expected, [_END])
    (unit, rows), (due, count) = next(ours), next(theirs)
    while unit is not None or due is not None:
        if due is None or (unit is not None and unit < due):
            yield f"unit {unit} has {rows} rows here and none in the ledger"
            unit, rows = next(ours)
        elif unit is None or due < unit:
            yield f"unit {due} has no rows here and {count} in the ledger"
            due, count = next(theirs)
        else:
            if rows != count:
                yield f"unit {unit} has {rows} rows here and {count} in the ledger"
            (unit, rows), (due, count) = next(ours), next(theirs)
