"""The end of a night that has replaced most of what was there: it takes time in proportion, and can be interrupted."""

import datetime as dt
import random
import threading
import time
from pathlib import Path

import pytest
from support.sink_ledger import pieces_of

from profile_history import Profile
from profile_history.jobs.batch_builder import PendingCommit
from profile_history.jobs.plan import Plan
from profile_history.jobs.planner import plan_job
from profile_history.jobs.records import Status, UnitRecord
from profile_history.jobs.schema import PlanningStopped
from profile_history.jobs.session import JobSession
from profile_history.jobs.sources import MemorySource
from profile_history.sinks import Stored, UnitRows, sink_of
from profile_history.windows import Window

FIRST, LAST = dt.date(2024, 1, 1), dt.date(2024, 1, 31)
WHOLE = Window(FIRST, LAST)
TERMS = {"url": "http://127.0.0.1/", "list_id": 1, "window": "auto", "border": "overlap", "order": "newest"}
ROW = b'{"action":"open","datetime":"2024-01-05T00:00:00Z"}'
ROWS, BATCH = 2, 25_000
SINKS = ("history.ndjson", "history.csv", "lake.parquet")
LONGEST = 5.0


def rows_of(number, lane):
    """The rows of one unit."""
    profile = f"email:{number}@example.com"
    return UnitRows(number, profile, [ROW] * ROWS) if lane == "raw" else UnitRows(number, profile, column_slices=PIECES)


PIECES = pieces_of([ROW] * ROWS)[0]


def replaced_job(directory, sink, units):
    """A job whose units were all fetched twice, every eighth but once; gives its session before the end."""
    directory.mkdir()
    path = directory / "job.ledger"
    plan = Plan("memory", "", FIRST, LAST, TERMS, sink_of(str(directory / sink)).url)
    profiles = MemorySource([Profile.email(f"{number}@example.com") for number in range(units)])
    plan_job(path, plan, profiles, threading.Event())
    session = opened(path)
    lane = session.sink.row_format
    for start in range(1, units + 1, BATCH):
        numbers = range(start, min(start + BATCH, units + 1))
        records = [UnitRecord(number, number, WHOLE, Status.PROVISIONAL, planned=True) for number in numbers]
        session.commit(PendingCommit([rows_of(number, lane) for number in numbers], records))
    query = "SELECT number, batch, place, rows FROM units WHERE number % 8 > 0 ORDER BY number"
    stored = [Stored(*row) for row in session.ledger.connection.execute(query)]
    for start in range(0, len(stored), BATCH):
        some = stored[start : start + BATCH]
        records = [UnitRecord(unit.unit + units, unit.unit, WHOLE, Status.DONE) for unit in some]
        session.commit(PendingCommit([rows_of(unit.unit + units, lane) for unit in some], records, replaced=some))
    return session


def opened(path):
    """The session of a job that is there."""
    session = JobSession(path, threading.Event())
    session.open(None, None, None)
    return session


def seconds_of(work):
    """How long something takes."""
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


@pytest.mark.slow
@pytest.mark.parametrize("sink", SINKS)
def test_the_end_of_a_night_takes_time_in_proportion_to_what_it_replaced(sink, tmp_path):
    """Eight times as many replaced units take no more than some twenty times as long."""
    took = {}
    for units in (2_000, 16_000):
        session = replaced_job(tmp_path / str(units), sink, units)
        took[units] = seconds_of(session.finish)
        assert list(session.sink.verify()) == []
        assert session.ledger.totals.rows == units * ROWS
        session.close()
    assert took[16_000] < 20 * max(took[2_000], 0.1)


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("sink", SINKS)
def test_a_hundred_thousand_replaced_units_end_soon_and_can_be_interrupted(sink, tmp_path):
    """Wherever it is when it is told to stop, it does so within five seconds, and the next start does it again."""
    units = 115_000
    session = replaced_job(tmp_path / "undisturbed", sink, units)
    undisturbed = seconds_of(session.finish)
    session.close()
    session = replaced_job(tmp_path / "job", sink, units)
    path, chance = Path(session.path), random.Random(1)
    longest, interrupted = 0.0, 0
    for _ in range(6):
        delay = chance.uniform(0.0, 0.8)
        timer = threading.Timer(delay, session.stop.set)
        timer.start()
        begun = time.monotonic()
        try:
            session.finish()
        except PlanningStopped:
            interrupted += 1
            longest = max(longest, time.monotonic() - begun - delay)
        timer.cancel()
        session.close()
        session = opened(path)
    session.finish()
    assert list(session.sink.verify()) == []
    assert session.ledger.totals.rows == units * ROWS
    session.close()
    print(
        f"\n{sink}: {units * 7 // 8:,} replaced units; {interrupted} interruptions, the longest of which took "
        f"{longest:.2f} s; undisturbed {undisturbed:.2f} s"
    )
    assert longest < LONGEST
