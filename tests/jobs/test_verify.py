"""Verifying a job: nothing that a person would want to know is called well, and nothing is written."""

import datetime as dt
import hashlib
import json
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from support.commands import run  # noqa: F401 (a fixture)

from profile_history import ConfigurationError, RetryPolicy, Window
from profile_history.jobs import HistoryJob, JobHeld, verification_of, verify
from profile_history.jobs.ledger import Ledger
from profile_history.jobs.lock import JobLock
from profile_history.jobs.plan import Plan
from profile_history.jobs.planner import plan_job
from profile_history.jobs.records import LedgerWrite, Status, UnitRecord
from profile_history.jobs.sources import MemorySource
from profile_history.sinks import Receipt, SinkError, sink_of
from profile_history.sinks import lock as lock_module
from profile_history.sinks.ndjson import NdjsonSink
from profile_history.testing import Fault, FaultPlan, HistoryServer

FIRST, LAST = dt.date(2024, 1, 1), dt.date(2024, 3, 31)
PROFILES = 12
SINKS = ("history.ndjson", "history.csv", "lake.parquet", "history.duckdb")
EVERY = pytest.mark.parametrize("sink", SINKS)


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server of some profiles; the working directory is the test's own."""
    monkeypatch.chdir(tmp_path)
    with HistoryServer(profiles=PROFILES, seed=5, first_day=FIRST, last_day=LAST) as server:
        yield server


async def exported(server, sink, *, dead=()):
    """Run a job; return its ledger."""
    server.faults = FaultPlan(rates={Fault.API_ERROR: 1.0} if dead else {}, streak=None, profiles=set(dead))
    async with server.client(window=31, retry=RetryPolicy(attempts=1, passes=1)) as client:
        job = HistoryJob(
            client,
            server.profiles(),
            sink,
            ledger=f"{sink}.ledger",
            date_from=FIRST,
            date_to=LAST,
            commit_bytes=3000,
            commit_seconds=0.01,
        )
        async for _ in job.run():
            pass
    return Path(f"{sink}.ledger")


def contents(directory):
    """All files, what is in them, and when they were changed."""
    return {
        path.relative_to(directory).as_posix(): (
            path.lstat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None,
        )
        for path in (directory, *directory.rglob("*"))
    }


@EVERY
async def test_verifying_writes_nothing(server, sink, tmp_path, run):
    """No lock, no log, no directory; what a run that was killed has left stays."""
    await exported(server, sink)
    for lock in tmp_path.rglob("*.lock"):
        lock.unlink()
    before = contents(tmp_path)
    code, out, err = run("verify", sink)
    assert (code, out) == (0, "")
    assert "all is well" in err
    assert contents(tmp_path) == before


@EVERY
async def test_failed_units_are_named_with_the_command_that_mends_them(server, sink, run):
    """What was fetched is intact, and the code is 1."""
    await exported(server, sink, dead={1, 4})
    found = verification_of(f"{sink}.ledger")
    assert (found.differences, found.failed_profiles, found.is_whole) == ([], 2, False)
    events = found.totals.rows
    code, out, err = run("verify", sink)
    assert (code, out) == (1, "")
    assert f"the {events:,} events fetched are intact, but 2 of 12 profiles failed: " in err
    assert f"profile-history retry-failed {sink}.ledger" in err
    code, out, _ = run("verify", sink, "--json")
    said = json.loads(out)
    assert (code, said["failed"], said["pending"], said["counted_only"]) == (1, found.totals.failed, 0, 0)


async def test_a_ledger_without_its_totals_or_with_others_is_a_difference(server, run):
    """They are what every summary says."""
    ledger = await exported(server, "history.ndjson")
    whole = ledger.read_bytes()
    with closing(sqlite3.connect(ledger)) as connection:
        connection.execute("UPDATE job SET value = json_set(value, '$.rows', 7, '$.done', 1) WHERE key = 'totals'")
        connection.commit()
    said = verify(ledger)
    assert [sentence.partition(" and its")[0] for sentence in said] == [
        "the totals of the ledger say 1 done,",
        "the totals of the ledger say 7 rows,",
    ]
    ledger.write_bytes(whole)
    with closing(sqlite3.connect(ledger)) as connection:
        connection.execute("DELETE FROM job WHERE key = 'totals'")
        connection.commit()
    code, out, _ = run("verify", "history.ndjson")
    assert (code, "has lost its totals; restore it from a backup" in out) == (1, True)


async def test_values_that_were_changed_in_a_database_are_found(server, run):
    """Also where every unit has as many rows as before."""
    await exported(server, "history.duckdb")
    with duckdb.connect("history.duckdb") as connection:
        connection.execute("UPDATE history SET action = 'unsub' WHERE unit = 2 AND \"row\" = 0")
    code, out, err = run("verify", "history.duckdb")
    assert (code, out, err) == (1, "unit 2 has other values here than were stored\n", "")


async def test_a_stray_file_in_a_dataset_is_found(server, tmp_path, run):
    """Who reads the directory would read its rows as well."""
    await exported(server, "lake.parquet")
    part = next(tmp_path.rglob("*.parquet/*.parquet"))
    pq.write_table(pq.read_table(part), part.with_name("copy.parquet"))
    code, out, _ = run("verify", "lake.parquet")
    assert (code, "copy.parquet is not in the ledger, and who reads the directory reads it" in out) == (1, True)


