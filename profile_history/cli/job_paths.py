"""The place of a job: as people type it, and as they are told to type it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from profile_history.errors import ConfigurationError


def place_ledger(into: str) -> Path:
    """Return the path of the ledger of the job that fills an output; it need not be there yet.

    Args:
        into: The output, as it was typed.

    Raises:
        ConfigurationError: It names no sink, or there is no place for the ledger of a server.
    """
    from profile_history.jobs.server_ledgers import ledger_of_server
    from profile_history.sinks.postgres_address import is_server
    from profile_history.sinks.urls import ledger_beside

    return ledger_of_server(into, os.environ, Path()) if is_server(into) else ledger_beside(into)


def make_ledger_directory(ledger: Path, into: str) -> None:
    """Make the directory of a ledger whose place was not named, if that is one for ledgers alone.

    Args:
        ledger: Where `place_ledger` puts it.
        into: The output, as it was typed.

    Raises:
        ConfigurationError: It cannot be made.
    """
    from profile_history.jobs.server_ledgers import make_directory
    from profile_history.sinks.postgres_address import is_server

    if is_server(into) and not ledger.exists():
        make_directory(ledger)


def find_ledger(job: str) -> Path:
    """Return the ledger that a text means: its path, or that of the job that fills a sink.

    Args:
        job: The text.

    Raises:
        ConfigurationError: There is no such job.
    """
    from profile_history.jobs.schema import draft_of
    from profile_history.sinks.postgres_address import is_server
    from profile_history.sinks.schemes import check_path

    if not Path(job).name:
        raise ConfigurationError(f"{job!r} names no job; name its ledger, or its sink if they stand side by side")
    if not is_server(job):
        check_path(job, "ledger")
    try:
        usual = place_ledger(job)
    except ConfigurationError:
        if is_server(job):
            raise
        usual = Path(job)
    for path in (usual, Path(job)):
        if any(map(os.path.isfile, (path, draft_of(path)))):
            # Unlike the method of a path, it says no to a name that is too long for the system.
            return path
    neither = str(usual) != job and not is_server(job)
    looked = f"neither {usual} nor {job} is there" if neither else f"{usual} is not there"
    raise ConfigurationError(
        f"there is no job: {looked}; name the ledger of a job, or its sink if they stand side by side"
    )


def format_command(name: str, ledger: Path, options: str = "") -> str:
    """Return a command that somebody can type as it stands.

    Args:
        name: The command.
        ledger: The ledger of the job.
        options: Options, with a blank before them.
    """
    path = str(ledger)
    return f"profile-history {name} {shlex.quote(f'./{path}' if path.startswith('-') else path)}{options}"
