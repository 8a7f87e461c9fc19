"""The message for an error that ends a command."""

from __future__ import annotations

import os
import sys
import traceback

from profile_history.cli import exit_codes
from profile_history.cli.event_text import escape
from profile_history.errors import ApiError, ConnectionFailed, Kind, ResponseError

FLAG = "--traceback"


def report_error(error: BaseException, *, whole: bool) -> int:
    """Say in one line on stderr what is wrong, and return the exit code.

    Args:
        error: What ended the command.
        whole: Whether to print its traceback behind that line.
    """
    code = exit_codes.choose(error)
    print(f"profile-history: {escape(explain(error, whole=whole))}", file=sys.stderr)
    if whole:
        for line in "".join(traceback.format_exception(error)).splitlines():
            print(escape(line), file=sys.stderr)
    return code


def is_final(error: BaseException | None) -> bool:
    """Tell whether the server, or what stands before it, refuses in a way that no repetition of the command cures.

    Args:
        error: What ended the command.
    """
    if not isinstance(error, (ApiError, ResponseError, ConnectionFailed)):
        return False
    return error.retry_after is None and error.kind in (Kind.AUTH, Kind.CALLER, Kind.UNKNOWN)


def explain(error: BaseException, *, whole: bool = False) -> str:
    """Return what is wrong, in a sentence without its full stop.

    Args:
        error: What ended the command.
        whole: Whether its traceback follows.
    """
    if exit_codes.choose(error) == exit_codes.INTERNAL:
        advice = "report what follows" if whole else f"run the command again with {FLAG}, and report what it prints"
        return f"an error of ours, {type(error).__name__}: {error}; {advice}"
    if isinstance(error, OSError):
        reason = error.strerror or type(error).__name__
        if error.filename is None:
            return f"input or output failed: {reason}; check where stdout goes"
        return f"{os.fsdecode(error.filename)} cannot be used: {reason}; check that path"
    return str(error)
