"""The status of a job, by its ledger alone: nothing is locked, and a process that works on it is not disturbed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import attrs

from profile_history.jobs.advice import explain_emptiness
from profile_history.jobs.draft import no_ledger_error
from profile_history.jobs.ledger_reader import LedgerReader, open_read_only
from profile_history.jobs.lock import holder_of
from profile_history.jobs.plan import Plan
from profile_history.jobs.records import Totals
from profile_history.jobs.schema import draft_of
from profile_history.jobs.whereabouts import Whereabouts, ledger_file
from profile_history.sinks.base import Receipt
from profile_history.sinks.lock import Holder
from profile_history.sinks.urls import directory_of, has_columns, is_single_file
from profile_history.windows import Window


@attrs.frozen
class Failure:
    """A unit that was given up.

    Attributes:
        profile: Whose, as `str(profile)` writes it.
        window: Which days.
        reason: Why.
    """

    profile: str
    window: Window
    reason: str


@attrs.frozen
class JobStatus:
    """The status of a job.

    Attributes:
        plan: What it is to do; `None` while the profiles are still being read for the first time.
        totals: Its units and rows.
        failures: The first failed units.
        holder: The process that works on it now; `None` if nobody does.
        publishing: Whether the final files still have to be put in place.
        whereabouts: Where it was begun, and where it is found; `None` while there is no plan.
        emptiness: That not one profile has an event, and what may be the reason; `None` if that cannot be said.
        untouched: Whether nothing has been fetched yet.
        output: Where the rows are now, which for a single file has another name until nothing is left to fetch; None
            while there is no file.
        has_older_columns: Whether its files go on with the columns of an earlier version.
        earlier_urls: Addresses that earlier runs have asked, and the last one has not, in the order of last use.
    """

    plan: Plan | None
    totals: Totals
    failures: list[Failure]
    holder: Holder | None
    publishing: bool
    whereabouts: Whereabouts | None = None
    emptiness: str | None = None
    untouched: bool = False
    output: str | None = None
    has_older_columns: bool = False
    earlier_urls: Sequence[str] = ()


def status_of(ledger: Path | str, *, failures: int = 10) -> JobStatus:
    """Return how a job stands. However large it is, this takes no longer.

    >>> from profile_history.jobs import HistoryJob
    >>> job = HistoryJob(client, profiles, "history.ndjson", ledger="history.ledger",
    ...                  date_from="2024-01-01", date_to="2024-12-31")
    >>> async for _ in job.run():
    ...     pass
    >>> status = status_of("history.ledger")
    >>> status.totals.profiles, status.totals.pending, status.failures
    (3, 0, [])

    Args:
        ledger: The file in which the job keeps its books.
        failures: How many failed units to list.

    Raises:
        ConfigurationError: There is no such file.
        LedgerError: It is no ledger, or cannot be read.
    """
    path = ledger_file(ledger)
    if not path.exists():
        if draft_of(path).exists():
            return JobStatus(None, Totals(), [], holder_of(path), publishing=False)
        raise no_ledger_error(path)
    with open_read_only(path) as opened:
        listed = [Failure(*failure) for failure in islice(opened.failures(), failures)]
        plan = opened.plan
        return JobStatus(
            plan,
            opened.totals,
            listed,
            holder_of(path),
            opened.publishing is not None,
            opened.whereabouts,
            explain_emptiness(opened),
            opened.untouched,
            _output(opened),
            opened.has_files_of_1 and has_columns(plan.sink),
            opened.earlier_urls,
        )


def _output(ledger: LedgerReader) -> str | None:
    sink = ledger.plan.sink
    directory = directory_of(sink)
    if directory is None or not is_single_file(sink):
        return sink
    names = [*ledger.file_names(), *(part.name for part in (ledger.publishing or Receipt()).added)]
    files = [directory / name for name in dict.fromkeys(names)]
    # A run that ended while it put the final file in place has left one of the two names.
    return " and ".join(str(file) for file in files if file.exists()) or None
