"""The lock of a sink: who has it, what it remembers, and what becomes of it where locks fail."""

import errno
import fcntl
import os
import threading
from pathlib import Path

import pytest

from profile_history import ConfigurationError
from profile_history.jobs import JobHeld
from profile_history.sinks import sink_of
from profile_history.sinks.lock import FileLock, lock_sink


def files():
    """How many file descriptors are open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_second_job_is_told_who_fills_the_sink_and_with_which_ledger(tmp_path):
    """Also by another name of the same directory."""
    (tmp_path / "link").symlink_to(tmp_path)
    first = lock_sink(sink_of(f"{tmp_path}/history.ndjson"), tmp_path / "first.ledger", threading.Event())
    with pytest.raises(
        JobHeld, match=r"is filling .* \(its ledger is .*first.ledger\); wait for it, or choose"
    ) as caught:
        lock_sink(sink_of(f"{tmp_path}/link/history.ndjson"), tmp_path / "second.ledger", threading.Event())
    assert caught.value.pid == os.getpid()
    first.release()
    second = lock_sink(sink_of(f"{tmp_path}/history.ndjson"), tmp_path / "second.ledger", threading.Event())
    second.release()


def test_a_file_where_the_directory_of_a_sink_should_be_is_refused(tmp_path):
    """With what it is, and not with an error of the lock."""
    (tmp_path / "lake").touch()
    with pytest.raises(ConfigurationError, match=r"is a file, and .* needs a directory there"):
        lock_sink(sink_of(f"{tmp_path}/lake/history.ndjson"), tmp_path / "job.ledger", threading.Event())


def test_a_lock_remembers_the_ledger_that_claimed_it_last(tmp_path):
    """One of another job, which may be gone by now; its own counts as none."""

    def taken(ledger):
        lock = FileLock(tmp_path / "lock", ledger, remembers=True)
        assert lock.acquire() is None
        return lock

    first = taken(tmp_path / "first.ledger")
    assert not first.belongs_to_another()
    first.claim()
    first.release()
    again = taken(tmp_path / "first.ledger")
    assert not again.belongs_to_another()
    again.release()
    other = taken(tmp_path / "second.ledger")
    assert other.belongs_to_another()
    (tmp_path / "first.ledger").touch()
    (tmp_path / "second.ledger").symlink_to(tmp_path / "first.ledger")
    assert not other.belongs_to_another()
    other.release()


def test_a_file_system_without_locks_is_said_and_leaves_no_file_open(tmp_path, monkeypatch):
    """As some network file systems are."""
    before = files()

    def without(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", without)
    with pytest.raises(OSError, match="No locks available"):
        FileLock(tmp_path / "lock", tmp_path / "job.ledger").acquire()
    assert files() == before
