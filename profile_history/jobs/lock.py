"""One process per job: the lock beside a ledger."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from profile_history.jobs.schema import LedgerError
from profile_history.sinks.lock import FileLock, Holder, JobHeld
from profile_history.sinks.lock import holder_of as _holder_of_lock


def holder_of(ledger: Path) -> Holder | None:
    """Return the process that works on a job now, or `None`; nothing is locked but what a dead process has left."""
    return _holder_of_lock(_beside(ledger))


class JobLock:
    """The lock of a job.

    Args:
        ledger: The ledger.
        stop: Set when the job is being left.
    """

    def __init__(self, ledger: Path, stop: threading.Event | None = None) -> None:
        self._ledger = ledger
        self._lock = FileLock(_beside(ledger), ledger, stop)

    def acquire(self) -> None:
        """Take the lock at once, or not at all; only a run of this process that is leaving is waited for.

        Raises:
            JobHeld: Another process has it; the error names it.
            LedgerError: There cannot be a ledger at this place.
        """
        try:
            holder = self._lock.acquire()
        except OSError as error:
            raise LedgerError(
                f"{self._lock.path} cannot be written ({error.strerror}); make its directory, or choose another place"
            ) from None
        if holder is not None:
            raise self._held(holder)

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """Keep others from working on the job for the length of a block, without writing anything.

        Raises:
            JobHeld: Another process works on it; the error names it.
        """
        with self._lock.shared() as holder:
            if holder is not None:
                raise self._held(holder)
            yield

    def _held(self, holder: Holder) -> JobHeld:
        words = f"{holder} is working on this job ({self._ledger}); wait for it, or stop it and run `resume`"
        return JobHeld(words, holder.pid)

    def release(self) -> None:
        """Give the lock back; safe to call twice."""
        self._lock.release()


def _beside(ledger: Path) -> Path:
    return ledger.with_name(f"{ledger.name}.lock")
