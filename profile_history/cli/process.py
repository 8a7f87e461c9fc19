"""What a process of the command line sees to before and after its command."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

_STDERR = 2
_NOWHERE = logging.NullHandler()


def prepare() -> None:
    """Keeps the token out of core files, and the log of the core, which nobody asked for here, off the terminal."""
    _fill_gaps()
    if sys.platform != "win32":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (0, most))
    logging.getLogger("profile_history").addHandler(_NOWHERE)
    if sys.stderr is None:
        # It was closed by whoever started this process; print would turn to stdout instead.
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 (for the rest of the process)


def _fill_gaps() -> None:
    # A socket that got the number of a closed stdout would receive what others print, and libuv aborts over it.
    while (file := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        pass
    os.close(file)


def settle() -> None:
    """Leaves nothing in the buffers of stdout and stderr that could fail once more while the interpreter ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
