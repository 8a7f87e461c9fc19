"""A job as a state machine: whatever happens in whatever order, the sink holds what the model says is committed."""

import datetime as dt
import os
import shutil
import tempfile
import threading
from collections import Counter
from itertools import groupby
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support.disks import CountingDisk
from support.job_truth import files_in, known_files, steady
from support.sink_ledger import pieces_of

from profile_history import ConfigurationError, Profile
from profile_history.errors import ServerUnavailable
from profile_history.jobs import JobHeld, LedgerError
from profile_history.jobs.batch_builder import UnitCollector
from profile_history.jobs.ledger_reader import open_read_only
from profile_history.jobs.plan import Plan
from profile_history.jobs.session import JobSession
from profile_history.jobs.sources import MemorySource
from profile_history.results import UnitResult
from profile_history.sinks.ndjson import NdjsonSink
from profile_history.sinks.parquet import ParquetSink
from profile_history.windows import Order, Window

DAY = dt.timedelta(days=1)
FIRST, LAST = dt.date(2024, 1, 27), dt.date(2024, 2, 3)
LOOKBACK = 2
# After so many operations of the disk the process dies; None for not.
FUSES = st.sampled_from((None, None, None, 0, 1, 2, 3, 4, 6, 9, 14))
OUTCOMES = ("ok", "ok", "ok", "halved", "failed")
PROFILES = [Profile.email(f"user{number}@example.com") for number in range(3)]
TERMS = {"url": "http://localhost", "list_id": 1, "window": 30, "border": "overlap", "order": "newest"}
ONCE, OFTEN = (
    settings(max_examples=30, stateful_step_count=40),
    settings(max_examples=1000, stateful_step_count=60),
)


class Crash(BaseException):
    """The process is gone."""


class Fuse(CountingDisk):
    """A disk on which the process dies when its fuse has burnt down; a write is then cut short."""

    left = None

    def before(self, operation, path):
        super().before(operation, path)
        if self.left is None:
            return
        self.left -= 1
        if self.left < 0:
            if operation == "write":
                with path.open("ab") as file:
                    file.write(b"to")
            raise Crash


class Served:
    """What the server has of a day: late events come in until a day is as old as the look-back."""

    def __init__(self):
        self.today = LAST

    def rows(self, profile, day):
        place = PROFILES.index(profile) * 1000 + (day - FIRST).days
        late = min(LOOKBACK, max(0, (self.today - day).days)) if place % 3 == 0 else 0
        return [place * 10 + number for number in range((place + PROFILES.index(profile)) % 4 + late)]

    def all(self, last):
        days = [FIRST + DAY * number for number in range((last - FIRST).days + 1)]
        return {(str(profile), day): self.rows(profile, day) for profile in PROFILES for day in days}


def days_of(window):
    return [window.date_from + DAY * number for number in range((window.date_to - window.date_from).days + 1)]


def text_of(number, day):
    return b'{"action":"click","datetime":"%sT12:00:00Z","message_id":%d}' % (str(day).encode(), number)


