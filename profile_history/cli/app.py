"""The commands, and the way from their errors to exit codes."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console

from profile_history.cli import exit_codes
from profile_history.cli.actions import actions
from profile_history.cli.demo import demo
from profile_history.cli.error_messages import FLAG, report_error
from profile_history.cli.export import export
from profile_history.cli.fetch import fetch
from profile_history.cli.output import flush_stdout
from profile_history.cli.passwords import check_words
from profile_history.cli.resume import resume, retry_failed
from profile_history.cli.serve import serve
from profile_history.cli.status import status, verify
from profile_history.errors import ConfigurationError
from profile_history.version import __version__

_TRACEBACK = inspect.Parameter(
    "traceback",
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[
        bool,
        Parameter(name=FLAG, negative="", help="Print the traceback behind the line that says what went wrong."),
    ],
)

app: App = App(
    name="profile-history",
    help="Downloads the action histories of marketing profiles.",
    version=__version__,
    suppress_keyboard_interrupt=False,
    help_epilogue=(
        f"Exit codes: {'; '.join(f'{code} {meaning}' for code, meaning in exit_codes.MEANINGS.items())}.\n\n"
        "PROFILE_HISTORY_URL, PROFILE_HISTORY_LIST_ID and PROFILE_HISTORY_TOKEN or PROFILE_HISTORY_TOKEN_FILE stand in "
        "for what the command line leaves out, as do PROFILE_HISTORY_PROXY and PROFILE_HISTORY_CA. The token is never "
        "an argument, where others could read it."
    ),
)


def _with_traceback(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return the command with the option that all have; `run` sees to it, since it is for wrong usage, too."""

    def wrapper(*words: Any, traceback: bool = False, **options: Any) -> Any:  # noqa: ARG001
        return command(*words, **options)

    signature = inspect.signature(command, eval_str=True)
    parameters = [*signature.parameters.values(), _TRACEBACK]
    wrapper.__name__, wrapper.__doc__ = command.__name__, command.__doc__
    wrapper.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapper


for _command in (demo, fetch, export, status, resume, retry_failed, verify, serve, actions):
    app.command(_with_traceback(_command))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return the exit code."""
    words = list(arguments)
    options = words[: words.index("--")] if "--" in words else words
    whole = FLAG in options
    try:
        if any("\0" in word for word in words):
            # A process cannot be given it, but `main` can.
            raise ConfigurationError("a word of the command line holds the character 0, which no name has")
        if any(word.partition("=")[0] == "--token" for word in options):
            raise ConfigurationError("there is no --token, since others could read it; use --token-file")
        check_words(words)
        code = app(
            _hyphen_last(words),
            exit_on_error=False,
            error_console=Console(stderr=True),
            result_action="return_value",
        )
        flush_stdout()
    except CycloptsError:
        return exit_codes.USAGE
    except (BrokenPipeError, SystemExit):
        # The reader of our output has gone, and knows why; rich makes the second of the first.
        return exit_codes.SOME_FAILED
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 (what we did not expect is told, too)
        return report_error(error, whole=whole)
    return code if isinstance(code, int) else exit_codes.DONE


def _hyphen_last(words: list[str]) -> list[str]:
    """Return the words so that a lone hyphen stands for stdin; the parser would take it for an option."""
    if "-" not in words or "--" in words:
        return words
    return [*(word for word in words if word != "-"), "--", "-"]
