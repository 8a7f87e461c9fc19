"""The output of events: stdout, or a file that is there whole or not at all, whatever the disk does.

A file is written under another name, which ends in `.part`, brought to the disk, and renamed. While it is written it is
locked; the kernel drops the lock when the process ends, however that comes about.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Self, TextIO

from profile_history.errors import ConfigurationError
from profile_history.sinks.disk import advice_for, reason_of, sync, sync_directory

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:
    fcntl = None

# Bytes that are written at once: few calls, and little to lose if the process is killed.
_CHUNK = 256 * 1024
_FLAGS = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


class OutputFailed(Exception):
    """The received rows cannot be written; the message names the place and says what to do."""

    def __init__(self, place: object, error: OSError) -> None:
        advice = f"{advice_for(error)}, or choose another place, and run the command again"
        super().__init__(f"{place} cannot be written: {reason_of(error)}; {advice}")


def check_stdout(else_: str = "") -> TextIO:
    """Return stdout.

    Args:
        else_: What to do if it is closed, but to leave it open.

    Raises:
        ConfigurationError: It is closed.
    """
    if sys.stdout is None:
        raise ConfigurationError(f"stdout is closed; leave it open{else_}")
    return sys.stdout


class StandardOutput:
    """Stdout, in UTF-8 whatever the locale. Use it in `with`.

    Args:
        else_: What to do if it is closed, but to leave it open.

    Attributes:
        finished: Whether all that was written is there.
        lossy: Whether some of it could not be kept.
        place: Where it is, as the end of a sentence; `None` if it is nowhere.
    """

    place: str | None = "went to stdout"

    def __init__(self, *, else_: str = "") -> None:
        self.finished: bool = False
        self.lossy: bool = False
        self._stream = check_stdout(else_)
        if isinstance(self._stream, io.TextIOWrapper):
            self._stream.reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            flush_stdout()
            self.finished = True
            return
        try:
            self._stream.flush()
        except OSError:
            self.lossy = True

    def write(self, text: str) -> None:
        """Write some text.

        Raises:
            BrokenPipeError: The reader has gone.
            OutputFailed: It cannot be written.
        """
        with _raising_output_failed():
            self._stream.write(text)


def print_json(value: object, *, readable: bool = False) -> None:
    """Print a value as JSON to stdout, in UTF-8 whatever the locale.

    Args:
        value: Texts, numbers, `None`, and lists and dictionaries of them.
        readable: Whether people read it, too: then it stands on many lines, and its letters are not escaped.

    Raises:
        BrokenPipeError: The reader has gone.
        ConfigurationError: Stdout is closed.
        OutputFailed: It cannot be written.
    """
    with StandardOutput() as output:
        output.write(json.dumps(value, ensure_ascii=not readable, indent=2 if readable else None) + "\n")


def flush_stdout() -> None:
    """Flush stdout.

    Raises:
        BrokenPipeError: The reader has gone.
        OutputFailed: It cannot be written.
    """
    with _raising_output_failed():
        if sys.stdout is not None:
            sys.stdout.flush()


@contextlib.contextmanager
def _raising_output_failed() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputFailed("stdout", error) from None


class OutputFile:
    """A file that gets its name only when it is complete and on the disk.

    Leaving it by an error keeps what was written under the name that ends in `.part`, if anything was.

    Attributes:
        finished: Whether the file has its name, and is whole.
        lossy: Whether some of what was written could not be kept.

    Args:
        path: The file's name.
        overwrite: Whether a file of that name may be replaced.

    Raises:
        ConfigurationError: It cannot be opened, is there already, or is being written by another process.
    """

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        self.finished: bool = False
        self.lossy: bool = False
        self._path = path
        self._overwrite = overwrite
        # Through a link to the file that it stands for, so that the link stays one.
        self._target = Path(os.path.realpath(path)) if os.path.islink(path) else path  # noqa: PTH114 (it never raises)
        self._part = self._target.with_name(f"{self._target.name}.part")
        self._buffer = bytearray()
        self._begun = False
        self._removed = False
        self._check_name()
        try:
            self._file, self._lock = _claim(self._part)
        except OSError as error:
            raise ConfigurationError(f"{self._part} cannot be written: {reason_of(error)}") from None
        try:
            self._mode = self._check_name()
        except BaseException:
            self._keep()
            raise

    @property
    def place(self) -> str | None:
        """Return where what was written is, as the end of a sentence; `None` if it is nowhere."""
        if self._removed:
            return None
        return f"are in {self._path if self.finished else self._part}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._keep()
            return
        try:
            self._finish()
        except BaseException:
            self._keep()
            raise

    def write(self, text: str) -> None:
        """Write some text.

        Raises:
            OutputFailed: The disk is full, or fails.
        """
        self._buffer += text.encode("utf-8", "backslashreplace")
        if len(self._buffer) >= _CHUNK:
            with self._failing():
                self._flush()

    def _check_name(self) -> int | None:
        """Return the permissions of the file that will be replaced, `None` if there is none."""
        try:
            mode = self._target.stat().st_mode
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigurationError(f"{self._path} cannot be written: {reason_of(error)}") from None
        if not stat.S_ISREG(mode):
            raise ConfigurationError(f"{self._path} is no file; leave out --output and redirect stdout to it")
        if not self._overwrite:
            raise ConfigurationError(f"{self._path} is there already; pass --overwrite to replace it")
        return stat.S_IMODE(mode)

    def _flush(self) -> None:
        if not self._begun:
            # Not before there is something to write: what an interrupted run left is better than nothing.
            os.ftruncate(self._file, 0)
            self._begun = True
        while self._buffer:
            del self._buffer[: os.write(self._file, self._buffer)]

    def _finish(self) -> None:
        with self._failing():
            self._flush()
            if self._mode is not None:
                self._part.chmod(self._mode)
            sync(self._file)
            file, self._file = self._file, -1
            os.close(file)
        self._check_name()
        with self._failing():
            self._part.replace(self._target)
        # From here on the file is whole under its own name: `_keep` has nothing to save, whatever comes next.
        self.finished = True
        self._release()
        try:
            sync_directory(self._target.parent)
        except OSError as error:
            raise OutputFailed(f"{self._path} is complete, but its directory", error) from None

    def _keep(self) -> None:
        try:
            if self._buffer:
                self._flush()
        except OSError:
            self.lossy = True
        with contextlib.suppress(OSError):
            if not self.finished and not self._part.stat().st_size:
                self._part.unlink()
                self._removed = True
        self._release()

    def _release(self) -> None:
        for name in ("_file", "_lock"):
            if getattr(self, name) >= 0:
                with contextlib.suppress(OSError):
                    os.close(getattr(self, name))
                setattr(self, name, -1)

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputFailed(self._part, error) from None


Output = StandardOutput | OutputFile


def open_output(path: Path | None, *, overwrite: bool) -> Output:
    """Return the output. Use it in `with`.

    Args:
        path: The file; `None` for stdout.
        overwrite: Whether a file of that name may be replaced.

    Raises:
        ConfigurationError: There cannot be output.
    """
    return StandardOutput(else_=", or pass --output") if path is None else OutputFile(path, overwrite=overwrite)


def _claim(part: Path) -> tuple[int, int]:
    """Open and lock the file; return its descriptor and one that holds the lock when the first is closed."""
    while True:
        file = os.open(part, _FLAGS, 0o666)
        try:
            _lock(file, part)
            # Its holder may have renamed it between our opening and our locking.
            if fcntl is None or _is_at(file, part):
                return file, os.dup(file) if fcntl else -1
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _lock(file: int, part: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigurationError(
            f"another process is writing {part}; wait until it ends, or choose another --output"
        ) from None
    except OSError:
        # Some network file systems know no locks.
        return


def _is_at(file: int, part: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), part.stat())
    except FileNotFoundError:
        return False
