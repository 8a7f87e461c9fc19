"""The demo's profiles exported into each sink, and read back by the sink's own tool."""

import csv
import datetime as dt
import subprocess
from collections import Counter

import duckdb
import pyarrow.dataset as ds
import pytest
from support.postgres import PASSWORD
from support.programs import require_program

from profile_history.jobs import HistoryJob
from profile_history.testing import HistoryServer

PROFILES = 500
FIRST, LAST = dt.date(2023, 1, 1), dt.date(2024, 12, 31)
COLUMNS = "profile, action, strftime(datetime, '%Y-%m-%dT%H:%M:%S'), message_id, email"


@pytest.fixture(scope="module")
def demo():
    """The server of the demo, without its faults, in a thread of its own."""
    with HistoryServer(profiles=PROFILES, seed=7) as server:
        yield server


@pytest.fixture(scope="module")
def truth(demo):
    """Each row as text: profile, action, second, message_id, email."""
    return Counter(
        row_of(
            demo.profile(number), row.fields["action"], row.label, row.fields.get("message_id"), row.fields.get("email")
        )
        for number in range(PROFILES)
        for row in demo.histories.rows(number, demo.behaviour.rows)
    )


def row_of(profile, action, label, message_id, email):
    """One row as text."""
    moment = (
        label.strftime("%Y-%m-%dT%H:%M:%S") if isinstance(label, dt.datetime) else str(label)[:19].replace(" ", "T")
    )
    return str(profile), str(action), moment, str(message_id or ""), str(email or "")


async def exported(demo, tmp_path, sink):
    """Run the export."""
    async with demo.client() as client:
        job = HistoryJob(client, demo.profiles(), sink, ledger=tmp_path / "job.ledger", date_from=FIRST, date_to=LAST)
        async for progress in job.run():
            last = progress
    assert (last.failed, last.pending, last.quarantined) == (0, 0, 0)


def printed(*command):
    """What a tool prints, line by line, tabs between the values."""
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [line.split("\t") for line in output.splitlines()]


@pytest.mark.slow
async def test_ndjson_is_what_jq_reads(demo, truth, tmp_path):
    """Line by line."""
    await exported(demo, tmp_path, str(tmp_path / "history.ndjson"))
    program = "[.profile, .event.action, .event.datetime, .event.message_id, .event.email] | @tsv"
    rows = printed(require_program("jq"), "-r", program, str(tmp_path / "history.ndjson"))
    assert Counter(row_of(*row) for row in rows) == truth


@pytest.mark.slow
async def test_csv_is_what_the_csv_module_reads(demo, truth, tmp_path):
    """By the names in the header."""
    await exported(demo, tmp_path, str(tmp_path / "history.csv"))
    names = ("profile", "action", "datetime", "message_id", "email")
    with (tmp_path / "history.csv").open(newline="") as file:
        rows = [row_of(*(row[name].removeprefix("'") for name in names)) for row in csv.DictReader(file)]
    assert Counter(rows) == truth


@pytest.mark.slow
@pytest.mark.parametrize("partition", ["none", "month", "day", "hash:8"])
async def test_parquet_is_what_pyarrow_and_duckdb_read(demo, truth, tmp_path, partition):
    """As one dataset, however it is partitioned."""
    await exported(demo, tmp_path, f"{tmp_path}/lake.parquet?partition={partition}")
    table = ds.dataset(tmp_path / "lake.parquet", partitioning="hive").to_table()
    names = ("profile", "action", "datetime", "message_id", "email")
    assert Counter(map(row_of, *(table[name].to_pylist() for name in names))) == truth
    files = f"read_parquet('{tmp_path}/lake.parquet/**/*.parquet')"
    assert Counter(row_of(*row) for row in duckdb.sql(f"SELECT {COLUMNS} FROM {files}").fetchall()) == truth


@pytest.mark.slow
async def test_a_duckdb_file_is_what_duckdb_reads(demo, truth, tmp_path):
    """From its table."""
    await exported(demo, tmp_path, str(tmp_path / "history.duckdb"))
    with duckdb.connect(str(tmp_path / "history.duckdb"), read_only=True) as connection:
        rows = connection.execute(f"SELECT {COLUMNS} FROM history").fetchall()
    assert Counter(row_of(*row) for row in rows) == truth


@pytest.mark.slow
async def test_a_postgresql_table_is_what_psql_reads(demo, truth, tmp_path, postgres, monkeypatch):
    """From its table."""
    await exported(demo, tmp_path, f"{postgres.dsn}?table=readback")
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    query = "SELECT profile, action, datetime, message_id, email FROM readback"
    rows = printed(postgres.programs / "psql", postgres.dsn, "-AtF", "\t", "-c", query)
    assert Counter(row_of(*row) for row in rows) == truth
