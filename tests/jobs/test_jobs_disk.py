"""Whole jobs on disks that fail, fill up or lose their power: the ledger is never ahead, and a resumed job is exact."""

import asyncio
import datetime as dt
import errno
import os
import shutil
import sqlite3
from collections import Counter
from functools import partial
from itertools import count
from pathlib import Path

import attrs
import pytest
from support.disks import CountingDisk, FaultyDisk, FrailDisk, PowerCut
from support.job_truth import differences_after_a_start, files_in, known_files, rows_in, truth_of
from support.job_worker import Order, Worker

from profile_history.jobs import HistoryJob, LedgerError, session
from profile_history.jobs.ledger import Ledger
from profile_history.jobs.reject_files import write_lists
from profile_history.sinks.base import SinkError
from profile_history.sinks.csv_file import CsvSink
from profile_history.sinks.ndjson import NdjsonSink
from profile_history.sinks.parquet import ParquetSink
from profile_history.testing import Fault, FaultPlan, HistoryServer

KINDS = ("history.ndjson", "history.csv.gz", "lake.parquet?partition=month")
PROFILES = 8
FIRST, MIDDLE, LAST = dt.date(2024, 1, 1), dt.date(2024, 2, 15), dt.date(2024, 3, 31)
# A full disk, once and for good, a broken one, and one that became read-only.
FAULTS = ((errno.ENOSPC, False), (errno.ENOSPC, True), (errno.EIO, True), (errno.EROFS, True))
LISTS = ["job.quarantine.ndjson", "job.rejects.ndjson"]
POINTS, CUTS = 8, 12


@pytest.fixture(scope="module")
def server():
    """A server whose responses hold something that is no row, for the list of such."""
    faults = FaultPlan(rates={Fault.NO_ROW: 1.0}, streak=None)
    with HistoryServer(profiles=PROFILES, seed=5, first_day=FIRST, last_day=LAST, faults=faults) as server:
        yield server


@attrs.define
class Work:
    """A job and its continuation, in a directory.

    Attributes:
        stage: 0 while the first run is not through, 1 while the second is not.
    """

    server: HistoryServer
    directory: Path
    kind: str
    monkeypatch: pytest.MonkeyPatch
    stage: int = 0

    def run(self, disk):
        """Go on until all is done or something breaks."""
        self.monkeypatch.setattr(session, "write_lists", partial(write_lists, disk=disk))
        asyncio.run(self._run(disk))

    def error(self, disk):
        """The same where it may break; gives what is said then, and "" where all is done."""
        try:
            self.run(disk)
        except (SinkError, LedgerError) as error:
            return str(error)
        return ""

    @property
    def is_planned(self):
        """Tell whether it came as far as that."""
        return (self.directory / "job.ledger").exists()

    async def _run(self, disk):
        async with self.server.client(window=31) as client:
            while self.stage < 2:
                async for _ in self._job(client, disk).run(until=LAST if self.stage else None):
                    pass
                self.stage += 1

    def _job(self, client, disk):
        return HistoryJob(
            client,
            [*self.server.profiles(), "no profile"],
            self._sink(disk),
            ledger=self.directory / "job.ledger",
            date_from=FIRST,
            date_to=MIDDLE,
            commit_bytes=6000,
            commit_seconds=0.02,
            today=lambda: LAST if self.stage else MIDDLE,
        )

    def _sink(self, disk):
        path, _, partition = str(self.directory / self.kind).partition("?partition=")
        if partition:
            return ParquetSink(path, partition=partition, disk=disk)
        return (NdjsonSink if ".ndjson" in path else CsvSink)(path, disk=disk)

    def assert_in_step(self):
        """Whatever the ledger counts as done is there, after a start on a sound disk; and nothing else lies about."""
        if not (self.directory / "job.ledger").exists():
            return
        assert differences_after_a_start(self.directory / "job.ledger", self._sink(CountingDisk())) == []
        assert self._others() <= {*LISTS, *(f".{name}.tmp" for name in LISTS)}

    def assert_whole(self):
        """All of it is there, once, and what is no row is in the list."""
        truth = truth_of(self.server.histories, range(PROFILES), FIRST, LAST)
        held = rows_in(str(self.directory / self.kind))
        assert (truth - held, held - truth) == (Counter(), Counter())
        self.assert_in_step()
        assert self._others() == set(LISTS)
        shutil.rmtree(self.directory)

    def _others(self):
        with Ledger(self.directory / "job.ledger") as books:
            known = known_files(self.directory, books)
        return set(files_in(self.directory)) - set(known)


@pytest.fixture
def work(server, tmp_path, monkeypatch):
    """Make a job in a directory of its own."""

    def made(kind, name):
        directory = tmp_path / str(name)
        directory.mkdir()
        return Work(server, directory, kind, monkeypatch)

    return made


