"""Who asks how a job stands never turns away one that starts."""

import multiprocessing
import os
import threading
import time

import pytest

from profile_history.sinks import lock
from profile_history.sinks.lock import FileLock, holder_of

STALE = b"999999999 somewhere /a/ledger"


def ask(path, stop):
    """Ask without a pause."""
    while not stop.is_set():
        holder_of(path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_200_starts_after_a_kill_beside_those_who_ask(tmp_path, kind):
    """Each finds the name of a dead process in the lock file, and so does whoever asks."""
    path = tmp_path / "job.ledger.lock"
    path.write_bytes(STALE)
    if kind == "threads":
        stop, make = threading.Event(), threading.Thread
    else:
        context = multiprocessing.get_context("spawn")
        stop, make = context.Event(), context.Process
    asking = [make(target=ask, args=(path, stop)) for _ in range(6)]
    for each in asking:
        each.start()
    try:
        for _ in range(200):
            path.write_bytes(STALE)
            taken = FileLock(path, tmp_path / "job.ledger")
            assert taken.acquire() is None
            assert holder_of(path).pid == os.getpid()
            taken.release()
    finally:
        stop.set()
        for each in asking:
            each.join()


def test_who_starts_while_another_works_is_turned_away_all_the_same(tmp_path):
    """Beside those who ask, too; and of two that start, one works."""
    path = tmp_path / "job.ledger.lock"
    first, second = (FileLock(path, tmp_path / "job.ledger") for _ in range(2))
    assert first.acquire() is None
    stop = threading.Event()
    asking = threading.Thread(target=ask, args=(path, stop))
    asking.start()
    try:
        for _ in range(20):
            assert second.acquire() is not None
        first.release()
        assert second.acquire() is None
        second.release()
        taken = []

        def start():
            mine = FileLock(path, tmp_path / "job.ledger")
            if mine.acquire() is None:
                taken.append(mine)

        starts = [threading.Thread(target=start) for _ in range(8)]
        for each in starts:
            each.start()
        for each in starts:
            each.join()
        assert len(taken) == 1
        taken[0].release()
    finally:
        stop.set()
        asking.join()


def test_who_shares_the_lock_for_ever_is_not_waited_for_for_ever(tmp_path, monkeypatch):
    """That is no asking any more."""
    import fcntl

    # Private times, which would be waited in earnest.
    monkeypatch.setattr(lock, "_ASKING_PATIENCE", 0.05)
    monkeypatch.setattr(lock, "_PATIENCE", 0.05)
    path = tmp_path / "job.ledger.lock"
    with path.open("w") as shared:
        fcntl.flock(shared, fcntl.LOCK_SH)
        begun = time.monotonic()
        assert FileLock(path, tmp_path / "job.ledger").acquire().pid is None
        assert time.monotonic() - begun < 10
