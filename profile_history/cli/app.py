"""The commands, and what becomes of their errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError
from rich.console import Console

from profile_history.cli import exits
from profile_history.cli.actions import actions
from profile_history.cli.demo import demo
from profile_history.cli.fetch import fetch
from profile_history.cli.serve import serve
from profile_history.errors import AuthenticationError, ConfigurationError, HistoryError
from profile_history.version import __version__

app = App(
    name="profile-history",
    help="Downloads the action histories of marketing profiles.",
    version=__version__,
    help_epilogue=(
        "Exit codes: 0 done, 1 some windows failed, 2 wrong usage, 77 not authorised, 130 interrupted.\n\n"
        "PROFILE_HISTORY_URL, PROFILE_HISTORY_LIST_ID and PROFILE_HISTORY_TOKEN or PROFILE_HISTORY_TOKEN_FILE stand in "
        "for what the command line leaves out. The token is never an argument, where others could read it."
    ),
)
app.command(demo)
app.command(fetch)
app.command(serve)
app.command(actions)


def run(arguments: Sequence[str]) -> int:
    """Runs one command; returns the exit code."""
    words = list(arguments)
    if any(word.partition("=")[0] == "--token" for word in words):
        refusal = ConfigurationError("there is no --token, since others could read it; use --token-file")
        return _complain(refusal, exits.USAGE)
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
    except CycloptsError:
        return exits.USAGE
    except ConfigurationError as error:
        return _complain(error, exits.USAGE)
    except AuthenticationError as error:
        return _complain(error, exits.NOT_AUTHORISED)
    except HistoryError as error:
        return _complain(error, exits.SOME_FAILED)
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone; what is still buffered must not raise once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.SOME_FAILED
    return code if isinstance(code, int) else exits.DONE


def _complain(error: Exception, code: int) -> int:
    print(f"profile-history: {error}", file=sys.stderr)
    return code
