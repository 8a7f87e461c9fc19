"""The few operations on files that durability rests on, and what to do when one fails.

What is to last goes through four of them: write, `OpenFile.sync`, `Disk.replace`, `Disk.sync_directory`, in this order.
A file that was renamed before it was synced could have its final name after a loss of power, and lack its bytes. Until
the directory is synced, the name itself may be lost.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import BinaryIO, Self

from profile_history.sinks.base import SinkError

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:
    fcntl = None

_ADVICE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some of your quota",
    errno.EROFS: "make the file system writable again",
    errno.EIO: "check the disk",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f), or move to another file system",
    errno.EACCES: "give this user the right to it",
    errno.EPERM: "give this user the right to it",
    errno.ENOENT: "put it back",
    errno.EEXIST: "it is not this job's: move it away",
    errno.ELOOP: "it is a link, which is not followed: move it away",
    errno.EMLINK: "make a copy of it that takes its place",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
}
_HAS_DIRECTORIES_TO_SYNC = os.name == "posix"


def sync(file: int) -> None:
    """Bring what was written to a file to the disk; on macOS out of the drive's own cache, too, where fsync leaves it.

    Args:
        file: A descriptor.

    Raises:
        OSError: The operating system reports an error.
    """
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if fcntl is not None and full is not None:
        try:
            fcntl.fcntl(file, full)
        except OSError as error:
            # Only the file systems of macOS itself know it.
            if error.errno not in {errno.EINVAL, errno.ENOTSUP, errno.ENOTTY}:
                raise
        else:
            return
    os.fsync(file)


def sync_directory(path: Path) -> None:
    """Bring to the disk which names are in a directory, and what they name.

    Args:
        path: The directory.

    Raises:
        OSError: The operating system reports an error.
    """
    if not _HAS_DIRECTORIES_TO_SYNC:
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        sync(handle)
    except OSError as error:
        # Some file systems cannot do this for directories.
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise
    finally:
        os.close(handle)


def advice_for(error: OSError) -> str:
    """Return what a person can do about an error of the operating system, as a part of a sentence."""
    return _ADVICE.get(error.errno or 0, "check the disk")


def reason_of(error: OSError) -> str:
    """Return what an error of the operating system says, without its number and its file."""
    return error.strerror or str(error) or type(error).__name__


class Disk:
    """A file system. Every error of it becomes a `SinkError` that names the path and says what to do."""

    def before(self, operation: str, path: Path) -> None:
        """Do nothing; a disk for tests overrides this to fail before an operation, with an `OSError`.

        Args:
            operation: What is about to be done, such as "write".
            path: To which file.
        """

    @contextlib.contextmanager
    def doing(self, operation: str, path: Path) -> Iterator[None]:
        """Surround one operation, and turn its error into ours.

        Args:
            operation: What is done, as a verb for the message.
            path: To which file.

        Raises:
            SinkError: The operating system reports an error.
        """
        try:
            self.before(operation, path)
            yield
        except OSError as error:
            said = f"{reason_of(error)}; {advice_for(error)}, and resume the job"
            raise SinkError(f"{path}: cannot {operation}: {said}") from None

    def create(self, path: Path, *, mode: int = 0o666) -> OpenFile:
        """Make a file and open it to write to. One that is there already, or a link, is somebody else's.

        Args:
            path: The file.
            mode: Its permissions, of which the process's umask takes some away.

        Raises:
            SinkError: It cannot be made.
        """
        # O_EXCL refuses what is there, and a link that leads nowhere; so no file of somebody else is ever written to.
        with self.doing("create", path):
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
            return OpenFile(self, path, os.fdopen(handle, "wb", buffering=0))

    def append(self, path: Path, length: int) -> OpenFile:
        """Open a file to write behind its first bytes; what is behind them goes.

        Args:
            path: The file; links are not followed.
            length: How many bytes stay.

        Raises:
            SinkError: It cannot be opened, or is no regular file.
        """
        with self.doing("open", path):
            handle = os.fdopen(_open_regular(path, os.O_RDWR | os.O_NOFOLLOW), "r+b", buffering=0)
            try:
                if os.fstat(handle.fileno()).st_nlink > 1:
                    raise OSError(errno.EMLINK, "it has a second name (a hard link), and would change there, too")
                handle.truncate(length)
                handle.seek(length)
            except BaseException:
                handle.close()
                raise
            return OpenFile(self, path, handle)

    def read(self, path: Path, offset: int, size: int) -> bytes:
        """Return some bytes of a file; fewer if it ends before.

        Args:
            path: The file.
            offset: The number of the first byte, from 0.
            size: How many bytes.

        Raises:
            SinkError: It cannot be read, or is no regular file.
        """
        with self.doing("read", path), os.fdopen(_open_regular(path, os.O_RDONLY), "rb") as file:
            file.seek(offset)
            # Memory is taken for as much as is asked for, which a ledger that was edited may say.
            return file.read(min(size, os.fstat(file.fileno()).st_size))

    def replace(self, source: Path, target: Path) -> None:
        """Give a file another name in the same directory; what has that name goes.

        Args:
            source: The file; a link is refused.
            target: Its new name.

        Raises:
            SinkError: It cannot be renamed.
        """
        self.refuse_link(source)
        with self.doing("rename", target):
            source.replace(target)

    def refuse_link(self, path: Path) -> None:
        """Refuse a link where a file of this job has to be.

        Raises:
            SinkError: It is one.
        """
        with self.doing("rename", path):
            if path.is_symlink():
                raise OSError(errno.ELOOP, "it is not the file that was written")

    def sync_directory(self, path: Path) -> None:
        """Bring to the disk which names are in a directory, and what they name."""
        with self.doing("sync", path):
            sync_directory(path)

    def make_directory(self, path: Path) -> None:
        """Make a directory, and those that it is in, to last."""
        if path.is_dir():
            return
        # From the top down, each one synced into its parent, or a loss of power could take the whole branch.
        self.make_directory(path.parent)
        with self.doing("create", path):
            path.mkdir(exist_ok=True)
        self.sync_directory(path.parent)

    def remove(self, path: Path) -> None:
        """Delete a file, if it is there. A loss of power may bring it back."""
        with self.doing("delete", path):
            path.unlink(missing_ok=True)

    def size(self, path: Path) -> int | None:
        """Return how many bytes a file has; `None` if nothing has that name."""
        with self.doing("look at", path):
            # A link that leads nowhere takes the name as well.
            for look in (path.stat, path.lstat):
                with contextlib.suppress(FileNotFoundError):
                    return look().st_size
            return None

    def list(self, directory: Path) -> list[Path]:
        """Return all that is in a directory, in order; nothing if there is no such directory."""
        with self.doing("list", directory):
            try:
                return sorted(directory.iterdir())
            except FileNotFoundError:
                return []


def _open_regular(path: Path, flags: int) -> int:
    # Without O_NONBLOCK a FIFO would wait for its other end.
    number = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise OSError(errno.EINVAL, "it is no regular file")
    return number


class OpenFile:
    """A file open for writing. Use it in `with`.

    Attributes:
        path: Its name.
    """

    def __init__(self, disk: Disk, path: Path, handle: BinaryIO) -> None:
        self.path = path
        self._disk = disk
        self._handle = handle

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, data: bytes | memoryview) -> None:
        """Write all of the data; it may be lost until `sync`."""
        rest = memoryview(data)
        with self._disk.doing("write", self.path):
            while rest:
                rest = rest[self._handle.write(rest) :]

    def sync(self) -> None:
        """Bring what was written to the disk."""
        with self._disk.doing("sync", self.path):
            sync(self._handle.fileno())

    def close(self) -> None:
        """Let go of the file; safe to call twice."""
        # A disk for tests may fail even here; the descriptor is given back all the same.
        if self._handle.closed:
            return
        try:
            with self._disk.doing("close", self.path):
                pass
        finally:
            self._handle.close()


def lock_beside(path: Path) -> Path:
    """Return the lock file of a file, which is the same however the file is called.

    Args:
        path: The file, which need not be there.
    """
    return path.with_name(f".{path.name}.lock")


DISK = Disk()
"""The file system of this machine."""
