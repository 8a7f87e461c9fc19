"""The ledger: what it writes down, in what order, and what it refuses."""

import datetime as dt
import json
import os
import socket
import sqlite3
import tempfile
import threading
from collections import Counter
from itertools import count
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.job_truth import steady
from support.ledgers import FIRST, LAST, PROFILES, path, plan_for

from profile_history import ConfigurationError, HistoryClient, Matching, Profile
from profile_history.errors import DecodeError
from profile_history.jobs import JobHeld, LedgerError, Progress, status_of, verify
from profile_history.jobs.batch_builder import UnitCollector
from profile_history.jobs.ledger import Ledger
from profile_history.jobs.lock import JobLock
from profile_history.jobs.planner import PlanningStopped, digest_of, extend_job, plan_job
from profile_history.jobs.records import LedgerWrite, QuarantineRecord, Status, UnitRecord
from profile_history.jobs.reject_files import quarantine_beside, rejects_beside, write_lists
from profile_history.jobs.schema import ledger_error
from profile_history.jobs.session import JobSession
from profile_history.jobs.sources import Line, MemorySource
from profile_history.jobs.sources.counted import CountingSource
from profile_history.results import QuarantineEntry as OddRow
from profile_history.results import UnitResult
from profile_history.sinks import Receipt, SinkError
from profile_history.windows import Order, Window

__all__ = ["path"]

WHOLE = Window(FIRST, LAST)


def session_of(path, sink=None):
    """The session of a job that is there."""
    session = JobSession(path, threading.Event())
    try:
        session.open(None, None, sink)
    except BaseException:
        session.close()
        raise
    return session


def pending(session, rows=3, units=2, **more):
    """Some units with rows, as the fetching would gather them."""
    collector = UnitCollector(session.ledger.next_number, steady(dt.date(2030, 1, 1)), Order.NEWEST, "raw")
    for unit in session.ledger.pending(0, units):
        items = [b'{"action":"open","datetime":"2024-01-05T00:00:00Z"}'] * rows
        collector.add([UnitResult(unit, unit.window, items, attempts=1, **more)], 100)
    return collector.take()


def test_units_are_pending_in_the_order_of_the_profiles(path):
    """Page by page."""
    with Ledger(path) as ledger:
        first = ledger.pending(0, 3)
        assert [unit.profile for unit in first + ledger.pending(first[-1].number, 3)] == PROFILES
        assert {unit.window for unit in first} == {WHOLE}
        assert ledger.totals.pending == 5


def test_an_entry_is_written_whole_or_not_at_all(path):
    """An error in its middle leaves the ledger as it was."""
    with Ledger(path) as ledger:
        records = [UnitRecord(1, 1, WHOLE, Status.DONE, rows=3, planned=True), UnitRecord(2, 2, Window(), Status.DONE)]
        with pytest.raises(AssertionError):
            ledger.apply(LedgerWrite(1, records))
        assert (ledger.totals.pending, len(ledger.pending(0, 10)), ledger.last_batch) == (5, 5, 0)
        ledger.apply(LedgerWrite(1, records[:1]))
    with Ledger(path) as ledger:
        assert (ledger.totals.pending, ledger.totals.done, ledger.totals.rows, ledger.last_batch) == (4, 1, 3, 1)
        assert list(ledger.units()) == [(1, 3)]


def test_what_a_database_was_given_before_a_crash_is_written_down_at_the_next_start(tmp_path):
    """The intent says which units the batch held."""
    path = tmp_path / "job.ledger"
    plan_job(path, plan_for(tmp_path, "x.duckdb"), MemorySource(PROFILES), threading.Event())
    session = session_of(path)
    entry = LedgerWrite(1, [UnitRecord(1, 1, WHOLE, Status.DONE, rows=2, planned=True)])
    session.ledger.record_intent(entry)
    session.ledger.recover(0)
    assert session.ledger.totals.done == 0
    session.ledger.recover(1)
    assert (session.ledger.totals.done, session.ledger.last_batch) == (1, 1)
    with pytest.raises(LedgerError, match="knows 1 batches and the sink holds 3"):
        session.ledger.recover(3)
    session.close()


