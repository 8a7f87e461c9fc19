"""The exit codes of the command line: its own, those of sysexits.h, and 128 plus the number of a signal."""

from __future__ import annotations

import sys

from profile_history.cli.output import OutputFailed
from profile_history.cli.signals import Stopped
from profile_history.errors import (
    ApiError,
    AuthenticationError,
    ConfigurationError,
    HistoryError,
    ProxyFailed,
    ServerUnavailable,
    UnexpectedPage,
)

DONE = 0
SOME_FAILED = 1
USAGE = 2
INTERNAL = 70
OUTPUT_FAILED = 74
TRY_LATER = 75
NOT_AUTHORISED = 77
INTERRUPTED = 130
TERMINATED = 143

MEANINGS = {
    DONE: "done",
    SOME_FAILED: "some windows failed, an output is not what its ledger says, or a run brought less than --min-events",
    USAGE: "wrong usage, or a job with another plan",
    INTERNAL: "an error of ours",
    OUTPUT_FAILED: "the output or the ledger cannot be written, or the profiles cannot be read",
    TRY_LATER: "the server is down, or a page responds in its place, or it asks for a long pause, or another process "
    "works on the job: try later",
    NOT_AUTHORISED: "not authorised, as the API itself says",
    INTERRUPTED: "interrupted",
    TERMINATED: "terminated",
}

STATUSES = {
    DONE: "done",
    SOME_FAILED: "some_failed",
    USAGE: "refused",
    INTERNAL: "internal_error",
    OUTPUT_FAILED: "output_failed",
    TRY_LATER: "try_later",
    NOT_AUTHORISED: "not_authorised",
    INTERRUPTED: "interrupted",
    TERMINATED: "terminated",
}
"""The codes in a word, for JSON."""


def choose(error: BaseException) -> int:
    """Return the code that tells a script what became of the command."""
    match error:
        case Stopped():
            return error.code
        case ConfigurationError():
            return USAGE
        case AuthenticationError():
            return NOT_AUTHORISED
        case ServerUnavailable() | ProxyFailed():
            return TRY_LATER
        case ApiError() | UnexpectedPage() if error.fatal:
            return TRY_LATER
        case HistoryError():
            return _choose_for_job(error)
        case BrokenPipeError():
            # The reader of our output has gone, and knows why.
            return SOME_FAILED
        case OutputFailed() | OSError():
            return OUTPUT_FAILED
    return INTERNAL


def _choose_for_job(error: HistoryError) -> int:
    # What was never imported was never raised, and most commands never import it.
    jobs = sys.modules.get("profile_history.jobs")
    if jobs is None or "profile_history.jobs.job" not in sys.modules:
        return SOME_FAILED
    if isinstance(error, jobs.JobHeld):
        return TRY_LATER
    if isinstance(error, (jobs.LedgerError, jobs.SinkError, jobs.SourceError)):
        return OUTPUT_FAILED
    return SOME_FAILED
