"""The commands, and what becomes of their errors."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError
from rich.console import Console

from profile_history.cli import exits
from profile_history.cli.actions import actions
from profile_history.cli.demo import demo
from profile_history.cli.export import export
from profile_history.cli.fetch import fetch
from profile_history.cli.formats import visible
from profile_history.cli.output import flush_stdout
from profile_history.cli.resume import resume, retry_failed
from profile_history.cli.serve import serve
from profile_history.cli.status import status, verify
from profile_history.errors import ConfigurationError
from profile_history.version import __version__

app = App(
    name="profile-history",
    help="Downloads the action histories of marketing profiles.",
    version=__version__,
    suppress_keyboard_interrupt=False,
    help_epilogue=(
        f"Exit codes: {'; '.join(f'{code} {meaning}' for code, meaning in exits.MEANINGS.items())}.\n\n"
        "PROFILE_HISTORY_URL, PROFILE_HISTORY_LIST_ID and PROFILE_HISTORY_TOKEN or PROFILE_HISTORY_TOKEN_FILE stand in "
        "for what the command line leaves out. The token is never an argument, where others could read it."
    ),
)
app.command(demo)
app.command(fetch)
app.command(export)
app.command(status)
app.command(resume)
app.command(retry_failed)
app.command(verify)
app.command(serve)
app.command(actions)


def run(arguments: Sequence[str]) -> int:
    """Runs one command; returns the exit code."""
    words = list(arguments)
    if any(word.partition("=")[0] == "--token" for word in words):
        _complain(ConfigurationError("there is no --token, since others could read it; use --token-file"))
        return exits.USAGE
    if "-" in words and "--" not in words:
        # A lone hyphen stands for stdin; the parser would take it for an option.
        words = [*(word for word in words if word != "-"), "--", "-"]
    try:
        code = app(
            words,
            exit_on_error=False,
            error_console=Console(stderr=True),
            result_action="return_value",
        )
        flush_stdout()
    except CycloptsError:
        return exits.USAGE
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone, and knows why.
        return exits.SOME_FAILED
    except Exception as error:
        failure = exits.of(error)
        if failure is None:
            raise
        _complain(error)
        return failure
    return code if isinstance(code, int) else exits.DONE


def _complain(error: Exception) -> None:
    text = f"input or output failed: {error}; check where stdout goes" if isinstance(error, OSError) else str(error)
    with contextlib.suppress(OSError):
        print(f"profile-history: {visible(text)}", file=sys.stderr)