def test_final_files_that_were_noted_are_put_in_place_at_the_next_start(path, tmp_path):
    """Also where the process died after they were."""
    for died in ("before", "after"):
        session = session_of(path)
        work = pending(session)
        session.commit(work)
        receipt = session.sink.finish()
        session.ledger.intend_to_publish(receipt)
        if died == "after":
            session.sink.publish(receipt)
        session.close()
        session = session_of(path)
        assert session.ledger.publishing is None
        assert list(session.sink.verify()) == []
        session.close()
        assert {entry.name for entry in tmp_path.iterdir()} == {
            *("history.ndjson", ".history.ndjson.lock"),
            *("job.ledger", "job.ledger.lock"),
        }
    assert len((tmp_path / "history.ndjson").read_text().splitlines()) == 12


@settings(suppress_health_check=list(HealthCheck))
@given(st.lists(st.lists(st.tuples(st.integers(1, 4), st.booleans()), max_size=6), max_size=4))
def test_rows_move_up_by_those_that_are_gone_before_them(batches):
    """In each batch by itself, whichever units of it were replaced."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "job.ledger")
        plan_job(path, plan_for(path.parent), MemorySource(PROFILES), threading.Event())
        with Ledger(path) as ledger:
            expected = {}
            numbers = count(10)
            for batch, units in enumerate(batches, 1):
                place = moved = 0
                for rows, gone in units:
                    number = next(numbers)
                    table, values = ("dead", (number, batch, place, rows)) if gone else ("units", None)
                    if gone:
                        ledger.connection.execute(f"INSERT INTO {table} VALUES (?, ?, ?, ?)", values)
                    else:
                        ledger.connection.execute(
                            "INSERT INTO units (number, profile, date_from, date_to, status, rows, batch, place) "
                            "VALUES (?, 1, 0, 0, 1, ?, ?, ?)",
                            (number, rows, batch, place),
                        )
                        expected[number] = moved
                        moved += rows
                    place += rows
            ledger.record_published(Receipt())
            query = "SELECT number, place FROM units WHERE number >= 10"
            assert dict(ledger.connection.execute(query)) == expected
            assert list(ledger.tombstones()) == []


def test_taking_note_of_the_final_files_is_interrupted_as_a_whole(path):
    """However many units it is about; the next run does it again."""
    session = session_of(path)
    session.ledger.connection.executescript(
        "WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < 60000) "
        "INSERT INTO units (number, profile, date_from, date_to, status, rows, batch, place) "
        "SELECT i, 1, 0, 0, 1, 1, 1, 2 * i FROM n; "
        "INSERT INTO dead SELECT number, batch, place - 1, 1 FROM units WHERE number >= 100"
    )
    before = session.ledger.connection.execute("SELECT number, place FROM units").fetchall()
    session.stop.set()
    with pytest.raises(PlanningStopped, match="was interrupted; run the same command again"):
        session.ledger.record_published(Receipt())
    with pytest.raises(PlanningStopped, match="was interrupted; run the same command again"):
        session.ledger.check_stop()
    session.stop.clear()
    assert session.ledger.connection.execute("SELECT number, place FROM units").fetchall() == before
    session.ledger.record_published(Receipt())
    assert session.ledger.connection.execute("SELECT max(place) FROM units").fetchall() == [(60_099,)]
    session.close()


def test_a_sink_that_is_not_its_own_any_more_is_refused_and_the_ledger_stays(path, tmp_path):
    """Only a ledger that stands for nothing yet is deleted."""
    session = session_of(path)
    session.commit(pending(session))
    session.finish()
    session.close()
    with pytest.raises(SinkError):
        (tmp_path / "history.ndjson.partial").write_text("")
        session_of(path)
    assert path.exists()


def test_a_table_that_was_taken_over_is_refused_and_the_ledger_stays(tmp_path):
    """Whatever it holds now is somebody else's."""
    path = tmp_path / "job.ledger"
    plan_job(path, plan_for(tmp_path, "x.duckdb"), MemorySource(PROFILES), threading.Event())
    session_of(path).close()
    with duckdb.connect(str(tmp_path / "x.duckdb")) as connection:
        connection.execute("UPDATE history_job SET job = 'another'")
    with pytest.raises(ConfigurationError):
        session_of(path)
    assert path.exists()


def test_only_what_covers_the_same_days_is_replaced(path):
    """Provisional units of other days and other profiles stay."""
    with Ledger(path) as ledger:
        recent, before = Window(dt.date(2024, 1, 30), LAST), Window(FIRST, dt.date(2024, 1, 29))
        ledger.apply(LedgerWrite(None, [UnitRecord(9, 1, recent, Status.PROVISIONAL)], rests=[(1, before)]))
        assert [unit.replaces for unit in ledger.pending(0, 10)] == [()] * 5
        ledger.connection.execute("UPDATE units SET date_to = date_to + 2 WHERE number = 1")
        assert [stored.unit for stored in ledger.pending(0, 1)[0].replaces] == [9]


