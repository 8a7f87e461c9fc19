"""Compare what a sink holds with what the ledger of its job says, without writing anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs

from profile_history.errors import ConfigurationError
from profile_history.jobs.draft import no_ledger_error
from profile_history.jobs.ledger_reader import LedgerReader, open_read_only
from profile_history.jobs.lock import JobLock
from profile_history.jobs.records import Status, Totals
from profile_history.jobs.schema import LedgerError
from profile_history.jobs.sink_parameters import recall_parameters
from profile_history.jobs.whereabouts import check_fits, ledger_file
from profile_history.sinks.base import Sink, SinkError, open_to_read
from profile_history.sinks.old_names import with_current_names
from profile_history.sinks.postgres_address import hide_secrets
from profile_history.sinks.urls import sink_of

# Profiles and rejects that a run has read which was interrupted stand in the tables until the next run counts them.
_KEPT_WITH_UNITS = ("pending", "done", "empty", "failed", "provisional", "rows", "quarantined")


@attrs.frozen
class Verification:
    """The result of reading a sink back.

    Attributes:
        differences: What differs from the ledger, in one sentence each.
        totals: The units and rows of the job, by the tables of its ledger.
        failed_profiles: How many profiles have a unit that was given up.
        pending_profiles: How many have one that is still to be fetched.
        counted_only: How many units could only be counted, as their checksum is not known.
        warnings: What a person should know besides, in one sentence each.
    """

    differences: list[str]
    totals: Totals
    failed_profiles: int
    pending_profiles: int
    counted_only: int
    warnings: list[str]

    @property
    def is_whole(self) -> bool:
        """Return whether all that the job is to bring is there, as it was stored."""
        return not (self.differences or self.totals.failed or self.totals.pending)


def verify(ledger: Path | str, sink: Sink | str | None = None) -> list[str]:
    """Read a sink back, and return what differs from the ledger, in one sentence each.

    >>> from profile_history.jobs import HistoryJob
    >>> job = HistoryJob(client, profiles, "history.csv", ledger="history.ledger",
    ...                  date_from="2024-01-01", date_to="2024-12-31")
    >>> async for _ in job.run():
    ...     pass
    >>> with open("history.csv", "a") as file:
    ...     _ = file.write("a line of somebody else")
    >>> verify("history.ledger")
    ['...history.csv...']

    What has yet to be fetched, and what failed, is no difference: `verification_of` tells of it.

    Args:
        ledger: As for `verification_of`.
        sink: Likewise.

    Raises:
        HistoryError: One of the errors of `verification_of`.
    """
    sink = hide_secrets(sink) if isinstance(sink, str) else sink
    return verification_of(ledger, sink).differences


def verification_of(ledger: Path | str, sink: Sink | str | None = None) -> Verification:
    """Read a sink back, and return what that has shown.

    It blocks, and needs no server. Nothing is written, and nothing is cleared away.

    >>> from profile_history.jobs import HistoryJob
    >>> job = HistoryJob(client, profiles, "history.ndjson", ledger="history.ledger",
    ...                  date_from="2024-01-01", date_to="2024-12-31")
    >>> async for _ in job.run():
    ...     pass
    >>> found = verification_of("history.ledger")
    >>> found.is_whole, found.differences
    (True, [])

    Args:
        ledger: The file in which the job keeps its books.
        sink: The sink, or the text that names it; `None` for the one that the ledger names.

    Raises:
        ConfigurationError: There is no such job, or it fills another sink.
        JobHeld: Another process works on the job.
        LedgerError: The ledger cannot be used.
        SinkError: The database that is the sink cannot be used; what is wrong with files is said in a sentence.
    """
    path = ledger_file(ledger)
    sink = hide_secrets(sink) if isinstance(sink, str) else sink
    if not path.exists():
        raise no_ledger_error(path)
    with JobLock(path).shared(), open_read_only(path) as books:
        kept = books.plan.sink
        there = sink_of(sink or kept) if sink is None or isinstance(sink, str) else with_current_names(sink)
        check_fits(kept, there.url)
        warnings = recall_parameters(books, there, pointed=sink is not None)
        totals = books.count()
        return Verification(
            [*_compare_totals(books, totals), *(_compare_sink(there, books) if books.begun else ())],
            totals,
            books.profiles_with(Status.FAILED),
            books.profiles_with(Status.PENDING),
            books.counted_only(),
            warnings,
        )


def _compare_totals(books: LedgerReader, counted: Totals) -> Iterator[str]:
    """Yield what the ledger's totals say otherwise than its tables."""
    if not books.has_totals:
        yield f"the ledger {books.path} has lost its totals; restore it from a backup"
        return
    for name in _KEPT_WITH_UNITS:
        said, known = getattr(books.totals, name), getattr(counted, name)
        if said != known:
            yield f"the totals of the ledger say {said} {name}, and its tables have {known}"


def _compare_sink(sink: Sink, books: LedgerReader) -> list[str]:
    if books.publishing is not None:
        return ["the last run ended before the final files were in place; `resume` puts them there"]
    try:
        last = open_to_read(sink, books)
        if sink.transactional:
            if books.lags_behind(last):
                return ["the last run ended between the sink and the ledger; `resume` brings them in step"]
            books.check_in_step(last)
        return list(sink.verify())
    except LedgerError as error:
        return [str(error)]
    except (ConfigurationError, SinkError) as error:
        if sink.transactional and isinstance(error, SinkError):
            # A database that cannot be reached says nothing of what it holds.
            raise
        return [str(error)]
    finally:
        sink.close()
