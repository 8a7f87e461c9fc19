"""Stdin for a thread: a read that waits for input does not keep a signal from ending the command."""

from __future__ import annotations

import io
import os
import select
import sys
from typing import TYPE_CHECKING, BinaryIO

from profile_history.cli.signals import get_stop_signal
from profile_history.errors import ConfigurationError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_LOOKS_EVERY = 0.1


class _InterruptibleStdin(io.RawIOBase):
    """Stdin that is at its end when a signal has asked the command to stop."""

    def __init__(self, file: int) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        while not select.select([self._file], [], [], _LOOKS_EVERY)[0]:
            if get_stop_signal() is not None:
                raise InterruptedError("interrupted")
        read = os.read(self._file, len(memoryview(buffer)))
        memoryview(buffer)[: len(read)] = read
        return len(read)


def open_stdin() -> BinaryIO:
    """Return the bytes of stdin.

    Raises:
        ConfigurationError: It is closed.
    """
    if sys.stdin is None:
        raise ConfigurationError("stdin is closed; pipe the profiles into it, or pass a file")
    if os.name == "nt":
        # There it cannot be waited for.
        return sys.stdin.buffer
    return io.BufferedReader(_InterruptibleStdin(sys.stdin.fileno()))