def test_lines_that_name_no_profile_do_not_change_the_fingerprint():
    """What is compared are the profiles."""

    class Odd(MemorySource):
        """Has a bad line more."""

        def lines(self):
            yield Line(1, None, "odd", "x")
            yield from super().lines()

    odd, plain, fewer = (
        digest_of(source, threading.Event())
        for source in (Odd(PROFILES), MemorySource(PROFILES), MemorySource(PROFILES[1:]))
    )
    assert odd == plain != fewer


def test_a_hash_that_an_older_version_kept_in_upper_case_is_no_newcomer_in_lower_case(tmp_path):
    """Its days would be in the sink twice; what is new indeed is taken in."""
    path, old = tmp_path / "job.ledger", "0EB51AEFD919F90A"
    kept = [Profile(Matching.XXH, xxh=old), Profile(Matching.EMAIL, email="<a@x.ru>"), Profile.xxh("ab" * 8)]
    plan_job(path, plan_for(tmp_path), MemorySource(kept), threading.Event())
    listed = [Profile.xxh(old), Profile.email("a@x.ru"), Profile.xxh("AB" * 8), Profile.xxh("cd" * 8)]
    with Ledger(path) as ledger:
        extend_job(ledger, LAST + dt.timedelta(days=1), MemorySource(listed), threading.Event())
        names = [text for (text,) in ledger.connection.execute("SELECT profile FROM profiles ORDER BY ordinal")]
        assert names == [f"xxh:{old}", "email:<a@x.ru>", f"xxh:{'ab' * 8}", "email:a@x.ru", f"xxh:{'cd' * 8}"]
        assert {unit.profile for unit in ledger.pending(0, 100)} == {*kept, listed[1], listed[3]}


def test_how_a_job_stands_can_be_asked_at_any_time(path, tmp_path):
    """While its profiles are read, while somebody works on it, and afterwards."""
    stood = status_of(path)
    assert (stood.plan.date_to, stood.totals.units, stood.holder, stood.publishing) == (LAST, 5, None, False)
    session = session_of(path)
    session.commit(pending(session, rows=0, units=1, error=DecodeError("nonsense")))
    stood = status_of(path)
    assert (stood.holder.pid, stood.totals.failed) == (os.getpid(), 1)
    assert str(stood.holder).startswith(f"process {os.getpid()} on ")
    assert [failure.profile for failure in stood.failures] == ["email:0@example.com"]
    session.close()
    assert status_of(path).holder is None
    with pytest.raises(ConfigurationError, match="there is no ledger"):
        status_of(tmp_path / "another.ledger")
    (tmp_path / "another.ledger.planning").touch()
    assert status_of(tmp_path / "another.ledger").plan is None


def test_a_lock_that_a_dead_process_has_left_behind_holds_nobody(path, monkeypatch):
    """Its name may still stand there."""
    # A private time, for which a name is waited for in earnest.
    monkeypatch.setattr("profile_history.sinks.lock._PATIENCE", 0.02)
    lock = path.with_name("job.ledger.lock")
    lock.write_text("1234567 elsewhere\n")
    assert status_of(path).holder is None
    held = JobLock(path)
    held.acquire()
    lock.write_text(f"4194304 {socket.gethostname()}\n")
    with pytest.raises(JobHeld, match="another process is working") as caught:
        JobLock(path).acquire()
    assert caught.value.pid is None
    # Process 1 is always there, and may not be ours to signal.
    lock.write_text(f"1 {socket.gethostname()}\n")
    with pytest.raises(JobHeld, match="process 1 on") as caught:
        JobLock(path).acquire()
    assert caught.value.pid == 1
    held.release()


def test_a_ledger_needs_its_directory(tmp_path):
    """The error says so."""
    with pytest.raises(LedgerError, match="make its directory, or choose another place"):
        JobLock(tmp_path / "nowhere" / "job.ledger").acquire()


def test_files_that_are_not_there_any_more_differ_from_the_ledger(path, tmp_path):
    """That is what verifying is for, and no error."""
    session = session_of(path)
    session.commit(pending(session))
    session.finish()
    session.close()
    (tmp_path / "history.ndjson.partial").unlink()
    (difference,) = verify(path)
    assert "history.ndjson.partial" in difference


