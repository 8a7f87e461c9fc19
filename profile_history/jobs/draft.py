"""The draft of a ledger: it gets the name of a ledger only when all of its units are planned."""

from __future__ import annotations

import threading
from pathlib import Path

from profile_history.errors import ConfigurationError
from profile_history.jobs.plan import Plan
from profile_history.jobs.planner import plan_job
from profile_history.jobs.restart import delete_ledger, delete_log
from profile_history.jobs.schema import draft_of
from profile_history.jobs.sources import Source
from profile_history.sinks.disk import DISK


class Draft:
    """A ledger that is being planned, under another name, so that one that is there knows all of its units.

    Attributes:
        path: Its file.

    Args:
        ledger: The ledger whose place it is to take.
        stop: Set to interrupt the planning.
    """

    def __init__(self, ledger: Path, stop: threading.Event) -> None:
        self.path: Path = draft_of(ledger)
        self._ledger = ledger
        self._stop = stop

    def make(self, plan: Plan, source: Source, *, job: str | None = None) -> None:
        """Plan all units.

        Args:
            plan: The plan.
            source: The profiles.
            job: The id of the job whose place this one takes; `None` for one of its own.

        Raises:
            ConfigurationError: There is not one profile. The draft is deleted.
            PlanningStopped: The planning was interrupted.
        """
        self.delete()
        try:
            plan_job(self.path, plan, source, self._stop, job=job)
        except ConfigurationError:
            self.delete()
            raise

    def put_in_place(self) -> None:
        """Give the draft the name of the ledger, for good when this returns."""
        # The log of another ledger must not be taken for that of this one.
        delete_log(self._ledger)
        DISK.replace(self.path, self._ledger)
        DISK.sync_directory(self._ledger.parent)

    def delete(self) -> None:
        """Delete the draft, if there is one."""
        delete_ledger(self.path)


def no_ledger_error(ledger: Path) -> ConfigurationError:
    """Return the error for a ledger that is not there.

    Args:
        ledger: Its file.
    """
    return ConfigurationError(
        f"the job of {ledger} was stopped before it knew its profiles; run the same `export` again"
        if draft_of(ledger).exists()
        else f"there is no ledger {ledger}; name the ledger of a job, or begin one with `export`"
    )
