"""The preparation of a process for its command, and what is left to do behind it."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO, cast

_STDERR = 2
_NOWHERE = logging.NullHandler()


class _MessageStream:
    """A stream for people, whose failures are ignored.

    A terminal that has gone, or a full disk behind `2>log`, must not end the work: the events on stdout and the rows in
    a sink are worth more than a line of progress.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


@contextlib.contextmanager
def prepare_process() -> Iterator[None]:
    """Prepare the process for a command, and clean up behind it.

    The token is kept out of core files, and the log of the core, which nobody asked for here, off the terminal. What is
    printed and has no place in the encoding of stdout is escaped, and nothing fails because stderr does. At the end
    nothing is left in the buffers that could fail once more while the interpreter ends.
    """
    _fill_gaps()
    # Windows lacks it, and has no such files.
    with contextlib.suppress(ImportError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (0, most))
    logging.getLogger("profile_history").addHandler(_NOWHERE)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    if sys.stderr is None:
        # It was closed by whoever started this process; print would turn to stdout instead.
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 (for the rest of the process)
    messages = sys.stderr
    if isinstance(messages, io.TextIOWrapper):
        messages.reconfigure(errors="backslashreplace")
    sys.stderr = cast("TextIO", _MessageStream(messages))
    try:
        yield
    finally:
        sys.stderr = messages
        for stream in (sys.stdout, sys.stderr):
            _settle(stream)


def _fill_gaps() -> None:
    # Descriptors 0 to 2 are filled: a socket that got the number of a closed stdout would receive what others print,
    # and libuv aborts over it.
    while (file := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        pass
    os.close(file)


def _settle(stream: TextIO | None) -> None:
    if stream is None:
        return
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
