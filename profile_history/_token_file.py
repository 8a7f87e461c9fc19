"""A token that stands in a file, as containers mount it, and that is read again when the server refuses it."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

from profile_history._aio import in_thread
from profile_history._secrets import SecretBytes, SecretText, Token, fits_a_header
from profile_history.errors import ConfigurationError

# Bytes; far beyond any token, so that a wrong path to something huge is not read into memory.
_LONGEST = 64 * 1024

# A FIFO is opened without waiting for a writer, and a terminal does not become ours.
_FLAGS = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_CLOEXEC", "O_NOCTTY", "O_BINARY"))

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class FileToken(Token):
    """The token of a file; it follows the file when that is replaced.

    Args:
        path: The file.

    Raises:
        ConfigurationError: It cannot be read, others could have written it, or it holds no token.
    """

    __slots__ = ("_lock", "_path", "_readings")

    def __init__(self, path: Path) -> None:
        super().__init__(read_token(path))
        self._path = path
        # Many requests are refused at once: the first reads the file in a thread, the others wait for what it finds.
        self._lock = asyncio.Lock()
        self._readings = 0

    async def renew(self, generation: int) -> bool:
        """Read the file again, once for all requests that were refused by then.

        Args:
            generation: The `generation` that the refused request was sent with.

        Returns:
            Whether there is a newer token now.

        Raises:
            ConfigurationError: The file cannot be read any more, or holds no token.
        """
        # No clock: that of uvloop stands still for a millisecond, in which the file may be read several times.
        known = self._readings
        async with self._lock:
            if generation == self.generation and self._readings == known:
                self._readings += 1
                self.replace(await in_thread(read_token, self._path))
        return generation != self.generation


def read_token(path: Path) -> SecretText:
    """Return the token that a file holds, without the blanks and line ends around it.

    The file is a regular one (links are followed) that nobody but its owner or root can write; one of our own nobody
    else can read, either. Where the system has no such permissions, they are not asked for.

    Raises:
        ConfigurationError: It is none of that, cannot be read, or holds no token.
    """
    try:
        # Everything is asked of the opened file: the path may name another one by then.
        descriptor = os.open(path, _FLAGS)
        try:
            objection = _objection(path, os.fstat(descriptor))
            raw = SecretBytes(b"" if objection else _read(descriptor))
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(f"the token file {path} cannot be read: {reason}") from None
    if objection is not None:
        raise ConfigurationError(objection)
    return _token_in(path, raw)


def _objection(path: Path, status: os.stat_result) -> str | None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        return f"the token file {path} is {kind}; name a file that holds the token"
    if os.name != "posix":
        return None
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"others can write the token file {path}; run: chmod 600 {path}"
    if status.st_uid == os.geteuid() and status.st_mode & (stat.S_IRGRP | stat.S_IROTH):
        return f"others can read the token file {path}; mount it with mode 0400, or run: chmod 600 {path}"
    return None


def _read(descriptor: int) -> bytes:
    with open(descriptor, "rb", closefd=False) as file:
        return file.read(_LONGEST + 1)


def _token_in(path: Path, raw: SecretBytes) -> SecretText:
    if len(raw) > _LONGEST:
        raise ConfigurationError(f"the token file {path} is longer than 64 KiB; name a file that holds only the token")
    text = SecretText(raw.decode("utf-8-sig", "replace"))
    token = SecretText(text.strip())
    if "\ufffd" in token:
        raise ConfigurationError(f"the token file {path} holds no UTF-8 text; save it as plain text")
    if not token:
        raise ConfigurationError(f"the token file {path} is empty; write the token into it")
    if len(token.splitlines()) > 1:
        raise ConfigurationError(f"the token file {path} holds several lines; leave only the token in it")
    if not fits_a_header(token):
        raise ConfigurationError(
            f"the token file {path} holds a blank or a character outside ASCII; leave only the token in it"
        )
    return token
