"""A table in whatever a dlt pipeline of yours loads into; it needs the extra `dlt`.

    pipeline = dlt.pipeline("histories", destination=dlt.destinations.duckdb("crm.duckdb"), dataset_name="histories")
    job = HistoryJob(client, profiles, DltSink(pipeline), ledger="history.ledger", ...)

Credentials stay with the pipeline.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs

from profile_history._extras import missing_extra

try:
    import dlt
    import pyarrow as pa
    from dlt.common.exceptions import DltException
    from dlt.destinations.job_client_impl import SqlJobClientBase
    from dlt.pipeline.exceptions import PipelineStepFailed
except ModuleNotFoundError as _error:
    raise missing_extra("a dlt pipeline needs dlt and pyarrow", "dlt") from _error

from profile_history.errors import ConfigurationError
from profile_history.sinks.arrow_table import FULL_SCHEMA, ROW
from profile_history.sinks.base import LedgerView, Receipt, SinkError, list_some
from profile_history.sinks.batch import SinkBatch
from profile_history.sinks.nul_check import with_nul, without_nul
from profile_history.sinks.row_text import READ_COLUMNS, table_of_rows
from profile_history.sinks.sql_tables import JobTables, Owner, job_table, job_values
from profile_history.sinks.transactional import TransactionalSink
from profile_history.sinks.unit_rows import Refused, Stored

GONE = "deleted"
"""The column by which dlt is told which units to delete; it is null in every row of the table."""

_HINTS = {GONE: {"hard_delete": True}, "datetime": {"timezone": False}}
_MERGE = {"disposition": "merge", "strategy": "delete-insert"}
_PLAIN = pa.schema(
    [
        field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field
        for field in (*FULL_SCHEMA, pa.field("batch", pa.int64(), nullable=False), pa.field(GONE, pa.bool_()))
    ]
)
_NO_NUL = ("postgres", "redshift")
# Rows that are read at once: some megabytes.
_ROWS_AT_ONCE = 10_000
# Databases limit the length of a statement; this many numbers stay far below any limit.
_UNITS_PER_STATEMENT = 1000


@attrs.define(eq=False)
class DltSink(TransactionalSink):
    """A table that a dlt pipeline loads, in a destination that deletes and inserts in one transaction.

    A batch is one load package of dlt, merged by delete-insert on the column `unit`: dlt copies the rows into its
    staging dataset, and from there into the table in one transaction, which also deletes the units that the batch
    replaces. dlt itself loads at least once; each row has the number of its batch in the column `batch`, so a job that
    goes on sees whether the last one got there. What a run that died left of its package is aborted, not loaded again.

    So the promise is the destination's: a batch is there whole or not at all, as far as its transactions and its
    commits are what they say. It is tested with DuckDB and PostgreSQL. Destinations without delete-insert (plain
    files) or without transactions are refused; of others dlt's own word for their transactions is taken. Every merge
    reads the column `unit` of the whole table: have fewer and larger batches (`commit_bytes`, `commit_seconds`) where
    that is dear.

    The pipeline is for this sink alone while a job runs. dlt sends usage statistics unless
    `RUNTIME__DLTHUB_TELEMETRY=false` is set.

    Attributes:
        pipeline: The pipeline, with a destination.
        table: The table of rows in its dataset; `<table>_job` says whose it is.
        url: Destination, dataset and table as text. A job is resumed with the same sink; no text makes one.
    """

    pipeline: dlt.Pipeline
    table: str = "history"

    def __attrs_post_init__(self) -> None:
        job_table(self.table)
        destination = self.pipeline.destination
        if destination is None:
            raise ConfigurationError("the pipeline has no destination; pass one to dlt.pipeline")
        naming = self.pipeline.naming
        self.table = naming.normalize_table_identifier(self.table)
        self._job_table = naming.normalize_table_identifier(job_table(self.table))
        self.url: str = f"dlt:{destination.destination_name}/{self.pipeline.dataset_name}?table={quote(self.table)}"

    @property
    def lock_path(self) -> Path:
        """Return the file that one job at a time holds locked: of the table, where dlt keeps its pipelines.

        Two pipelines that load into one table are kept apart as well, if they are kept in one place.
        """
        with self._failing(), self.pipeline.destination_client() as client:
            credentials = getattr(client.config, "credentials", None)
            place = [str(getattr(credentials, name, None)) for name in ("host", "port", "database")]
        key = hashlib.sha256("\n".join([self.url, client.config.fingerprint(), *place]).encode()).hexdigest()
        return Path(self.pipeline.pipelines_dir, f".profile_history.{key[:16]}.lock")

    def open(self, ledger: LedgerView, *, new: bool) -> int:  # noqa: ARG002 (the tables themselves tell)
        """Abort what a run that died left undone, and make the table that says whose the rows are.

        Args:
            ledger: What the ledger tells.
            new: Of no concern here: the tables themselves tell.

        Returns:
            The number of the last batch in the table.

        Raises:
            ConfigurationError: The destination cannot keep the promise, the table is there and is not this job's, or
                the pipeline has packages of others to load. Nothing was written.
            SinkError: The destination cannot be used.
        """
        with self._failing():
            self._check_destination()
            self._abort_pending()
            last = self._find_tables().admit(ledger)
            if last is None:
                row = pa.Table.from_pylist([job_values(ledger)])
                self._run(self._job_table, row, write_disposition="replace")
            # Batches with rows are told by their rows, those that only delete by the table of the job.
            held = max(last or 0, self._newest_batch())
        self._view = ledger
        return held

    def open_to_read(self, ledger: LedgerView) -> int:
        """Prepare for `verify` alone, and return the number of the last batch; nothing is written."""
        with self._failing():
            held = max(self._find_tables().admit(ledger) or 0, self._newest_batch())
        self._view = ledger
        return held

    def check(self, batch: SinkBatch) -> list[Refused]:
        """Return the rows whose profile the destination cannot hold: PostgreSQL and Redshift know no character 0."""
        return with_nul(batch) if self._lacks_nul else []

    def write(self, batch: SinkBatch) -> Receipt:
        """Load one package, which replaces and adds rows.

        Raises:
            ConfigurationError: Another job has made the table its own meanwhile.
            SinkError: It cannot be loaded; all of it is there or nothing, and `open` tells which.
        """
        ledger = self._ledger
        with self._failing():
            # No lock keeps off a job on another machine that began at the same moment.
            self._find_tables().admit(ledger)
            if batch.units:
                self._load(batch)
            else:
                self._delete(batch.number, batch.replaced)
        return Receipt()

    def close(self) -> None:
        """Do nothing: dlt opens and closes its connections itself."""

    def _check_destination(self) -> None:
        if "delete-insert" not in (self._capabilities.supported_merge_strategies or ()):
            raise ConfigurationError(
                f"{self.url}: this destination cannot delete rows, so units could not be replaced; load into a "
                "database such as DuckDB or PostgreSQL, or let the job write Parquet files itself"
            )
        if not self._capabilities.supports_ddl_transactions:
            raise ConfigurationError(
                f"{self.url}: dlt has no transactions for this destination, so a crash could leave half a batch; load "
                "into a database such as DuckDB or PostgreSQL"
            )
        # dlt 1.31 leaves this unsaid for DuckDB, PostgreSQL and others, and then begins none; in DuckDB a merge that
        # broke off was seen to have deleted and not inserted.
        self.pipeline.destination.caps_params["supports_transactions"] = True

    def _abort_pending(self) -> None:
        pipeline = self.pipeline
        pending = [*pipeline.list_extracted_load_packages(), *pipeline.list_normalized_load_packages()]
        tables = {
            job.job_file_info.table_name
            for load_id in pending
            for jobs in pipeline.get_load_package_info(load_id).jobs.values()
            for job in jobs
        }
        # Aborting is for the whole pipeline, so packages of somebody else would be lost with ours.
        others = {name for name in tables - {self.table, self._job_table} if not name.startswith("_dlt")}
        if others:
            raise ConfigurationError(
                f"the pipeline {pipeline.pipeline_name} has yet to load {list_some(sorted(others))}: "
                "load or abort its packages first, or make another pipeline for the job"
            )
        if pending:
            pipeline.abort_packages()

    def _find_tables(self) -> JobTables:
        filled, owners = self._is_there(self.table), None
        if self._is_there(self._job_table):
            # A load that a crash cut short has left no row, and one that was repeated the same row twice.
            there = self._there(self._job_table)
            names = [field.name for field in attrs.fields(Owner) if field.name in there]
            rows = self._query(f"SELECT DISTINCT {self._columns(*names)} FROM {self._qualified(self._job_table)}")
            owners = [Owner.of(names, row) for row in rows] or None
        return JobTables(f"the table {self.table} in {self.url}", filled or owners is not None, owners)

    def _newest_batch(self) -> int:
        if not self._is_there(self.table):
            return 0
        return int(self._query(f"SELECT max({self._columns('batch')}) FROM {self._qualified(self.table)}")[0][0] or 0)

    def _storable(self, batch: SinkBatch) -> pa.Table:
        return without_nul(batch.table) if self._lacks_nul else batch.table

    def _load(self, batch: SinkBatch) -> None:
        rows = _rows_of(batch, self._storable(batch))
        for _ in range(2):
            self._run(self.table, rows, write_disposition=_MERGE, merge_key="unit", columns=_HINTS)
            # A file whose confirmation was lost is in the staging table twice, and so are its rows in the table;
            # merged once more, they are right.
            if (there := self._count(batch.number)) == batch.rows:
                return
        with self.pipeline.sql_client() as client, client.begin_transaction():
            # Else the next start would take the batch for stored.
            where = f"{self._columns('batch')} = {batch.number}"
            client.execute_sql(f"DELETE FROM {self._qualified(self.table)} WHERE {where}")
        raise SinkError(
            f"{self.url}: batch {batch.number} was loaded twice, and never whole and once: the table has {there} of "
            f"its {batch.rows} rows; if a trigger, a rule or row-level security keeps them off, remove it, and resume "
            "the job"
        )

    def _delete(self, number: int, replaced: Sequence[Stored]) -> None:
        """Delete units and note the batch, which leaves no row to be seen by, in one transaction.

        Args:
            number: The number of the batch.
            replaced: The units.
        """
        table, unit = self._qualified(self.table), self._columns("unit")
        with self.pipeline.sql_client() as client, client.begin_transaction():
            for start in range(0, len(replaced), _UNITS_PER_STATEMENT):
                units = ", ".join(str(stored.unit) for stored in replaced[start : start + _UNITS_PER_STATEMENT])
                client.execute_sql(f"DELETE FROM {table} WHERE {unit} IN ({units})")
            noted = f"{self._columns('last_batch')} = {number}"
            client.execute_sql(f"UPDATE {self._qualified(self._job_table)} SET {noted}")

    def _run(self, table: str, rows: pa.Table, **hints: Any) -> Any:
        return self.pipeline.run(dlt.resource(rows, name=table, **hints))

    def _count(self, number: int) -> int:
        where = f"{self._columns('batch')} = {number}"
        return int(self._query(f"SELECT count(*) FROM {self._qualified(self.table)} WHERE {where}")[0][0])

    def _read_tables(self) -> Generator[pa.Table]:
        there = self._there(self.table)
        names = [name for name in READ_COLUMNS if name in there or name != ROW.name]
        for some in self._select(self._columns(*names)) if there else ():
            yield table_of_rows(names, some)

    def _count_rows(self) -> Generator[tuple[int, int]]:
        unit = self._columns("unit")
        for some in self._select(f"{unit}, count(*)", f"GROUP BY {unit}") if self._is_there(self.table) else ():
            for number, rows in some:
                yield int(number), int(rows)

    def _select(self, what: str, how: str = "") -> Iterator[list[tuple[Any, ...]]]:
        query = f"SELECT {what} FROM {self._qualified(self.table)} {how}"
        with self.pipeline.sql_client() as client, client.execute_query(query) as cursor:
            while some := cursor.fetchmany(_ROWS_AT_ONCE):
                yield some

    def _query(self, query: str) -> list[tuple[Any, ...]]:
        with self.pipeline.sql_client() as client:
            return [tuple(row) for row in client.execute_sql(query) or ()]

    def _is_there(self, table: str) -> bool:
        return bool(self._there(table))

    def _there(self, table: str) -> Collection[str]:
        """Return the names of the columns of a table; none if it is not there."""
        with self.pipeline.destination_client() as client:
            assert isinstance(client, SqlJobClientBase)
            if not client.is_storage_initialized():
                return ()
            exists, columns = client.get_storage_table(table)
            return [*columns] if exists else ()

    def _qualified(self, table: str) -> str:
        return self.pipeline.sql_client().make_qualified_table_name(table)

    def _columns(self, *names: str) -> str:
        normalized = map(self.pipeline.naming.normalize_identifier, names)
        return ", ".join(map(self.pipeline.sql_client().escape_column_name, normalized))

    @property
    def _lacks_nul(self) -> bool:
        return self._capabilities.sqlglot_dialect in _NO_NUL

    @property
    def _capabilities(self) -> Any:
        return self.pipeline.destination.capabilities()

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except (DltException, OSError) as error:
            cause = error.exception if isinstance(error, PipelineStepFailed) else error
            failed = SinkError(f"{self.url}: {cause}")
            failed.hint = "see that the destination can be reached and written, then resume the job"
            raise failed from error


def _rows_of(batch: SinkBatch, table: pa.Table) -> pa.Table:
    """Return the rows of a batch in the columns of the destination, and one row for each unit that it replaces.

    Args:
        batch: The batch.
        table: Its rows, as the destination can hold them.
    """
    number = pa.scalar(batch.number, pa.int64())
    rows = table.append_column("batch", pa.repeat(number, batch.rows))
    rows = rows.append_column(GONE, pa.nulls(batch.rows, pa.bool_())).cast(_PLAIN)
    gone = [{"unit": stored.unit, "batch": batch.number, GONE: True} for stored in batch.replaced]
    return pa.concat_tables([rows, pa.Table.from_pylist(gone, _PLAIN)])
