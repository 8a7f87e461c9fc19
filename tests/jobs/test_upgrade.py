"""Ledgers and sinks of 0.4.0 go on: read without writing, upgraded in place, extended, retried and verified.

`tests/data/0.4.0.tar.gz` holds what version 0.4.0 wrote in the directory /srv/histories, by
`tests/data/make_0_4_0.py`: jobs over the first eight profiles of `HistoryServer(seed=7)`, whose fourth one failed, up
to a day when the last ones were recent.
"""

import datetime as dt
import hashlib
import json
import shutil
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import pytest
from support.job_truth import rows_in, truth_of
from support.paths import TESTS

from profile_history.jobs import HistoryJob, LedgerError, status_of, verify
from profile_history.jobs.ledger import Ledger
from profile_history.jobs.schema import SCHEMA_VERSION
from profile_history.sinks import sink_of
from profile_history.testing import HistoryServer

ARCHIVE = TESTS / "data" / "0.4.0.tar.gz"
FIRST, LAST, NIGHT = dt.date(2023, 1, 1), dt.date(2024, 11, 30), dt.date(2024, 12, 20)
LONG_AFTER = dt.date(2026, 1, 1)
DEAD = 3
FILES = [
    "history.ndjson",
    "history.ndjson.gz",
    "history.csv",
    "history.duckdb",
    "lake/",
    "months.parquet?partition=month",
]
UNFINISHED = ["unfinished.ndjson", "unfinished.duckdb"]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """All of it, once."""
    directory = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(directory, filter="data")
    return directory


@pytest.fixture
def place(unpacked, tmp_path):
    """A copy that a test may change."""
    return Path(shutil.copytree(unpacked, tmp_path / "histories"))


@pytest.fixture
async def server():
    """The server that those jobs asked."""
    async with HistoryServer(profiles=8, seed=7) as server:
        yield server


def ledger_in(place, sink):
    """The ledger of a job."""
    return place / f"{sink.partition('?')[0].rstrip('/')}.ledger"


def contents(place):
    """All files, and a fingerprint of each."""
    return {
        path.relative_to(place).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in place.rglob("*")
        if path.is_file()
    }


