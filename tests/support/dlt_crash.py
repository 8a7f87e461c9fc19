"""A process that loads two batches by dlt, and kills itself in the second one.

python dltcrash.py DIRECTORY MOMENT [POSTGRESQL DATASET]
"""

import datetime as dt
import os
import signal
import sys
from pathlib import Path

import dlt
from dlt.destinations.impl.duckdb.sql_client import DuckDbSqlClient
from dlt.destinations.impl.postgres.sql_client import Psycopg2SqlClient
from dlt.destinations.job_client_impl import SqlLoadJob
from dlt.destinations.sql_jobs import SqlMergeFollowupJob
from support.sink_ledger import FakeLedger, fill, real_units

from profile_history.sinks.dlt import DltSink
from profile_history.testing.histories import Histories

HISTORIES = Histories(profiles=60, seed=3, list_id=20, first_day=dt.date(2023, 1, 1), last_day=dt.date(2024, 12, 31))
MOMENTS = ("extracted", "normalized", "staged", "deleted", "merged", "loaded")
HELD = {"merged", "loaded"}
"""The moments after which the second batch is there."""


def pipeline_in(directory):
    """Return a pipeline into a DuckDB file."""
    return dlt.pipeline(
        "histories",
        destination=dlt.destinations.duckdb(str(directory / "history.duckdb")),
        dataset_name="crm",
        pipelines_dir=str(directory / "pipelines"),
    )


def postgres_pipeline_in(directory, dsn, dataset):
    """Return a pipeline into a PostgreSQL server."""
    destination = dlt.destinations.postgres(dsn)
    return dlt.pipeline(
        "histories", destination=destination, dataset_name=dataset, pipelines_dir=str(directory / "pipelines")
    )


def first(ledger):
    """Return the first batch: twenty profiles."""
    return ledger.batch(real_units(HISTORIES, "arrow", 0, 20))


def second(ledger):
    """Return the second one: ten more, in place of five of the first."""
    return ledger.batch(real_units(HISTORIES, "arrow", 20, 30), sorted(ledger.live)[:5])


def die(*_, **__):
    """Leave no time to clean up."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_before(owner, name):
    setattr(owner, name, die)


def die_after(owner, name):
    real = getattr(owner, name)

    def run(*arguments, **options):
        real(*arguments, **options)
        die()

    setattr(owner, name, run)


def die_between(client):
    """Once the rows that go are deleted, and before the new ones are inserted."""
    real = client.execute_many

    def run(self, statements, *arguments, **options):
        if any("EXISTS" in statement for statement in statements):
            real(self, statements[:1])
            die()
        return real(self, statements, *arguments, **options)

    client.execute_many = run


def arm(moment):
    """Make this process die at a moment of the next load."""
    match moment:
        case "extracted":
            die_before(dlt.Pipeline, "normalize")
        case "normalized":
            die_before(dlt.Pipeline, "load")
        case "staged":
            die_before(SqlMergeFollowupJob, "from_table_chain")
        case "deleted":
            die_between(DuckDbSqlClient)
            die_between(Psycopg2SqlClient)
        case "merged":
            die_after(SqlLoadJob, "run")
        case "loaded":
            die_after(dlt.Pipeline, "run")


if __name__ == "__main__":
    directory, moment, *server = sys.argv[1:]
    ledger = FakeLedger()
    sink = DltSink(postgres_pipeline_in(Path(directory), *server) if server else pipeline_in(Path(directory)))
    sink.open(ledger, new=True)
    fill(sink, ledger, first(ledger))
    arm(moment)
    sink.write(second(ledger))