class JobMachine(RuleBasedStateMachine):
    """The real session, ledger and sink, over a server in memory.

    Attributes:
        model: The rows of each profile and day that are committed.
        staged: What the next commit changes in it.
    """

    kind = ""

    def __init__(self):
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.path = self.directory / "job.ledger"
        self.served, self.disk = Served(), Fuse()
        self.model, self.staged, self.whole, self.todo = {}, {}, {}, []
        self.last, self.session, self.collector = LAST, None, None
        self.begun = False

    # What happens

    @initialize()
    def plan(self):
        self.resume(retry=False, fuse=None)
        self.begun = True

    @precondition(lambda self: self.session is None)
    @rule(retry=st.booleans(), fuse=FUSES)
    def resume(self, retry, fuse):
        """Start, as the first time or again."""
        session = JobSession(self.path, threading.Event())
        self.session = session
        plan = self._plan(self.last) if not self.begun else None
        if not self._survives(fuse, session.open, plan, MemorySource(PROFILES) if plan else None, self._sink()):
            return
        self._nothing_lies_about()
        if retry:
            session.retry_failed()
        self._take_up()

    @precondition(lambda self: self.todo)
    @rule(data=st.data(), outcome=st.sampled_from(OUTCOMES))
    def fetch(self, data, outcome):
        """One response comes in, for a whole unit or for the newer half of what is left of it, or none comes."""
        self._fetch(data.draw(st.integers(0, len(self.todo) - 1)), outcome)

    def _fetch(self, place, outcome):
        unit, left = self.todo[place]
        days = days_of(left)
        window = Window(days[len(days) // 2], left.date_to) if outcome == "halved" else left
        if window.date_from > left.date_from:
            self.todo[place] = unit, Window(left.date_from, window.date_from - DAY)
        else:
            del self.todo[place]
        if outcome == "failed":
            self.collector.add([UnitResult(unit, window, [], ServerUnavailable("it is down"), 3)], 0)
            self._stage(unit, window, failed=True)
            return
        parts = [
            UnitResult(unit, part, self._items(unit.profile, part), None, 1)
            for part in self.collector.split_window(window, None)
        ]
        self.collector.add(parts, 100)
        self._stage(unit, window, failed=False)

    @precondition(lambda self: self.session is not None)
    @rule(fuse=FUSES)
    def commit(self, fuse):
        """What was fetched gets into sink and ledger, or the process dies over it."""
        pending, staged, self.staged = self.collector.take(), self.staged, {}
        if not pending.records and not pending.rests:
            return
        before = dict(self.model)
        after = {**self.model, **staged}
        self.model = after if self._survives(fuse, self.session.commit, pending) else (before, after)

    @precondition(lambda self: self.session is not None and not self.todo)
    @rule(fuse=FUSES)
    def finish(self, fuse):
        """Nothing is left to fetch, and the files get their final form."""
        self.commit(None)
        self._survives(fuse, self.session.finish)

    @precondition(lambda self: self.session is not None and not self.todo)
    @rule(days=st.integers(0, 3))
    def extend(self, days):
        """Time goes by, and the job goes on to today."""
        self.commit(None)
        last = self.last + DAY * days
        self.served.today = last
        self.session.extend(last, None)
        self.last = last
        self._take_up()

    @precondition(lambda self: self.session is not None)
    @rule(how=st.sampled_from(("stopped", "killed", "failed")))
    def end(self, how):
        """The run is stopped or killed between two operations, or its ledger fails when the sink has the rows."""
        pending = self.collector.take()
        if how == "killed":
            self._die()
            return
        if how == "failed" and (pending.records or pending.rests):
            # It makes SQLite give up whatever statement comes next.
            self.session.ledger.connection.set_progress_handler(lambda: 1, 1)
            with pytest.raises(LedgerError):
                self.session.commit(pending)
        self.session.close()
        self._forget()

    @precondition(lambda self: self.session is not None and not self.todo)
    @rule(data=st.data(), days=st.integers(1, 4), fuse=FUSES)
    def days_go_by(self, data, days, fuse):
        """All of that, as a nightly run does it; the last one may not survive."""
        for left in reversed(range(days)):
            self.extend(1)
            while self.todo:
                self._fetch(0, data.draw(st.sampled_from(OUTCOMES)))
            self.finish(None if left else fuse)
            self.the_sink_holds_what_the_model_says()

    # What must not happen

    @precondition(lambda self: self.session is not None)
    @rule()
    def a_second_process_comes(self):
        """It is refused."""
        second = JobSession(self.path, threading.Event())
        with pytest.raises(JobHeld) as caught:
            second.open(None, None, self._sink(CountingDisk()))
        assert caught.value.pid == os.getpid()
        second.close()

    @precondition(lambda self: self.session is None and self.begun)
    @rule(change=st.sampled_from(("date_from", "date_to", "window", "profiles", "sink")))
    def somebody_comes_with_another_plan(self, change):
        """It is refused, before the sink is touched; while nothing is fetched, it would take the old one's place."""
        with open_read_only(self.path) as ledger:
            if ledger.untouched:
                return
        plan, source, sink = self._plan(self.last), MemorySource(PROFILES), self._sink(CountingDisk())
        if change == "sink":
            sink = NdjsonSink(self.directory / "elsewhere.ndjson")
            plan = Plan(**{**_fields(plan), "sink": sink.url})
        elif change == "profiles":
            source = MemorySource(PROFILES[:2])
        elif change == "window":
            plan = Plan(**{**_fields(plan), "terms": {**TERMS, "window": 7}})
        else:
            plan = Plan(**{**_fields(plan), change: getattr(plan, change) + DAY})
        other = JobSession(self.path, threading.Event())
        with pytest.raises(ConfigurationError, match=r"another plan|the job fills"):
            other.open(plan, source, sink)
        other.close()

    # What holds

    @invariant()
    def the_sink_holds_what_the_model_says(self):
        """While a run has it open, that is after recovery."""
        if self.session is None:
            return
        held = self._held(self.session.ledger)
        if isinstance(self.model, tuple):
            before, after = self.model
            self.model = after if held == _counted(after) else before
        assert held == _counted(self.model)
        ledger = self.session.ledger
        assert ledger.totals.rows == held.total()
        self._tiles(ledger)

    def teardown(self):
        """In the end the sink holds all that the server has, and nothing lies about."""
        if self.session is None:
            self.resume(retry=True, fuse=None)
        self.the_sink_holds_what_the_model_says()
        for _ in range(2):
            self._fetch_all()
            # Twice, as failed units and provisional ones are fetched again by the second run.
            self.extend(1)
        self._fetch_all()
        self.session.finish()
        self.the_sink_holds_what_the_model_says()
        assert self.model == self.served.all(self.last)
        assert list(self.session.sink.verify()) == []
        self._nothing_lies_about()
        assert Counter(dict(self._read_back())) == _counted(self.model)
        self.session.close()
        shutil.rmtree(self.directory)

    # How it is done

    def _survives(self, fuse, work, *arguments):
        self.disk.left = fuse
        try:
            work(*arguments)
        except Crash:
            self._die()
            return False
        finally:
            self.disk.left = None
        return True

    def _die(self):
        """Leave on the disk what a killed process leaves, and a lock that nobody holds."""
        session = self.session
        # A killed process closes nothing in order: only from inside can the files be let go of like that.
        files = [self.path, self.path.with_name("job.ledger-wal")]
        left = {path: path.read_bytes() for path in files if path.exists()}
        # What a process that dies leaves open, and the system closes for it.
        if session._ledger is not None:
            session._ledger.close()
        for path, data in left.items():
            path.write_bytes(data)
        for lock in (session._lock._lock, session._sink_lock):
            if lock is not None and lock._file is not None:
                name = lock.path.read_bytes()
                lock.release()
                lock.path.write_bytes(name)
        self._forget()

    def _forget(self):
        self.session = self.collector = None
        self.staged, self.whole, self.todo = {}, {}, []

    def _take_up(self):
        ledger = self.session.ledger
        clock = steady(self.served.today, LOOKBACK)
        self.collector = UnitCollector(ledger.next_number, clock, Order.NEWEST, self.session.sink.row_format)
        self.todo = [(unit, unit.window) for unit in ledger.pending(0, 1000)]
        self.staged, self.whole = {}, {}

    def _fetch_all(self):
        while self.todo:
            self._fetch(0, "ok")
        self.commit(None)

    def _stage(self, unit, window, *, failed):
        """A unit that replaces others does so when all of it is there; another one does not wait."""
        rows = (
            {} if failed else {(str(unit.profile), day): self.served.rows(unit.profile, day) for day in days_of(window)}
        )
        if not unit.replaces:
            self.staged |= rows
            return
        parts = self.whole.setdefault(unit.number, [])
        parts.append(None if failed else rows)
        if window.date_from == unit.window.date_from and None not in parts:
            for part in parts:
                self.staged |= part

    def _items(self, profile, window):
        texts = [text_of(number, day) for day in days_of(window) for number in self.served.rows(profile, day)]
        return texts if self.session.sink.row_format == "raw" else pieces_of(texts)[0]

    def _plan(self, last):
        return Plan("memory", "", FIRST, last, TERMS, self._sink().url)

    def _tiles(self, ledger):
        """No day of a profile stands in two units, but where one waits to replace another."""
        rows = ledger.connection.execute("SELECT profile, date_from, date_to FROM units WHERE status <> 4").fetchall()
        for profile in {profile for profile, _, _ in rows}:
            days = Counter(day for owner, first, last in rows if owner == profile for day in range(first, last + 1))
            assert max(days.values()) == 1

    def _nothing_lies_about(self):
        """The files are those that the ledger knows, and as long."""
        known = known_files(self.directory, self.session.ledger)
        assert [name for name in files_in(self.directory) if not name.endswith(("-wal", "-shm"))] == known
        for name, ends in groupby(self.session.ledger.parts(), lambda part: part.name):
            path = self.directory / ("lake.parquet" if name.endswith(".parquet") else "") / name
            assert path.stat().st_size == max(part.offset + part.size for part in ends)

    def _sink(self, disk=None):
        raise NotImplementedError

    def _held(self, ledger):
        """What the parts that the ledger knows hold, without dead rows."""
        raise NotImplementedError

    def _read_back(self):
        """What the final files hold."""
        raise NotImplementedError


class NdjsonMachine(JobMachine):
    """Rows that are replaced stay until the end."""

    def _sink(self, disk=None):
        return NdjsonSink(self.directory / "history.ndjson", disk=disk or self.disk)

    def _held(self, ledger):
        batches = {}
        for part in ledger.parts():
            data = (self.directory / part.name).read_bytes()[part.offset : part.offset + part.size]
            batches[part.first] = data.splitlines()
        for stored in sorted(ledger.tombstones(), key=lambda stored: -stored.row_offset):
            del batches[stored.batch][stored.row_offset : stored.row_offset + stored.rows]
        return Counter(map(_number, (line for lines in batches.values() for line in lines)))

    def _read_back(self):
        path = self.directory / "history.ndjson"
        return Counter(map(_number, path.read_bytes().splitlines()))


class ParquetMachine(JobMachine):
    """Rows that are replaced go with their file."""

    def _sink(self, disk=None):
        return ParquetSink(
            self.directory / "lake.parquet", partition="month", part_bytes=20_000, disk=disk or self.disk
        )

    def _held(self, ledger):
        return _in_files(self.directory / "lake.parquet" / part.name for part in ledger.parts())

    def _read_back(self):
        return _in_files((self.directory / "lake.parquet").rglob("*.parquet"))


def _in_files(paths):
    held = Counter()
    for path in paths:
        held += Counter(pq.ParquetFile(path).read(columns=["message_id"])["message_id"].to_pylist())
    return held


def _number(line):
    return int(line.rpartition(b":")[2].strip(b"}"))


def _counted(model):
    return Counter(number for rows in model.values() for number in rows)


def _fields(plan):
    return {name: getattr(plan, name) for name in Plan.__slots__ if not name.startswith("__")}


@pytest.mark.slow
@pytest.mark.parametrize("machine", [NdjsonMachine, ParquetMachine])
def test_the_sink_holds_what_is_committed_whatever_happens(machine):
    """Fetching, commits, crashes at any operation of the disk, newer days, other plans and other processes."""
    run_state_machine_as_test(machine, settings=settings(ONCE, suppress_health_check=list(HealthCheck), deadline=None))


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("machine", [NdjsonMachine, ParquetMachine])
def test_the_sink_holds_what_is_committed_whatever_happens_for_long(machine):
    """A thousand lives of a job."""
    run_state_machine_as_test(machine, settings=settings(OFTEN, suppress_health_check=list(HealthCheck), deadline=None))