def version_of(path):
    """The version of a ledger."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]


async def ran(job, **options):
    """Run a job to its end."""
    async for progress in job.run(**options):
        last = progress
    return last


def rows_at(place, sink):
    """The rows of a sink of files."""
    path = f"{place}/{sink.partition('?')[0]}"
    return rows_in(path if not path.endswith("/") else f"{path.rstrip('/')}", dataset=path.endswith(("/", ".parquet")))


@pytest.mark.parametrize("sink", [*FILES, *UNFINISHED])
def test_a_ledger_of_0_4_0_is_shown_and_verified_without_being_written(place, sink):
    """Nothing beside it is written either; what is there is what it says, and what failed or is pending is told."""
    before = contents(place)
    status = status_of(ledger_in(place, sink))
    assert (status.totals.profiles, status.totals.rejects) == (8, 1)
    assert status.totals.failed == (0 if sink in UNFINISHED else 5)
    # It has the path of the machine on which it was made, so the output beside it is named.
    assert verify(ledger_in(place, sink), f"{place}/{sink}") == []
    assert contents(place) == before


@pytest.mark.parametrize("sink", FILES)
async def test_a_job_of_0_4_0_goes_on_with_a_night_what_failed_and_verify(place, server, sink):
    """It is upgraded in place, after a copy was made; rows are exact, and unknown checksums are only counted."""
    ledger = ledger_in(place, sink)
    original = shutil.copyfile(ledger, place / "original")
    living = [number for number in range(8) if number != DEAD]
    assert rows_at(place, sink) == truth_of(server.histories, living, FIRST, LAST)
    async with server.client(window=150) as client:
        job = HistoryJob(client, None, sink_of(f"{place}/{sink}"), ledger=ledger, today=lambda: LONG_AFTER)
        progress = await ran(job, until=NIGHT)
        assert (progress.failed, progress.provisional, progress.pending) == (0, 0, 0)
        assert await job.verify() == []
    assert rows_at(place, sink) == truth_of(server.histories, range(8), FIRST, NIGHT)
    assert version_of(ledger) == SCHEMA_VERSION
    copy = ledger.with_name(f"{ledger.name}.v1")
    assert version_of(copy) == 1
    with closing(sqlite3.connect(copy)) as old, closing(sqlite3.connect(original)) as before:
        assert list(old.iterdump()) == list(before.iterdump())
    with closing(sqlite3.connect(ledger)) as connection:
        known = connection.execute("SELECT count(checksum), count(fetched_at) FROM units WHERE rows > 0").fetchone()
        (all_of_them,) = connection.execute("SELECT count(*) FROM units WHERE rows > 0").fetchone()
    assert 0 < known[0] < all_of_them
    assert 0 < known[1] < all_of_them


@pytest.mark.parametrize("sink", FILES)
async def test_what_failed_under_0_4_0_is_asked_for_again(place, server, sink):
    """By `retry_failed`, without newer days."""
    async with server.client(window=150) as client:
        job = HistoryJob(client, None, sink_of(f"{place}/{sink}"), ledger=ledger_in(place, sink), today=lambda: LAST)
        progress = await ran(job, retry_failed=True)
        assert (progress.failed, progress.pending) == (0, 0)
        assert await job.verify() == []
    assert rows_at(place, sink) == truth_of(server.histories, range(8), FIRST, LAST)


@pytest.mark.parametrize("sink", UNFINISHED)
async def test_a_job_that_0_4_0_left_unfinished_goes_on(place, server, sink):
    """Where it stood."""
    async with server.client(window=150) as client:
        job = HistoryJob(client, None, sink_of(f"{place}/{sink}"), ledger=ledger_in(place, sink), today=lambda: LAST)
        progress = await ran(job)
        assert (progress.failed, progress.pending) == (0, 0)
        assert await job.verify() == []
    assert rows_at(place, sink) == truth_of(server.histories, range(8), FIRST, LAST)


async def test_a_table_that_0_4_0_made_in_postgresql_goes_on(place, server, postgres):
    """With the new column at its end, and null in the rows that were there."""
    postgres.execute("DROP TABLE IF EXISTS history, history_job")
    postgres.execute((place / "postgres.sql").read_text().replace("\\restrict", "--").replace("\\unrestrict", "--"))
    ledger = place / "postgres.history.ledger"
    url = f"{postgres.dsn}?table=history"
    async with server.client(window=150) as client:
        job = HistoryJob(client, None, sink_of(url), ledger=ledger, today=lambda: LONG_AFTER)
        progress = await ran(job, until=NIGHT)
        assert (progress.failed, progress.provisional, progress.pending) == (0, 0, 0)
        assert await job.verify() == []
    assert rows_in(url) == truth_of(server.histories, range(8), FIRST, NIGHT)


@pytest.mark.slow
async def test_a_dlt_pipeline_that_0_4_0_filled_goes_on(place, server, monkeypatch):
    """It merges into the same table."""
    import dlt
    import duckdb

    from profile_history.sinks.dlt import DltSink

    monkeypatch.setenv("RUNTIME__DLTHUB_TELEMETRY", "false")
    pipeline = dlt.pipeline(
        "histories",
        destination=dlt.destinations.duckdb(str(place / "warehouse.duckdb")),
        dataset_name="crm",
        pipelines_dir=str(place / "pipelines"),
    )
    async with server.client(window=150) as client:
        sink = DltSink(pipeline, table="history")
        job = HistoryJob(client, None, sink, ledger=place / "crm.ledger", today=lambda: LONG_AFTER)
        progress = await ran(job, until=NIGHT)
        assert (progress.failed, progress.provisional, progress.pending) == (0, 0, 0)
        assert await job.verify() == []
    with duckdb.connect(str(place / "warehouse.duckdb"), read_only=True) as connection:
        (rows,) = connection.execute("SELECT count(*) FROM crm.history WHERE deleted IS NULL").fetchone()
    assert rows == truth_of(server.histories, range(8), FIRST, NIGHT).total()


def test_an_upgrade_that_is_cut_short_leaves_the_ledger_as_it_was(place, monkeypatch):
    """The next start upgrades it."""
    ledger = place / "history.ndjson.ledger"
    before = status_of(ledger)

    def cut(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("profile_history.jobs.upgrade.Plan.from_json", cut)
        with pytest.raises(KeyboardInterrupt):
            Ledger(ledger)
    assert version_of(ledger) == 1
    assert status_of(ledger) == before
    with Ledger(ledger):
        pass
    assert version_of(ledger) == SCHEMA_VERSION
    assert status_of(ledger).totals == before.totals


def test_a_ledger_of_0_4_0_whose_plan_was_edited_is_refused_and_not_upgraded(place):
    """As it was under 0.4.0."""
    ledger = place / "history.ndjson.ledger"
    with closing(sqlite3.connect(ledger, isolation_level=None)) as connection:
        (text,) = connection.execute("SELECT value FROM job WHERE key = 'plan'").fetchone()
        plan = {**json.loads(text), "date_to": "2024-12-31"}
        connection.execute("UPDATE job SET value = ? WHERE key = 'plan'", [json.dumps(plan)])
    with pytest.raises(LedgerError, match="changed by hand"):
        Ledger(ledger)
    assert version_of(ledger) == 1


def test_a_ledger_of_0_4_0_with_a_column_of_somebody_else_is_refused_and_not_upgraded(place):
    """The upgrade would add one of the same name; what SQLite says is told, and what to do."""
    ledger = place / "history.ndjson.ledger"
    with closing(sqlite3.connect(ledger, isolation_level=None)) as connection:
        connection.execute("ALTER TABLE units ADD COLUMN fetched_at TEXT")
    before = status_of(ledger)
    with pytest.raises(LedgerError, match=r"changed by hand \(duplicate column name: fetched_at\); restore it"):
        Ledger(ledger)
    assert version_of(ledger) == 1
    assert status_of(ledger) == before
