"""File sinks on disks that fail or lose their power: what the ledger knows is there, and in the end all is."""

import errno
from collections import Counter

import pytest
from support.disks import CountingDisk, FaultyDisk, FrailDisk, PowerCut
from support.sink_files import files_in, known_files, lane_of, plan_of, read_back, sink_at, truth_of
from support.sink_ledger import FakeJob

from profile_history.sinks.base import SinkError

KINDS = ("history.ndjson", "history.csv.gz", "month")
ALL_KINDS = (*KINDS, "history.csv", "history.ndjson.zst", "none", "hash:3")
PLANS = {row_format: plan_of(row_format) for row_format in ("raw", "arrow")}
TRUTH = truth_of(PLANS["raw"])
MODES = ((errno.ENOSPC, False), (errno.EIO, True))
POINTS, CUTS = 20, 100


def job_of(kind):
    return FakeJob(PLANS[lane_of(kind)])


def operations_of(kind, directory, disk):
    """How many operations an undisturbed run takes."""
    directory.mkdir()
    job_of(kind).run(sink_at(directory, kind, disk), disk)
    assert read_back(directory, kind) == TRUTH
    return disk.operations


def assert_whole(job, kind, directory):
    """The files hold what an undisturbed run leaves, and there is no other file."""
    assert read_back(directory, kind) == TRUTH
    assert files_in(directory) == known_files(job.ledger, kind)
    sink = sink_at(directory, kind)
    sink.open(job.ledger, new=False)
    assert list(sink.verify()) == []


def assert_survives_faults(kind, root, points):
    total = operations_of(kind, root / "undisturbed", FaultyDisk(0))
    failed = Counter()
    step = max(1, total // points)
    for nth in range(1, total + 1, step):
        # Both at every operation, or by turns at some.
        for code, persistent in MODES if step == 1 else MODES[nth // step % 2 :][:1]:
            directory = root / f"{nth}-{code}"
            directory.mkdir()
            job, disk = job_of(kind), FaultyDisk(nth, code, persistent=persistent)
            with pytest.raises(SinkError, match="resume the job"):
                job.run(sink_at(directory, kind, disk), disk)
            failed[code] += 1
            disk = CountingDisk()
            job.run(sink_at(directory, kind, disk), disk)
            assert_whole(job, kind, directory)
    return failed


def assert_survives_power_cuts(kind, root, points):
    total = operations_of(kind, root / "undisturbed", CountingDisk())
    cut = 0
    for seed in range(points):
        directory = root / str(seed)
        directory.mkdir()
        job = job_of(kind)
        # Twice: while it works, and while it picks up what the first left.
        for nth in (1 + seed * total // points, 1 + seed % 23):
            disk = FrailDisk(directory, nth, seed)
            try:
                job.run(sink_at(directory, kind, disk), disk)
            except PowerCut:
                cut += 1
                disk.lose_power()
            disk = CountingDisk()
            sink = sink_at(directory, kind, disk)
            job.open(sink, disk)
            assert list(sink.verify()) == []
            assert files_in(directory) == known_files(job.ledger, kind)
        job.run(sink_at(directory, kind, disk), disk)
        assert_whole(job, kind, directory)
    return cut


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_after_a_failed_operation_a_resumed_job_leaves_what_an_undisturbed_one_does(kind, tmp_path):
    """A full disk that is freed, and a broken one that is replaced; at operations all over the job."""
    failed = assert_survives_faults(kind, tmp_path, POINTS)
    assert failed.total() >= POINTS
    assert len(failed) == len(MODES)


@pytest.mark.full
@pytest.mark.parametrize("kind", ALL_KINDS)
def test_after_any_failed_operation_a_resumed_job_leaves_what_an_undisturbed_one_does(kind, tmp_path):
    """Each operation in turn."""
    failed = assert_survives_faults(kind, tmp_path, 10**9)
    print(kind, dict(failed))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_after_a_loss_of_power_all_that_the_books_know_is_there(kind, tmp_path):
    """Whatever of the rest the disk has kept."""
    assert assert_survives_power_cuts(kind, tmp_path, CUTS * 3 // 5) >= CUTS


@pytest.mark.full
@pytest.mark.parametrize("kind", ALL_KINDS)
def test_after_many_losses_of_power_all_that_the_books_know_is_there(kind, tmp_path):
    """At five hundred points."""
    print(kind, assert_survives_power_cuts(kind, tmp_path, CUTS * 5))