def test_a_database_that_cannot_be_read_says_nothing_of_what_it_holds(tmp_path):
    """So that is an error, and no difference."""
    path = tmp_path / "job.ledger"
    plan_job(path, plan_for(tmp_path, "x.duckdb"), MemorySource(PROFILES), threading.Event())
    session_of(path).close()
    (tmp_path / "x.duckdb").write_bytes(b"no database" * 1000)
    with pytest.raises(SinkError):
        verify(path)


def test_a_source_that_is_counted_is_the_same_source():
    """But for the count."""
    source = MemorySource(PROFILES)
    counted = CountingSource(source)
    assert (counted.url, counted.repeatable) == (source.url, source.repeatable)
    assert [line.profile for line in counted.lines()] == PROFILES
    assert counted.read == 5


async def test_a_reader_of_units_takes_nothing_else():
    """A profile alone does not say which days."""
    async with HistoryClient("http://127.0.0.1:9", token="t", list_id=1) as client:
        reader = client.read_units(PROFILES)
        with pytest.raises(ConfigurationError, match="units are Unit values, not Profile"):
            async for _ in reader.unit_results(lambda window, _: [window]):
                pass


def fetched_day_by_day(path, today, *, until=None, dead=(), retried=False, order=Order.NEWEST, most=1000):
    """A run on some day, with one row a day and profile; the dead days fail, and so many are settled at most."""
    session = session_of(path)
    if retried:
        session.retry_failed()
    if until is not None:
        session.extend(until, None)
    collector = UnitCollector(session.ledger.next_number, steady(today, 2), order, "raw")
    for unit in session.ledger.pending(0, 100):
        for window in list(unit.window.divide(1, order, today))[:most]:
            row = b'{"action":"open","datetime":"%bT00:00:00Z"}' % str(window.date_from).encode()
            bad = DecodeError("nonsense") if window.date_from in dead else None
            collector.add([UnitResult(unit, window, [] if bad else [row], bad, attempts=1)], 100)
    session.commit(collector.take())
    session.finish()
    session.close()


def day(number):
    """A day of January 2024, or after it."""
    return dt.date(2023, 12, 31) + dt.timedelta(days=number)


def days_in(path):
    """How often each day of each profile is in the final file."""
    assert verify(path) == []
    lines = map(json.loads, path.with_name("history.ndjson").read_text().splitlines())
    return Counter((line["profile"], line["event"]["datetime"][:10]) for line in lines)


def each_once(last):
    """Every profile's every day until the last, once."""
    return Counter({(str(profile), str(day(number))): 1 for profile in PROFILES for number in range(1, last + 1)})


def test_a_day_that_failed_among_recent_ones_is_fetched_again_with_them(path):
    """It is asked for once, and the days around it are replaced, not doubled."""
    fetched_day_by_day(path, LAST, dead=[day(30)])
    fetched_day_by_day(path, day(41), until=day(41))
    assert days_in(path) == each_once(41)
    with Ledger(path) as ledger:
        assert (ledger.totals.failed, ledger.totals.pending) == (0, 0)


def test_a_day_that_failed_at_the_end_is_fetched_again_with_the_recent_ones(path):
    """So that nothing final comes to stand behind what is provisional."""
    fetched_day_by_day(path, LAST, dead=[day(31)])
    for number in (41, 51):
        fetched_day_by_day(path, day(number), until=day(number))
        assert days_in(path) == each_once(number)


def test_a_recent_day_that_is_had_long_after_those_around_it_is_not_doubled(path):
    """It is final by then, and still it stands between two that are fetched again."""
    fetched_day_by_day(path, LAST, dead=[day(30)])
    fetched_day_by_day(path, day(41), retried=True)
    assert days_in(path) == each_once(31)
    for number in (41, 51):
        fetched_day_by_day(path, day(number), until=day(number))
        assert days_in(path) == each_once(number)


def test_recent_days_of_a_run_that_was_gone_on_with_long_after_are_not_doubled(path):
    """With the oldest first, final days come to stand behind provisional ones."""
    fetched_day_by_day(path, LAST, order=Order.OLDEST, most=30)
    fetched_day_by_day(path, day(41), order=Order.OLDEST)
    assert days_in(path) == each_once(31)
    for number in (41, 51):
        fetched_day_by_day(path, day(number), until=day(number), order=Order.OLDEST)
        assert days_in(path) == each_once(number)