async def test_units_without_a_checksum_are_counted_and_that_is_said(server, run):
    """Those of an earlier version; that alone is no difference."""
    ledger = await exported(server, "history.duckdb")
    with closing(sqlite3.connect(ledger)) as connection:
        connection.execute("UPDATE units SET checksum = NULL WHERE number IN (1, 2)")
        connection.commit()
    with duckdb.connect("history.duckdb") as connection:
        connection.execute("UPDATE history SET action = 'unsub' WHERE unit = 2")
    assert verification_of(ledger).counted_only == 2
    code, out, err = run("verify", "history.duckdb")
    assert (code, out) == (0, "")
    assert "all is well" in err
    assert "2 units of an earlier version could only be counted" in err
    with duckdb.connect("history.duckdb") as connection:
        connection.execute("DELETE FROM history WHERE unit = 2")
    code, out, err = run("verify", "history.duckdb")
    assert (code, "unit 2 has no rows here and " in out) == (1, True)
    assert "all is well" not in err


def test_what_is_no_job_cannot_be_verified(tmp_path):
    """Neither what is not there, nor what was not planned."""
    with pytest.raises(ConfigurationError, match=r"there is no ledger .*; name the ledger of a job"):
        verify(tmp_path / "a.ledger")
    (tmp_path / "a.ledger.planning").touch()
    with pytest.raises(ConfigurationError, match="was stopped before it knew its profiles; run the same"):
        verify(tmp_path / "a.ledger")


async def test_a_database_that_cannot_be_opened_says_nothing_of_what_it_holds(server, tmp_path):
    """That is an error of the sink, and no difference; a table that is gone is one."""
    ledger = await exported(server, "history.duckdb")
    whole = (tmp_path / "history.duckdb").read_bytes()
    (tmp_path / "history.duckdb").write_bytes(b"no database, " * 1000)
    with pytest.raises(SinkError, match=r"history\.duckdb"):
        verify(ledger)
    (tmp_path / "history.duckdb").write_bytes(whole)
    with duckdb.connect("history.duckdb") as connection:
        connection.execute("DROP TABLE history")
    (said,) = verify(ledger)
    assert "is gone, and " in said


async def test_while_a_job_works_it_is_not_verified_and_the_other_way_round(server, monkeypatch):
    """A start waits for the reading to end, and not for ever; two may read at once."""
    # A private time, which would be waited in earnest.
    monkeypatch.setattr(lock_module, "_ASKING_PATIENCE", 0.05)
    ledger = await exported(server, "history.ndjson")
    lock = JobLock(ledger)
    lock.acquire()
    with pytest.raises(JobHeld, match="is working on this job"):
        verify(ledger)
    lock.release()
    with JobLock(ledger).shared():
        assert verify(ledger) == []
        with pytest.raises(JobHeld):
            JobLock(ledger).acquire()
    lock.acquire()
    lock.release()


async def test_a_run_that_ended_between_the_sink_and_the_ledger_is_told_from_a_difference(server):
    """The next run brings the two in step; until then nothing can be said."""
    ledger = await exported(server, "history.duckdb")

    with Ledger(ledger) as books:
        number = books.last_batch + 1
        books.record_intent(LedgerWrite(number, [UnitRecord(99, 1, Window(FIRST, LAST), Status.DONE, rows=1)]))
        with duckdb.connect("history.duckdb") as connection:
            connection.execute("UPDATE history_job SET last_batch = ?", [number])
        assert verify(ledger) == ["the last run ended between the sink and the ledger; `resume` brings them in step"]
        with duckdb.connect("history.duckdb") as connection:
            connection.execute("UPDATE history_job SET last_batch = ?", [number + 5])
        (said,) = verify(ledger)
        assert f"knows {number - 1} batches and the sink holds {number + 5}" in said


async def test_final_files_that_are_not_in_place_are_told(server):
    """And nothing is put there by reading."""
    ledger = await exported(server, "history.ndjson")

    with Ledger(ledger) as books:
        books.intend_to_publish(Receipt())
    assert verify(ledger) == ["the last run ended before the final files were in place; `resume` puts them there"]


async def test_a_sink_of_ones_own_is_opened_as_ever(server):
    """One that knows nothing of opening for reading, of checksums or of a lock."""

    class Own(NdjsonSink):
        open_to_read = checksums = lock_path = None

        def open(self, books, *, new):
            opened.append(new)
            return super().open(books, new=new)

    opened = []
    async with server.client(window=31) as client:
        job = HistoryJob(
            client, server.profiles(), Own("own.ndjson"), ledger="own.ledger", date_from=FIRST, date_to=LAST
        )
        async for _ in job.run():
            pass
    assert verify("own.ledger", Own("own.ndjson")) == []
    assert opened == [True, False]
    assert verification_of("own.ledger").counted_only > 0


def test_a_job_that_never_opened_its_sink_has_nothing_to_read(tmp_path, server):
    """And makes nothing there."""
    terms = {"url": server.url, "list_id": 1, "window": "auto", "border": "overlap", "order": "newest"}
    plan = Plan("memory", "", FIRST, LAST, terms, sink_of(str(tmp_path / "history.duckdb")).url)
    plan_job(tmp_path / "a.ledger", plan, MemorySource(list(server.profiles())), threading.Event())
    before = contents(tmp_path)
    found = verification_of("a.ledger")
    assert (found.differences, found.pending_profiles, found.is_whole) == ([], PROFILES, False)
    assert contents(tmp_path) == before
