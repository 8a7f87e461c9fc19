"""Lock a file for one process: the kernel drops the lock when its holder dies, however that comes about.

The kernel's lock alone decides who may work: on the ledger of a job, and on its sink. What is written in the file is a
note for people: who has the lock, so that a process that is turned away can say whom to wait for. A note may be stale,
since a process that is killed leaves its own; so nobody is let in or turned away by a note.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import attrs

from profile_history.errors import ConfigurationError, HistoryError, UnsupportedSystem
from profile_history.sinks.base import Sink
from profile_history.sinks.disk import DISK

try:
    import fcntl
except ImportError:
    raise UnsupportedSystem(
        "jobs need the file locks of Linux or macOS, which this system has not: use `fetch` here, or run the job there "
        "(on Windows, in WSL)"
    ) from None

# Seconds for which the holder of a lock may keep its name to itself, and between two looks.
_PATIENCE, _PAUSE = 1.0, 0.005

# Seconds for which a start waits for a run of the same process that is leaving: its last commit may take a while.
_LEAVING_PATIENCE = 60.0

# Seconds for which a start waits for those that only ask who has the lock, which each of them does in microseconds.
_ASKING_PATIENCE = 30.0

# What is set when the holder of a lock in this process is leaving, by the device and inode of the lock's file.
_leaving: dict[tuple[int, int], threading.Event] = {}

# Kernel lock and entry of `_leaving` change together: between the two, a run that leaves would pass for one that stays.
_leaving_lock = threading.Lock()

# Bytes: a process id, the name of a host, and a path, of which Linux takes 4096.
_LONGEST_NOTE = 5000


class JobHeld(HistoryError):
    """Another process works on the job, or fills its sink.

    Attributes:
        pid: Its process id; `None` if it cannot be told.
    """

    fatal = True

    def __init__(self, message: str = "", pid: int | None = None) -> None:
        super().__init__(message)
        self.pid = pid


@attrs.frozen
class Holder:
    """The process that holds a lock.

    Attributes:
        pid: Its process id; `None` if it cannot be told.
        host: The machine it runs on.
        ledger: The ledger of its job, or "" if it did not say.
        ours: Whether it is another run of this process, which was neither read to its end nor closed.
    """

    pid: int | None
    host: str = ""
    ledger: str = ""
    ours: bool = False

    def __str__(self) -> str:
        if self.ours:
            return f"another run of this process, {self.pid}, that was not closed,"
        return f"process {self.pid} on {self.host}" if self.pid is not None else "another process"


class FileLock:
    """A lock file. It stays where it is: deleting it would let two processes hold two files of one name.

    Args:
        path: The lock file; it is made if it is not there.
        ledger: The ledger of the job that takes the lock, for those who are turned away.
        stop: Set when the job is being left; it also ends the waiting for another run that leaves.
        remembers: Whether the file says which job was the last to `claim` it when nobody holds the lock.
    """

    def __init__(
        self, path: Path, ledger: Path, stop: threading.Event | None = None, *, remembers: bool = False
    ) -> None:
        self.path = path
        self._ledger = ledger
        self._stop = stop or threading.Event()
        self._remembers = remembers
        self._file: int | None = None
        self._left = b""

    def acquire(self) -> Holder | None:
        """Take the lock at once, or not at all; only a run of this process that is leaving is waited for.

        Returns:
            `None` if the lock is taken, else the process that has it.

        Raises:
            OSError: The lock file cannot be opened, for one because it is a link.
        """
        # A link could lead to a file of somebody else, whose content would be lost.
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        file = os.open(self.path, flags, 0o600)
        try:
            if not self._lock(file):
                holder = _wait_for_name(file)
                os.close(file)
                return holder
        except BaseException:
            os.close(file)
            raise
        # What the last job has left is read under the lock, and stays in the file when this run claims nothing.
        if self._remembers:
            _, _, last = os.pread(file, _LONGEST_NOTE, 0).partition(b" ")
            self._left = b"- " + last if last else b""
        _write(file, f"{os.getpid()} {socket.gethostname()} ".encode() + os.fsencode(self._ledger.absolute()))
        self._file = file
        return None

    @contextlib.contextmanager
    def shared(self) -> Iterator[Holder | None]:
        """Keep others from taking the lock for the length of a block, without writing anything.

        Yields:
            `None` if nobody had the lock, or there is no lock file that can be opened; else the process that has it.
        """
        try:
            file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            # Nobody has ever locked it, or it cannot be looked at: a reader makes none.
            yield None
            return
        try:
            yield None if self._lock(file, fcntl.LOCK_SH) else _wait_for_name(file)
        finally:
            os.close(file)

    def belongs_to_another(self) -> bool:
        """Tell whether the last job that has claimed the lock, or was killed with it, had another ledger."""
        ledger = _parse(self._left).ledger
        if not ledger or ledger == str(self._ledger.absolute()):
            return False
        try:
            return not self._ledger.samefile(ledger)
        except OSError:
            return True

    def claim(self) -> None:
        """Leave the name of this job's ledger behind when the lock is given back."""
        self._left = f"- {socket.gethostname()} ".encode() + os.fsencode(self._ledger.absolute())

    def release(self) -> None:
        """Give the lock back; safe to call twice."""
        if self._file is not None:
            # The note goes first, while the lock is still ours, or it would overwrite that of the next holder. And an
            # empty file tells `holder_of` that nobody has the lock, without a look at the lock.
            _write(self._file, self._left)
            with _leaving_lock:
                del _leaving[_key(self._file)]
                os.close(self._file)
            self._file = None

    def _lock(self, file: int, how: int = fcntl.LOCK_EX) -> bool:
        """Ask the kernel for the lock, and tell whether it gave it; whoever only asks who has it is waited for.

        Args:
            file: The descriptor of the lock file.
            how: The kind of lock: for one alone, or shared with others who only ask.
        """
        begun = time.monotonic()
        while True:
            # flock counts per open file, so two runs of one process keep each other off as two processes do.
            with _leaving_lock, contextlib.suppress(BlockingIOError):
                holder = _leaving.get(_key(file))
                fcntl.flock(file, how | fcntl.LOCK_NB)
                if how == fcntl.LOCK_EX:
                    _leaving[_key(file)] = self._stop
                return True
            waited = time.monotonic() - begun
            leaving = holder is not None and holder.is_set() and waited <= _LEAVING_PATIENCE
            asked = waited <= _ASKING_PATIENCE and _is_only_asked_for(file)
            if self._stop.is_set() or not (leaving or asked):
                return False
            # At random, or two that ask in step could meet each other's shared lock for ever.
            time.sleep(random.uniform(0, _PAUSE))


