"""The command line `profile-history`; it needs the extra `cli` (or `demo`)."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence

from profile_history.cli.exits import USAGE
from profile_history.cli.process import prepare, settle
from profile_history.cli.running import Stopped, stoppable


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code.

    SIGINT and SIGTERM end the command, and within five seconds the process.

    Args:
        arguments: The words after the program's name; those of this process by default.
    """
    prepare()
    if missing := [name for name in ("cyclopts", "rich") if importlib.util.find_spec(name) is None]:
        print(
            f'The command line needs {" and ".join(missing)}: python -m pip install "profile-history[cli]"',
            file=sys.stderr,
        )
        return USAGE
    try:
        with stoppable():
            from profile_history.cli.app import run

            return run(sys.argv[1:] if arguments is None else arguments)
    except Stopped as stop:
        return stop.code
    finally:
        settle()
