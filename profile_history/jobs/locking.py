"""One process a job: a lock that the kernel drops when its holder dies, however that comes about."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

from profile_history.errors import HistoryError


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
            holder = os.pread(file, 100, 0).decode(errors="replace").split()
            os.close(file)
            pid = int(holder[0]) if holder and holder[0].isdigit() else None
            who = f"process {pid} on {holder[1]}" if pid and len(holder) > 1 else "another process"
            raise JobHeld(
                f"{who} is working on this job ({self._path.name}); wait for it, or stop it and run `resume`", pid
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
