"""The tables of a sink in a database: one of rows, and beside it one with a row that says whose they are.

The table `<table>_job` holds the id of the job and the number of its last batch. That number changes in the transaction
that brings the rows, so it is right whenever a process or a server dies. It needs the extra `arrow`.
"""

from __future__ import annotations

import shlex
import socket
from collections.abc import Sequence
from typing import Any, Self

import attrs
import pyarrow as pa

from profile_history.errors import ConfigurationError
from profile_history.sinks.arrow_table import FULL_SCHEMA, ROW
from profile_history.sinks.base import LedgerView, SinkError
from profile_history.sinks.batch import SinkBatch
from profile_history.version import __version__

LAYOUT = 2
"""The version of the tables' layout; a newer one is not written to, and an older one gets the columns that it lacks."""

WRITER = f"profile-history {__version__}"

_TYPES = {pa.int64(): "bigint", pa.int32(): "integer", pa.timestamp("us"): "timestamp"}

COLUMNS = {field.name: _TYPES.get(field.type, "text") for field in FULL_SCHEMA}
"""The columns of the table and their types in SQL.

Nested values are text, as the server wrote them: a type for JSON would drop equal keys, reorder the others, change how
numbers are written, or refuse the row.
"""

JOB_COLUMNS = {
    "job": "text",
    "last_batch": "bigint",
    "layout": "integer",
    "written_by": "text",
    "ledger": "text",
    "host": "text",
}

NEW_COLUMNS = {ROW.name: COLUMNS[ROW.name]}
"""The columns of the table that layout 1 did not have."""

NEW_JOB_COLUMNS = {name: JOB_COLUMNS[name] for name in ("ledger", "host")}
"""The same of the table of the job."""


def job_table(table: str) -> str:
    """Return the name of the table that says whose a table is.

    Args:
        table: The name of the table of rows.

    Raises:
        ConfigurationError: The table has no name.
    """
    if not table or "\0" in table:
        raise ConfigurationError("the table needs a name, such as table=history")
    return f"{table}_job"


def job_values(ledger: LedgerView, last_batch: int = 0) -> dict[str, Any]:
    """Return what the table of the job says, by the names of its columns.

    Args:
        ledger: What the ledger tells.
        last_batch: The number of the last batch in the table.
    """
    layout = {"layout": LAYOUT, "written_by": WRITER}
    return {
        "job": ledger.job,
        "last_batch": last_batch,
        **layout,
        # The path may be no UTF-8, and a database holds nothing else.
        "ledger": ledger.location.encode("utf-8", "replace").decode(),
        "host": socket.gethostname(),
    }


@attrs.frozen
class Owner:
    """A row of the table that says whose a table is.

    Attributes:
        job: The id of the job.
        last_batch: The number of its last batch.
        layout: The version of the layout.
        ledger: The ledger of the job; `None` if that is not known.
        host: The machine on which it was last opened, likewise.
    """

    job: str
    last_batch: int
    layout: int
    ledger: str | None = None
    host: str | None = None

    @classmethod
    def of(cls, names: Sequence[str], row: Sequence[Any]) -> Self:
        """Return what a row of the table says.

        Args:
            names: The names of its columns.
            row: Their values.
        """
        values: dict[str, Any] = dict(zip(names, row, strict=True))
        known: dict[str, Any] = {field.name: values.get(field.name) for field in attrs.fields(cls)}
        return cls(**known)


@attrs.frozen
class JobTables:
    """The tables that were found where a job wants to write.

    Attributes:
        name: The table of rows, for messages.
        filled: Whether there is a table of rows.
        owners: The rows of the table that says whose it is; `None` if that table is not there.
    """

    name: str
    filled: bool
    owners: list[Owner] | None

    @property
    def is_older(self) -> bool:
        """Return whether the tables are of an earlier layout, and lack columns."""
        return self.owners is not None and any(owner.layout < LAYOUT for owner in self.owners)

    def admit(self, ledger: LedgerView) -> int | None:
        """Return the last batch of this job that is there; `None` if the tables have yet to be made.

        Args:
            ledger: What the ledger of the job tells.

        Raises:
            ConfigurationError: The tables are not this job's, or what the job had written is gone.
        """
        if self.owners is None and not self.filled and not ledger.last_batch:
            return None
        # A table that no job owns is never written to, even if it is empty: somebody has made it for something.
        if self.owners is None:
            raise self._unowned() if self.filled else self._gone(ledger)
        if len(self.owners) != 1:
            raise self._unowned()
        owner = self.owners[0]
        self._check_job(owner, ledger)
        if owner.layout > LAYOUT:
            raise ConfigurationError(f"{self.name} was begun by a newer version of this program: update this one")
        if not self.filled:
            raise self._gone(ledger)
        return owner.last_batch

    def check_owner(self, ledger: LedgerView) -> None:
        """Return if there is nothing, or only what this job has made.

        Args:
            ledger: What the ledger of the job tells.

        Raises:
            ConfigurationError: The tables are another job's, or nobody's.
        """
        if self.owners is None and not self.filled:
            return
        if self.owners is None or len(self.owners) != 1:
            raise self._unowned()
        self._check_job(self.owners[0], ledger)

    def _check_job(self, owner: Owner, ledger: LedgerView) -> None:
        if owner.job != ledger.job:
            known = f", begun on {owner.host}; its ledger is {owner.ledger}" if owner.ledger else ""
            there = shlex.quote(owner.ledger or "")
            advice = f"to go on with that one pass --ledger {there}" if owner.ledger else "resume that one"
            raise ConfigurationError(
                f"{self.name} belongs to another job ({owner.job}){known}: {advice}, or name another table"
            )

    def _unowned(self) -> ConfigurationError:
        return ConfigurationError(f"{self.name} is there already and belongs to no job: name another table")

    def _gone(self, ledger: LedgerView) -> ConfigurationError:
        return ConfigurationError(
            f"{self.name} is gone, and {ledger.last_batch} batches with it: bring it back, or begin a new job"
        )


def check_counts(place: str, batch: SinkBatch, *, inserted: int, kept: int = 0, swallows: str = "") -> None:
    """Compare what a database did with what it was told to do, before the transaction is committed.

    Args:
        place: The table, for messages.
        batch: What it was given.
        inserted: How many rows of the batch it says it has taken.
        kept: How many rows of the units that the batch replaces are still there.
        swallows: What in a database of this kind keeps rows from being stored or deleted without an error, if anything.

    Raises:
        SinkError: They differ.
    """
    if kept:
        raise SinkError(
            f"{place} keeps {kept} rows of the units that batch {batch.number} replaces: {swallows} of the table does "
            "not let them go; remove it, or begin a new job with another table. Nothing of the batch was stored"
        )
    if inserted != batch.rows:
        raise SinkError(
            f"{place} took {inserted} of the {batch.rows} rows of batch {batch.number}"
            + (f": {swallows} of the table keeps or changes them; remove it" if swallows else "; see to the database")
            + ", or name another table. Nothing of the batch was stored; resume the job"
        )
