"""One process a job: a lock that the kernel drops when its holder dies, however that comes about."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import time
from pathlib import Path

from profile_history.errors import HistoryError

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


class JobLock:
    """The lock beside a ledger. Its file stays: deleting it would let two processes hold two files of one name.

    Args:
        ledger: The ledger.
    """

    def __init__(self, ledger: Path) -> None:
        self._path = ledger.with_name(f"{ledger.name}.lock")
        self._file: int | None = None

    def acquire(self) -> None:
        """Takes the lock, at once or not at all.

        Raises:
            JobHeld: Another process has it; the error names it.
        """
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = _holder(file)
            os.close(file)
            who = f"process {holder[0]} on {holder[1]}" if holder else "another process"
            raise JobHeld(
                f"{who} is working on this job ({self._path.name}); wait for it, or stop it and run `resume`",
                holder and holder[0],
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


def _holder(file: int) -> tuple[int, str] | None:
    """The process that has the lock, and its machine; None where that cannot be told.

    One that has taken it just now may not have written its name yet, and one that was killed may have left its own.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        match os.pread(file, 300, 0).decode(errors="replace").split():
            case [pid, machine] if pid.isdigit() and (machine != socket.gethostname() or _is_alive(int(pid))):
                return int(pid), machine
        if time.monotonic() > deadline:
            return None
        time.sleep(_PAUSE)


def _is_alive(pid: int) -> bool:
    # One that is somebody else's cannot be signalled, and is there.
    with contextlib.suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True
