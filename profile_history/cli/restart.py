"""The question whether to delete what a job has written."""

from __future__ import annotations

import sys
from pathlib import Path

from profile_history.cli.event_text import escape
from profile_history.errors import ConfigurationError


def confirm_restart(ledger: Path, sink: str, *, yes: bool) -> None:
    """Return if what a job has written may be deleted; a person at a terminal is asked.

    Args:
        ledger: The ledger of the job; there may be none, and then there is nothing to delete.
        sink: Where the new job is to write.
        yes: Whether that was said beforehand.

    Raises:
        ConfigurationError: It may not be deleted.
    """
    from profile_history.cli.job_progress import format_count
    from profile_history.jobs import status_of

    if yes or not ledger.exists():
        return
    status = status_of(ledger, failures=0)
    what = f"delete {format_count(status.totals.rows, 'event')} in {sink} and begin anew"
    if sys.stdin is None or not sys.stdin.isatty():
        raise ConfigurationError(f"--restart would {what}; pass --yes as well if that is meant")
    print(escape(f"{what}? [y/N] "), end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise ConfigurationError("nothing was deleted; leave --restart out to go on with the job")
