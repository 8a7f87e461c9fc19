"""The command line `profile-history`; it needs the extra `cli` (or `demo`)."""

from __future__ import annotations

import sys

from profile_history.cli.signals import SignalScope, Stopped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code.

    SIGINT and SIGTERM end the command, and within five seconds the process. Nothing that takes time to import is
    imported before they are listened to.

    Args:
        arguments: The words after the program's name. By default those of this process, which ends with the command:
            then the handlers of the signals stay.
    """
    with SignalScope(for_good=arguments is None):
        try:
            return _main(sys.argv[1:] if arguments is None else arguments)
        except Stopped as stop:
            return stop.code


def _main(words: Sequence[str]) -> int:
    import importlib.util

    from profile_history.cli.process import prepare_process

    with prepare_process():
        missing = [name for name in ("cyclopts", "rich") if importlib.util.find_spec(name) is None]
        if not missing:
            from profile_history.cli.app import run

            return run(words)
        from profile_history._extras import install_hint

        print(install_hint(f"The command line needs {' and '.join(missing)}", "cli"), file=sys.stderr)
        return 2