def lock_sink(sink: Sink, ledger: Path, stop: threading.Event) -> FileLock | None:
    """Lock a sink for one job: two jobs with ledgers of their own must not fill one place.

    Args:
        sink: The sink. One without a `lock_path` keeps others off by itself, or not at all.
        ledger: The ledger of the job.
        stop: Set when the job is being left.

    Returns:
        The lock; `None` if the sink has none.

    Raises:
        ConfigurationError: There is a file where the directory of the sink should be.
        JobHeld: Another job fills the sink; the error names its process and its ledger.
        SinkError: The lock file cannot be made.
    """
    path: Path | None = getattr(sink, "lock_path", None)
    if path is None:
        return None
    if path.parent.exists() and not path.parent.is_dir():
        raise ConfigurationError(
            f"{path.parent} is a file, and {sink.url} needs a directory there; choose another output"
        )
    DISK.make_directory(path.parent)
    lock = FileLock(path, ledger, stop, remembers=True)
    with DISK.doing("lock", path):
        holder = lock.acquire()
    if holder is None:
        return lock
    theirs = f" (its ledger is {holder.ledger})" if holder.ledger else ""
    raise JobHeld(f"{holder} is filling {sink.url}{theirs}; wait for it, or choose another output", holder.pid)


def holder_of(path: Path) -> Holder | None:
    """Return the process that holds a lock file now; `None` if nobody does.

    A process that starts meanwhile is never turned away by this.

    Args:
        path: The lock file.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        # Whoever lets go empties the file first, so an empty one needs no look at the lock.
        if not os.pread(file, 1, 0):
            return None
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _read(file)
    else:
        return None
    finally:
        os.close(file)


def _is_only_asked_for(file: int) -> bool:
    """Tell whether nobody has the lock for good: `holder_of` shares it for a moment, as others who ask do."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(file, fcntl.LOCK_UN)
    return True


def _wait_for_name(file: int) -> Holder:
    """Return who has the lock: one that has taken it just now may not have written its name yet.

    One that was killed may have left its own name, where another has the lock by now.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        holder = _read(file)
        if holder.pid == os.getpid() and _key(file) in _leaving:
            return attrs.evolve(holder, ours=True)
        if holder.pid is not None and (holder.host != socket.gethostname() or _is_alive(holder.pid)):
            return holder
        if time.monotonic() > deadline:
            return Holder(None)
        time.sleep(_PAUSE)


def _key(file: int) -> tuple[int, int]:
    status = os.fstat(file)
    return status.st_dev, status.st_ino


def _read(file: int) -> Holder:
    return _parse(os.pread(file, _LONGEST_NOTE, 0))


def _parse(note: bytes) -> Holder:
    words = os.fsdecode(note).rstrip("\n").split(" ", 2)
    if len(words) < 2:
        return Holder(None)
    pid = int(words[0]) if words[0].isdecimal() else None
    return Holder(pid, words[1], words[2] if len(words) > 2 else "")


def _write(file: int, note: bytes) -> None:
    os.ftruncate(file, 0)
    os.pwrite(file, note[:_LONGEST_NOTE], 0)


def _is_alive(pid: int) -> bool:
    # One that is somebody else's cannot be signalled, and is there.
    with contextlib.suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except (ProcessLookupError, OverflowError):
            return False
    return True
