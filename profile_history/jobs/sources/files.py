"""Files and streams of bytes: opened, decompressed, and cut into lines."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import attrs

from profile_history._extras import require
from profile_history.errors import ConfigurationError
from profile_history.jobs.sources.base import SourceError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

LINE_LIMIT = 1 << 20
"""Bytes. Longer lines are no profiles; without a limit a file that has no line ends would be held as a whole."""

_BUFFER = 1 << 16
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_BOM, _UTF16 = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")


@attrs.frozen
class File:
    """A file on the disk.

    Attributes:
        path: Where.
    """

    path: Path

    def __str__(self) -> str:
        return os.path.abspath(self.path)  # noqa: PTH100 (a link to the file of the day stays a link)

    @property
    def repeatable(self) -> bool:
        """Return whether it is more than a pipe."""
        return self.path.is_file()

    def check_exists(self) -> None:
        """Check that it is there.

        Raises:
            ConfigurationError: It is not there, or is a directory, or its name can be none.
        """
        if "\0" in str(self.path):
            raise ConfigurationError(f"{str(self.path)!r} is no path of a file: it holds the character 0")
        try:
            if self.path.is_dir():
                raise ConfigurationError(f"{self.path} is a directory; pass one of its files")
            self.path.stat()
        except OSError as error:
            raise ConfigurationError(
                f"{self.path} cannot be read ({error.strerror}); pass the path of a file"
            ) from None

    @contextmanager
    def open(self) -> Iterator[io.BufferedReader]:
        """Open it for the length of a block, decompressed.

        Raises:
            ConfigurationError: It is not there or may not be read.
            SourceError: It breaks off.
        """
        self.check_exists()
        try:
            file = self.path.open("rb")
        except OSError as error:
            raise ConfigurationError(
                f"{self.path} cannot be read ({error.strerror}); look at its permissions"
            ) from None
        with file, unpack(file, str(self.path)) as stream:
            yield stream


@attrs.define
class Stream:
    """A stream that somebody else has opened and will close, such as `sys.stdin.buffer`.

    Attributes:
        stream: The stream.
        name: What it is called.
    """

    stream: BinaryIO
    name: str = "stdin"
    _used: bool = False

    repeatable = False

    def __str__(self) -> str:
        return self.name

    @contextmanager
    def open(self) -> Iterator[io.BufferedReader]:
        """Hand out its bytes for the length of a block, decompressed.

        Raises:
            ConfigurationError: They were read before.
            SourceError: It breaks off.
        """
        if self._used:
            raise ConfigurationError(f"{self.name} was read already and cannot be read again; pass a file")
        self._used = True
        with unpack(self.stream, self.name) as stream:
            yield stream


Place: TypeAlias = File | Stream


def place_of(place: str | os.PathLike[str] | BinaryIO | Place) -> Place:
    """Return the place that a path or a stream of bytes stands for."""
    if isinstance(place, (File, Stream)):
        return place
    if isinstance(place, (str, os.PathLike)):
        return File(Path(place))
    return Stream(place)


def file_of(place: str | os.PathLike[str] | BinaryIO | Place) -> File:
    """Return the file that a path stands for, for what is not read from its beginning to its end.

    Raises:
        ConfigurationError: It is a stream.
    """
    found = place_of(place)
    if not isinstance(found, File):
        raise ConfigurationError("Parquet and databases cannot be read from a stream; pass the path of a file")
    return found


@contextmanager
def unpack(stream: BinaryIO, name: str) -> Iterator[io.BufferedReader]:
    """Decompress a stream for the length of a block; its first bytes tell whether that is gzip or zstd.

    Args:
        stream: The stream; it stays open.
        name: What to call it in messages.

    Yields:
        The bytes, decompressed.

    Raises:
        ConfigurationError: What unpacks it is not installed.
        SourceError: It breaks off, or is damaged.
    """
    try:
        start = io.BufferedReader(_Joined(b"", stream), _BUFFER)
        head = start.read(len(_ZSTD))
        raw: Any = _Joined(head, start)
        if head.startswith(_GZIP):
            raw = gzip.GzipFile(fileobj=raw)
        elif head == _ZSTD:
            raw = _Zstd(raw)
        yield io.BufferedReader(raw, _BUFFER)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"{name} cannot be read to its end ({error}); mend or replace it, and begin again") from None


def number_lines(stream: io.BufferedReader, name: str) -> Iterator[tuple[int, bytes]]:
    """Yield the lines and their numbers from 1; a line that is too long is cut to `LINE_LIMIT`.

    A byte order mark is dropped from the beginning of each line: that is where files which were joined had theirs.

    Args:
        stream: The bytes.
        name: What to call them in messages.

    Raises:
        ConfigurationError: The text is UTF-16.
    """
    number = 0
    while raw := stream.readline(LINE_LIMIT):
        number += 1
        if number == 1 and raw.startswith(_UTF16):
            raise ConfigurationError(f"{name} is UTF-16 text; save it as UTF-8, for example with iconv")
        rest = raw
        while len(rest) >= LINE_LIMIT and not rest.endswith(b"\n"):
            rest = stream.readline(LINE_LIMIT)
        yield number, raw.removeprefix(_BOM) if len(raw) < LINE_LIMIT else raw


def peek(place: Place) -> None:
    """Read the first line of a place.

    Raises:
        ConfigurationError: It is UTF-16, or cannot be opened.
        SourceError: It is damaged.
    """
    with place.open() as stream:
        next(number_lines(stream, str(place)), None)


class _Joined(io.RawIOBase):
    """Some bytes, and after them a stream, which stays open."""

    def __init__(self, head: bytes, stream: BinaryIO | io.BufferedReader) -> None:
        self._head = head
        # Of what has come down a pipe, `readinto1` does not wait for more.
        self._more = getattr(stream, "readinto1", stream.readinto)  # type: ignore[union-attr]

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        if not self._head:
            read: int = self._more(buffer)
            return read
        view = memoryview(buffer)
        size = min(len(view), len(self._head))
        view[:size], self._head = self._head[:size], self._head[size:]
        return size


class _Zstd(io.RawIOBase):
    """The content of zstd frames. The library's own reader takes a frame that breaks off for its end."""

    def __init__(self, packed: _Joined) -> None:
        self._packed = io.BufferedReader(packed, 1 << 14)
        self._library = require("zstandard", "zstd", "a zstd file needs zstandard")
        self._frame: Any = None
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        while not self._ready and self._unpack():
            pass
        view = memoryview(buffer)
        size = min(len(view), len(self._ready))
        view[:size], self._ready = self._ready[:size], self._ready[size:]
        return size

    def _unpack(self) -> bool:
        if self._frame is not None and self._frame.eof:
            rest = self._frame.unused_data
            self._frame = None
        else:
            rest = b""
        packed = rest or self._packed.read1()
        if not packed:
            if self._frame is not None:
                raise EOFError("a zstd frame breaks off")
            return False
        if self._frame is None:
            self._frame = self._library.ZstdDecompressor().decompressobj()
        try:
            self._ready = self._frame.decompress(packed)
        except self._library.ZstdError as error:
            raise OSError(str(error)) from None
        return True
