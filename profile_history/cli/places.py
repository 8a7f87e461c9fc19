"""Where a job is: what people type for it, and what they are told to type."""

from __future__ import annotations

import shlex
from pathlib import Path

from profile_history.errors import ConfigurationError


def ledger_of(job: str) -> Path:
    """The ledger that a text means: its path, or the sink beside which it stands.

    Raises:
        ConfigurationError: There is no such job.
    """
    from profile_history.jobs.schema import draft_of
    from profile_history.sinks.urls import ledger_beside

    if not Path(job).name:
        raise ConfigurationError(f"{job!r} names no job; name its ledger, or its sink if they stand side by side")
    try:
        beside = ledger_beside(job)
    except ConfigurationError:
        beside = Path(job)
    for path in (beside, Path(job)):
        if path.is_file() or draft_of(path).is_file():
            return path
    looked = f"{beside} is not there" if "://" in job or str(beside) == job else f"neither {beside} nor {job} is there"
    raise ConfigurationError(
        f"there is no job: {looked}; name the ledger of a job, or its sink if they stand side by side"
    )


def command(name: str, ledger: Path, options: str = "") -> str:
    """A command that somebody can type as it stands."""
    path = str(ledger)
    return f"profile-history {name} {shlex.quote(f'./{path}' if path.startswith('-') else path)}{options}"