def test_rows_that_are_set_apart_are_listed_whatever_their_bytes(path):
    """As text, or in base64 where they are none."""
    with Ledger(path) as ledger:
        rows = [QuarantineRecord(1, "odd", b'{"a":1}'), QuarantineRecord(1, "odder", b"\xff")]
        ledger.apply(LedgerWrite(None, [UnitRecord(1, 1, WHOLE, Status.DONE, planned=True)], quarantined=rows))
        write_lists(ledger)
        text = quarantine_beside(path).read_text()
    assert '"raw": "{\\"a\\":1}"' in text
    assert '"raw_base64": "/w=="' in text


def test_lists_can_be_read_by_their_owner_only(path):
    """As the ledger: they hold the same."""
    with Ledger(path) as ledger:
        rows = [QuarantineRecord(1, "odd", b'{"a":1}')]
        ledger.apply(LedgerWrite(None, [UnitRecord(1, 1, WHOLE, Status.DONE, planned=True)], quarantined=rows))
        ledger.connection.execute("INSERT INTO rejects VALUES (1, 'odd', 'x')")
        # As version 0.4.0 left it.
        quarantine_beside(path).touch(0o644)
        write_lists(ledger)
    modes = [file.stat().st_mode & 0o777 for file in (path, rejects_beside(path), quarantine_beside(path))]
    assert modes == [0o600] * 3


def test_odd_rows_go_with_their_unit(path):
    """A row that cannot be read is listed under the unit that was fetched."""
    session = session_of(path)
    odd = OddRow("no action", b"{}", 0, None)
    session.commit(pending(session, rows=0, units=1, quarantined=(odd,)))
    assert session.ledger.totals.quarantined == 1
    assert [row[3] for row in session.ledger.quarantine()] == ["no action"]
    session.close()


def test_planning_newer_days_can_be_interrupted(path):
    """Within a statement as well; it begins anew the next time."""
    stop = threading.Event()

    class Slow(MemorySource):
        """Asks to stop when it is read."""

        def lines(self):
            yield Line(1, PROFILES[0])
            stop.set()

    with Ledger(path) as ledger:
        with pytest.raises(PlanningStopped):
            extend_job(ledger, dt.date(2024, 2, 29), Slow(()), stop)
        ledger.connection.execute(
            "INSERT INTO profiles (profile) WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL "
            "SELECT x + 1 FROM n WHERE x < 300000) SELECT 'email:' || x || '@x.y' FROM n"
        )
        with pytest.raises(PlanningStopped):
            extend_job(ledger, dt.date(2024, 2, 29), None, stop)
        assert ledger.plan.date_to == LAST
        assert ledger.totals.pending == 5


def test_an_error_while_planning_that_nobody_asked_for_is_told(path):
    """It is not taken for an interruption."""
    with Ledger(path) as ledger:
        ledger.connection.execute("DROP TABLE units")
        with pytest.raises(LedgerError, match="damaged, or was changed by hand"):
            extend_job(ledger, dt.date(2024, 2, 29), None, threading.Event())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("SQLITE_FULL", "free the disk"),
        ("SQLITE_IOERR_FSYNC", "free the disk"),
        ("SQLITE_CORRUPT", "damaged"),
        ("SQLITE_BUSY", "cannot be used"),
    ],
)
def test_what_sqlite_says_comes_with_what_to_do(tmp_path, name, words):
    """By the name of its error."""
    error = sqlite3.OperationalError("it says so")
    error.sqlite_errorname = name
    assert words in str(ledger_error(tmp_path / "job.ledger", error))
    assert "it says so" in str(ledger_error(tmp_path / "job.ledger", error))


def test_the_time_that_is_left_follows_from_this_runs_speed():
    """It is unknown before the first unit is settled."""
    assert Progress("fetching", pending=10).eta is None
    assert Progress("fetching", pending=10, settled_here=5, seconds=2.0).eta == 4.0


def test_a_failed_window_keeps_its_reason(path):
    """As the error says it."""
    session = session_of(path)
    session.commit(pending(session, rows=0, units=1, error=DecodeError("nonsense", path="$.data")))
    (failed,) = session.ledger.failures()
    assert failed == ("email:0@example.com", WHOLE, "nonsense (at $.data)")
    session.close()
