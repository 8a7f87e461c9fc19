"""The exit codes of the command line: its own, those of sysexits.h, and 128 plus the number of a signal."""

from __future__ import annotations

from profile_history.cli.output import OutputFailed
from profile_history.errors import ApiError, AuthenticationError, ConfigurationError, HistoryError, ServerUnavailable

DONE = 0
SOME_FAILED = 1
USAGE = 2
OUTPUT_FAILED = 74
TRY_LATER = 75
NOT_AUTHORISED = 77
INTERRUPTED = 130
TERMINATED = 143

MEANINGS = {
    DONE: "done",
    SOME_FAILED: "some windows failed",
    USAGE: "wrong usage",
    OUTPUT_FAILED: "the output cannot be written",
    TRY_LATER: "the server is down or asks for a long pause: try later",
    NOT_AUTHORISED: "not authorised",
    INTERRUPTED: "interrupted",
    TERMINATED: "terminated",
}


def of(error: Exception) -> int | None:
    """The code that tells a script what became of the command; None for what is a bug."""
    match error:
        case ConfigurationError():
            return USAGE
        case AuthenticationError():
            return NOT_AUTHORISED
        case ServerUnavailable():
            return TRY_LATER
        case ApiError() if error.fatal:
            return TRY_LATER
        case HistoryError():
            return SOME_FAILED
        case OutputFailed() | OSError():
            return OUTPUT_FAILED
    return None
