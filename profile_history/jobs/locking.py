"""One process a job: a lock that the kernel drops when its holder dies, however that comes about."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import time
from pathlib import Path

import attrs

from profile_history.errors import HistoryError
from profile_history.jobs.schema import LedgerError

# Seconds for which the holder of a lock may keep its name to itself, and between two looks.
_PATIENCE, _PAUSE = 1.0, 0.005


class JobHeld(HistoryError):
    """Another process works on the job.

    Attributes:
        pid: Its process id, or None where it cannot be told.
    """

    fatal = True

    def __init__(self, message: str = "", pid: int | None = None) -> None:
        super().__init__(message)
        self.pid = pid


@attrs.frozen
class Holder:
    """The process that works on a job.

    Attributes:
        pid: Its process id, or None where it cannot be told.
        host: The machine it runs on.
    """

    pid: int | None
    host: str = ""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}" if self.pid is not None else "another process"


def holder_of(ledger: Path) -> Holder | None:
    """The process that works on a job now, or None; nothing is locked but what a dead process has left behind."""
    try:
        file = os.open(_beside(ledger), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        # Whoever lets go empties the file first; to try the lock could turn away a process that starts just now.
        if not os.pread(file, 1, 0):
            return None
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _read(file)
    else:
        return None
    finally:
        os.close(file)


class JobLock:
    """The lock beside a ledger. Its file stays: deleting it would let two processes hold two files of one name.

    Args:
        ledger: The ledger.
    """

    def __init__(self, ledger: Path) -> None:
        self._ledger = ledger
        self._path = _beside(ledger)
        self._file: int | None = None

    def acquire(self) -> None:
        """Takes the lock, at once or not at all.

        Raises:
            JobHeld: Another process has it; the error names it.
            LedgerError: There cannot be a ledger at this place.
        """
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise LedgerError(
                f"{self._path} cannot be written ({error.strerror}); make its directory, or choose another place"
            ) from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = _named(file)
            os.close(file)
            raise JobHeld(
                f"{holder} is working on this job ({self._ledger}); wait for it, or stop it and run `resume`",
                holder.pid,
            ) from None
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)
        self._file = file

    def release(self) -> None:
        """Gives it back; again is harmless."""
        if self._file is not None:
            os.ftruncate(self._file, 0)
            os.close(self._file)
            self._file = None


def _beside(ledger: Path) -> Path:
    return ledger.with_name(f"{ledger.name}.lock")


def _named(file: int) -> Holder:
    """Who has the lock: one that has taken it just now may not have written its name yet.

    One that was killed may have left its own name, where another has the lock by now.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        holder = _read(file)
        if holder.pid is not None and (holder.host != socket.gethostname() or _is_alive(holder.pid)):
            return holder
        if time.monotonic() > deadline:
            return Holder(None)
        time.sleep(_PAUSE)


def _read(file: int) -> Holder:
    words = os.pread(file, 300, 0).decode(errors="replace").split()
    return Holder(int(words[0]), words[1]) if len(words) == 2 and words[0].isdecimal() else Holder(None)


def _is_alive(pid: int) -> bool:
    # One that is somebody else's cannot be signalled, and is there.
    with contextlib.suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True
