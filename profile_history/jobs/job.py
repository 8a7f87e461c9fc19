"""A durable job: the histories of many profiles into a sink."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
import time
import weakref
from collections.abc import AsyncGenerator, Callable, Iterable
from pathlib import Path
from typing import Any, cast

from profile_history._aio import in_thread, require_loop, wait_through_cancel
from profile_history._checks import check_flag, check_number, check_whole_number, describe
from profile_history.client import HistoryClient
from profile_history.errors import ConfigurationError
from profile_history.jobs.clock import LONGEST_LOOKBACK
from profile_history.jobs.plan import Plan
from profile_history.jobs.progress import Progress
from profile_history.jobs.run import JobRun, JobTask, RunOptions
from profile_history.jobs.sources import MemorySource, Source
from profile_history.jobs.sources.counted import CountingSource
from profile_history.jobs.verification import verify
from profile_history.jobs.whereabouts import ledger_file
from profile_history.profiles import Profile
from profile_history.sinks.base import Sink
from profile_history.sinks.old_names import with_current_names
from profile_history.sinks.postgres_address import hide_secrets
from profile_history.sinks.urls import sink_of
from profile_history.stats import Stats
from profile_history.windows import Day, parse_day, parse_window

_UNITS_A_PAGE = 2000
_PROGRESS_INTERVAL = 0.5


class HistoryJob:
    """A job that brings the histories of many profiles into a sink, and goes on after whatever ended it.

    >>> job = HistoryJob(client, profiles, "history.ndjson", ledger="history.ledger",
    ...                  date_from="2024-01-01", date_to="2024-12-31")
    >>> async for progress in job.run():
    ...     pass
    >>> progress.phase, progress.profiles, progress.pending
    ('complete', 3, 0)

    Each unit, one profile and one closed window of days, gets into sink and ledger together or not at all. To go on
    with a job make it again, with the same arguments or with none but the client and the ledger.

    Args:
        client: What to fetch with; its `window`, `border`, `order` and `list_id` are part of the plan. It is not
            closed.
        profiles: A source, or profiles; `None` to go on with those in the ledger. They are read when the job is new,
            and compared when it goes on.
        sink: A sink, or a path or URL as the command line takes it; `None` for the one that the ledger names, if the
            job is where it was begun. One that is named may be another place than before: the job goes on there if it
            holds what the ledger says.
        ledger: The file in which the job keeps its books.
        date_from: The first day, a `datetime.date` or "YYYY-MM-DD".
        date_to: The last day, inclusive, likewise.
        lookback: So many days before today are provisional, and today is: they may still grow, and `run(until=...)`
            fetches them again. What today is, is said by the server's clock and by `today`, whichever is earlier; by
            the server's at least one day more is provisional. `None` for what the ledger says; 2 for a new job.
        commit_bytes: Bytes of responses after which they are committed.
        commit_seconds: Seconds after which whatever is there is committed.
        today: Says which day it is on this machine.

    Attributes:
        warnings: What a person should know of the last run, a sentence each, such as that a clock is wrong.

    Raises:
        ConfigurationError: An argument is wrong. Nothing was sent or written.
    """

    def __init__(
        self,
        client: HistoryClient,
        profiles: Source | Iterable[Profile] | None = None,
        sink: Sink | Path | str | None = None,
        *,
        ledger: Path | str,
        date_from: Day | None = None,
        date_to: Day | None = None,
        lookback: int | None = None,
        commit_bytes: int = 32 * 1024 * 1024,
        commit_seconds: float = 5.0,
        today: Callable[[], dt.date] = dt.date.today,
    ) -> None:
        if not isinstance(client, HistoryClient):
            raise ConfigurationError(f"client is a HistoryClient, not {describe(client)}")
        check_whole_number("lookback", lookback, "days", least=0, most=LONGEST_LOOKBACK, optional=True)
        check_whole_number("commit_bytes", commit_bytes, "bytes")
        check_number("commit_seconds", commit_seconds, "seconds")
        self._client = client
        if not isinstance(ledger, (str, Path)):
            raise ConfigurationError(f"ledger is the path of a file, not {describe(ledger)}")
        sink = hide_secrets(str(sink)) if isinstance(sink, (str, Path)) else sink
        self._sink = sink_of(sink) if isinstance(sink, str) else None if sink is None else with_current_names(sink)
        self._ledger = ledger_file(ledger)
        source = _source(profiles)
        self._source = None if source is None else CountingSource(source)
        self._plan = self._make_plan(date_from, date_to)
        self._lookback = lookback
        self._commit_bytes = commit_bytes
        self._commit_seconds = commit_seconds
        self._today = today
        self._now = time.time
        self._stats: list[Stats] = []
        self._latest: JobRun | None = None
        self.warnings: list[str] = []

    @property
    def progress(self) -> Progress:
        """Return how far the job has come; while it runs, as of now."""
        if self._latest is not None:
            return self._latest.progress
        return Progress("planning", lines=0 if self._source is None else self._source.read)

    def run(
        self,
        *,
        retry_failed: bool = False,
        until: Day | None = None,
        refetch_from: Day | None = None,
        restart: bool = False,
    ) -> AsyncGenerator[Progress, None]:
        """Work until nothing is pending, and yield twice per second how far that has come.

        Stopping early, by `break`, cancellation or an error, commits what was fetched by then. After a `break` the next
        run of the job in this process waits until that is through; with `contextlib.aclosing` the caller does.

        Args:
            retry_failed: Whether to ask again for units that were given up.
            until: A new last day for a job that is there: the days since its last one are fetched, and what was
                provisional or failed is fetched again and replaced. New profiles of the source are taken in. A job
                whose last day lies in the future keeps that.
            refetch_from: With `until`: a day of the job; units that reach it or a later day are fetched again as well
                and replaced as a whole, final ones too. The old rows stay until the new response is there.
            restart: Whether to delete what a job with this ledger has written into the same sink, and to begin anew.
                Only what the ledger knows, or what carries the job's id, is deleted.

        Yields:
            How far the job has come; the last one is of phase "complete".

        Raises:
            AuthenticationError: The token is not accepted. The job can be run again; so it can after all others.
            ConfigurationError: The job has another plan, or its sink holds something else.
            JobHeld: Another process works on the job.
            LedgerError: The ledger cannot be used.
            ServerUnavailable: The server was down for too long.
            SinkError: The sink cannot be used.
        """
        check_flag("retry_failed", retry_failed)
        check_flag("restart", restart)
        if restart and (self._plan is None or until is not None):
            raise ConfigurationError("restart goes with profiles, sink, date_from and date_to, and without until")
        stop = threading.Event()
        progress = self._run(stop, until, refetch_from, retry_failed=retry_failed, restart=restart)
        # A `break` drops the generator at once, and the event loop closes it later: whoever starts the job again
        # meanwhile has to see that this run is leaving.
        weakref.finalize(progress, stop.set).atexit = False
        return progress

    async def verify(self) -> list[str]:
        """Read the sink back, and return what differs from the ledger, in one sentence each.

        >>> job = HistoryJob(client, profiles, "all.csv", ledger="all.ledger", date_from="2024-01-01",
        ...                  date_to="2024-12-31")
        >>> async for progress in job.run():
        ...     pass
        >>> await job.verify()
        []

        Raises:
            ConfigurationError: There is no such job.
            JobHeld: Another process works on the job.
            LedgerError: The ledger cannot be used.
            SinkError: The sink cannot be used.
        """
        return await in_thread(verify, self._ledger, self._sink)

    async def _run(
        self, stop: threading.Event, until: Day | None, refetch_from: Day | None, *, retry_failed: bool, restart: bool
    ) -> AsyncGenerator[Progress, None]:
        again, day = _check_days(refetch_from, until)
        options = RunOptions(day, again, retry_failed, restart)
        self.warnings.clear()
        task = JobTask(
            self._client,
            self._ledger,
            self._plan,
            self._source,
            self._sink,
            self._lookback,
            self._commit_bytes,
            self._commit_seconds,
            self._today,
            self._now,
        )
        run = JobRun(task, options, stop, last=self.progress, stats=self._stats, warnings=self.warnings)
        self._latest = run
        work = require_loop().create_task(run.work())
        try:
            while not work.done():
                await asyncio.wait((work,), timeout=_PROGRESS_INTERVAL)
                if not work.done():
                    yield run.progress
            work.result()
            yield run.progress
        finally:
            stop.set()
            await _cancel_and_wait(work)

    def _make_plan(self, date_from: Day | None, date_to: Day | None) -> Plan | None:
        if self._source is None:
            if date_from is not None or date_to is not None:
                raise ConfigurationError("date_from and date_to go with profiles; without, the ledger says which days")
            return None
        asked = parse_window(date_from, date_to)
        if asked.date_from is None or asked.date_to is None:
            raise ConfigurationError("a job has a first and a last day; pass date_from and date_to")
        if self._sink is None:
            raise ConfigurationError('the sink is missing; pass one, such as "history.duckdb"')
        return Plan(self._source.url, "", asked.date_from, asked.date_to, self._client.fingerprint, self._sink.url)


def _check_days(refetch_from: Day | None, until: Day | None) -> tuple[dt.date | None, dt.date | None]:
    """Return the two days that a run was given, checked."""
    if until is None and refetch_from is not None:
        raise ConfigurationError("refetch_from goes with until, the last day from now on; pass both")
    first, last = parse_day("refetch_from", refetch_from), parse_day("until", until)
    if first and last and last < first:
        raise ConfigurationError(f"refetch_from {first} lies after until {last}; name an earlier day")
    return first, last


def _source(profiles: Any) -> Source | None:
    if profiles is None or hasattr(profiles, "lines"):
        return cast("Source | None", profiles)
    if isinstance(profiles, (str, bytes, Profile)) or not isinstance(profiles, Iterable):
        raise ConfigurationError(
            f"profiles is a source or an iterable of Profile values, not {type(profiles).__name__}"
        )
    return MemorySource(profiles)


async def _cancel_and_wait(work: asyncio.Task[None]) -> None:
    """Cancel a run, and wait until its last commit is through, however often the waiting itself is cancelled."""
    work.cancel()
    cancelled = await wait_through_cancel(work)
    if not work.cancelled():
        # Raised before, or overtaken by what ends the run.
        work.exception()
    if cancelled:
        raise asyncio.CancelledError