def assert_survives_faults(work, kind, points):
    """Fail each of so many operations, from the first to the last."""
    disk = FaultyDisk(0)
    undisturbed = work(kind, "undisturbed")
    undisturbed.run(disk)
    undisturbed.assert_whole()
    failed = Counter()
    nth, step = 1, max(1, disk.operations // points)
    clean = False
    while not clean:
        faults = FAULTS if step == 1 else [FAULTS[nth // step % len(FAULTS)]]
        for place, (code, persistent) in enumerate(faults):
            job = work(kind, f"{nth}-{place}")
            error = job.error(FaultyDisk(nth, code, persistent=persistent))
            clean = not error
            if error:
                assert str(job.directory) in error
                assert os.strerror(code) in error
                failed[errno.errorcode[code]] += 1
            job.assert_in_step()
            job.run(CountingDisk())
            job.assert_whole()
        nth += step
    print(f"\n{kind}: {disk.operations} operations; failed: {dict(failed)}; all resumed to the end")
    return failed


def assert_survives_power_cuts(work, kind, points):
    """Cut the power at so many points, and each time once more soon after the next start."""
    disk = CountingDisk()
    work(kind, "undisturbed").run(disk)
    cut = 0
    for seed in range(points):
        job = work(kind, seed)
        for nth in (1 + seed * disk.operations // points, 1 + seed % 23):
            frail = FrailDisk(job.directory, nth, seed)
            try:
                job.run(frail)
            except PowerCut:
                cut += 1
                _lose_power(job.directory, frail)
            job.assert_in_step()
        job.run(CountingDisk())
        job.assert_whole()
    print(f"\n{kind}: the power was cut {cut} times at {points} points of {disk.operations}; all resumed to the end")
    return cut


def _lose_power(directory, disk):
    """The ledger keeps what it has committed, as SQLite promises; it was closed, and so is one file."""
    books = {path: path.read_bytes() for path in directory.glob("job.ledger*")}
    disk.lose_power()
    for path, data in books.items():
        path.write_bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_job_on_a_disk_that_fails_goes_on_when_it_is_mended(kind, work):
    """Full, broken or read-only, at operations all over the job: the error names the path, and nothing is lost."""
    failed = assert_survives_faults(work, kind, POINTS)
    assert failed.total() >= POINTS - 2
    assert len(failed) == 3


class FullDisk(CountingDisk):
    """A disk that is full from the first row on."""

    full = False

    def before(self, operation, path):
        super().before(operation, path)
        self.full = self.full or (operation == "write" and path.name == "history.ndjson.partial")
        if self.full and operation in {"create", "write", "sync"}:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_the_error_that_ended_a_run_is_the_one_that_is_raised(work):
    """Where the lists cannot be written either, the sink is what is named."""
    job = work("history.ndjson", "full")

    assert job.error(FullDisk()).startswith(str(job.directory / "history.ndjson.partial"))


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
def test_a_job_on_a_disk_that_fails_at_any_operation_goes_on_when_it_is_mended(kind, work):
    """Each operation in turn, with each fault."""
    assert_survives_faults(work, kind, 10**9)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_job_whose_power_was_cut_has_all_that_its_ledger_counts(kind, work):
    """Whatever the disk kept of what was not synced."""
    assert assert_survives_power_cuts(work, kind, CUTS) >= CUTS


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
def test_a_job_whose_power_was_cut_at_many_points_has_all_that_its_ledger_counts(kind, work):
    """At five hundred points."""
    assert_survives_power_cuts(work, kind, 500)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS[:1])
def test_a_job_whose_ledger_cannot_grow_goes_on_when_it_can(kind, work, monkeypatch):
    """At each page: the rows of a commit that failed do not count, and are fetched again."""
    connect = sqlite3.connect
    most = 0

    def limited(*arguments, **options):
        connection = connect(*arguments, **options)
        # The smallest there are, so that there are many.
        connection.execute("PRAGMA page_size = 512")
        if most:
            connection.execute(f"PRAGMA max_page_count = {most}")
        return connection

    monkeypatch.setattr(sqlite3, "connect", limited)
    failures = settled = 0
    for pages in count(10, 2):
        job, most = work(kind, pages), pages
        error, most = job.error(CountingDisk()), 0
        settled += job.is_planned
        job.run(CountingDisk())
        job.assert_whole()
        if not error:
            break
        assert str(job.directory / "job.ledger") in error
        failures += 1
    print(f"\n{kind}: the ledger was full {failures} times, {settled - 1} times after planning")
    assert failures >= settled > 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["history.ndjson", "history.duckdb"])
def test_a_job_whose_files_hit_a_limit_goes_on_when_it_is_raised(kind, server, tmp_path):
    """A limit of the kernel on the size of any file, ledger, sink or list; real errors in a real process."""
    truth = truth_of(server.histories, range(PROFILES), FIRST, LAST)
    failures = Counter()
    with Worker(server) as worker:
        for place, limit in enumerate((4, 40, 60, 80, 130, 300)):
            directory = tmp_path / str(place)
            directory.mkdir()
            url = str(directory / kind)
            order = Order(
                sink=url,
                ledger=str(directory / "job.ledger"),
                profiles=[str(profile) for profile in server.profiles()],
                date_from=str(FIRST),
                date_to=str(LAST),
            )
            error = worker.ask(attrs.evolve(order, limit=limit * 1000))["error"]
            if error:
                assert str(directory) in error
                failures["ledger" if "the ledger" in error else "sink"] += 1
            assert worker.run(order) is None
            held = rows_in(url)
            assert (truth - held, held - truth) == (Counter(), Counter())
    print(f"\n{kind}: the limit was hit {dict(failures)}")
    assert failures.total() >= 2
