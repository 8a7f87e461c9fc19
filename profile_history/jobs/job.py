"""A durable job: the histories of many profiles into a sink."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import threading
import time
import weakref
from collections.abc import AsyncGenerator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import attrs

from profile_history._aio import in_thread, require_loop, wait_through_cancel
from profile_history._checks import check_flag, check_number, check_whole_number, describe
from profile_history._decoding.flat_decoder import FLAT
from profile_history._decoding.raw_decoder import RAW
from profile_history._scheduling.reader import Reader
from profile_history.client import Day, HistoryClient
from profile_history.errors import ConfigurationError, HistoryError
from profile_history.jobs.advice import advice_on
from profile_history.jobs.batch_builder import PendingCommit, UnitCollector
from profile_history.jobs.clock import LONGEST_LOOKBACK, JobClock
from profile_history.jobs.flusher import Flusher
from profile_history.jobs.ledger import Ledger
from profile_history.jobs.plan import Plan
from profile_history.jobs.planner import check_refetch, later_of
from profile_history.jobs.progress import Progress, progress_of
from profile_history.jobs.records import PendingUnit
from profile_history.jobs.session import JobSession
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
from profile_history.windows import Order, parse_day, parse_window

_UNITS_A_PAGE = 2000
_PROGRESS_INTERVAL = 0.5


class HistoryJob:
    """Fetches the histories of many profiles into a sink, and goes on where it stood after whatever ended it.

        job = HistoryJob(client, profiles, "history.duckdb", ledger="history.ledger",
                         date_from="2024-01-01", date_to="2024-12-31")
        async for progress in job.run():
            print(progress.done, progress.pending)

    Each unit, one profile and one closed window of days, gets into sink and ledger together or not at all. To go on
    with a job make it again, with the same arguments or with none but the client and the ledger.

    Args:
        client: What to fetch with; its `window`, `border`, `order` and `list_id` are part of the plan. It is not
            closed.
        profiles: A source, or profiles; None to go on with those in the ledger. They are read when the job is new, and
            compared when it goes on.
        sink: A sink, or a path or URL as the command line takes it; None for the one that the ledger names, if the job
            is where it was begun. One that is named may be another place than before: the job goes on there if it holds
            what the ledger says.
        ledger: The file in which the job keeps its books.
        date_from: The first day, a `datetime.date` or "YYYY-MM-DD".
        date_to: The last day, inclusive, likewise.
        lookback: So many days before today are provisional, and today is: they may still grow, and `run(until=...)`
            fetches them again. What today is, is said by the server's clock and by `today`, whichever is earlier; by
            the server's at least one day more is provisional. None for what the ledger says; 2 for a new job.
        commit_bytes: Bytes of answers after which they are committed.
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
        self._phase = "planning"
        self._stats: list[Stats] = []
        self._session: JobSession | None = None
        self._last = Progress("planning")
        self.warnings: list[str] = []

    @property
    def progress(self) -> Progress:
        """How far the job has come; while it runs, as of now."""
        if self._session is not None and self._session._ledger is not None:
            ledger = self._session.ledger
            self._last = progress_of(
                self._phase,
                ledger.totals,
                self._stats,
                self._client.pacing_state,
                ledger.settled_here,
                ledger.brought_here,
            )
        elif self._phase == "planning" and self._source is not None:
            self._last = Progress("planning", lines=self._source.read)
        return self._last

    def run(
        self,
        *,
        retry_failed: bool = False,
        until: Day | None = None,
        refetch_from: Day | None = None,
        restart: bool = False,
    ) -> AsyncGenerator[Progress, None]:
        """Works until nothing is pending, and says twice a second how far it has come.

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
        """Reads the sink back, and says in one sentence each what differs from the ledger.

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
        work = require_loop().create_task(self._work(stop, day, again, retry_failed=retry_failed, restart=restart))
        try:
            while not work.done():
                await asyncio.wait((work,), timeout=_PROGRESS_INTERVAL)
                if not work.done():
                    yield self.progress
            work.result()
            yield self.progress
        finally:
            stop.set()
            await _cancel_and_wait(work)

    async def _work(
        self,
        stop: threading.Event,
        until: dt.date | None,
        refetch_from: dt.date | None,
        *,
        retry_failed: bool,
        restart: bool,
    ) -> None:
        writer = ThreadPoolExecutor(1, "profile-history-job")

        async def in_writer(work: Callable[..., Any], *arguments: Any) -> Any:
            return await in_thread(work, *arguments, executor=writer)

        self.warnings.clear()
        session = JobSession(self._ledger, stop, self.warnings)
        self._phase = "planning"
        try:
            plan, source = (None, None) if until else (self._plan, self._source)
            await in_writer(session.open, plan, source, self._sink, restart)
            self._check_terms(session)
            if until is not None:
                until = later_of(session.ledger.plan, until, self._today())
                if refetch_from is not None:
                    check_refetch(session.ledger.plan, refetch_from, until)
            if self._lookback is not None:
                await in_writer(session.ledger.record_lookback, self._lookback)
            self._session = session
            if retry_failed:
                await in_writer(session.retry_failed)
            interrupted = session.ledger.totals.pending > 0
            clock = JobClock(self._today, self._now, session.ledger.lookback, self.warnings.append)
            try:
                await self._fetch(session, in_writer, clock)
                if until is not None and not (interrupted and self._reaches(session, until, refetch_from)):
                    await in_writer(session.extend, until, self._source, refetch_from)
                    await self._fetch(session, in_writer, clock)
            except BaseException:
                # What ended the run is what is told, also where the lists cannot be written.
                with contextlib.suppress(HistoryError):
                    await in_writer(session.write_lists)
                raise
            self._phase = "finishing"
            await in_writer(session.finish)
            self.warnings += await in_writer(advice_on, session.ledger, clock.moment())
            self._phase = "complete"
        finally:
            _ = self.progress
            self._session = None
            await in_writer(session.close)
            writer.shutdown(wait=False)

    async def _fetch(self, session: JobSession, in_writer: Callable[..., Any], clock: JobClock) -> None:
        if not session.ledger.totals.pending:
            return
        self._phase = "fetching"
        order = Order(self._client.fingerprint["order"])
        collector = UnitCollector(session.ledger.next_number, clock, order, session.sink.row_format)

        async def commit(pending: PendingCommit) -> None:
            await in_writer(session.commit, pending)

        flusher = Flusher(collector, commit, self._commit_bytes, self._commit_seconds)
        with Ledger(self._ledger) as ledger:
            probe = await in_writer(session.ledger.probe)
            reader = self._reader(session.sink, self._client.read_units(_units(ledger), probe))
            self._stats.append(reader.pool.stats)
            flusher.start()
            try:
                async with aclosing(reader.unit_results(collector.cut)) as contents:
                    async for parts, size in contents:
                        await flusher.add(parts, size)
            finally:
                await flusher.end()

    def _reader(self, sink: Sink, reader: Reader[Any]) -> Reader[Any]:
        if sink.row_format == "raw":
            return reader.with_decoder(RAW)
        from profile_history import arrow  # noqa: PLC0415 (it needs an extra)

        return reader.with_decoder(FLAT, arrow.decode_columns)

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

    def _reaches(self, session: JobSession, until: dt.date, refetch_from: dt.date | None) -> bool:
        """Whether the run that was interrupted was to bring these days and profiles already."""
        ledger = session.ledger
        again = refetch_from is None or (ledger.refetch_from or dt.date.max) <= refetch_from
        return again and ledger.plan.date_to >= until and self._source is None

    def _check_terms(self, session: JobSession) -> None:
        plan = session.ledger.plan
        plan.check_same(attrs.evolve(plan, terms=self._client.fingerprint))


async def _units(ledger: Ledger) -> AsyncGenerator[PendingUnit, None]:
    last = 0
    while page := await in_thread(ledger.pending, last, _UNITS_A_PAGE):
        for unit in page:
            yield unit
        last = page[-1].number


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
    """Cancels, and waits until the last commit is through, however often the waiting itself is cancelled."""
    work.cancel()
    cancelled = await wait_through_cancel(work)
    if not work.cancelled():
        # Raised before, or overtaken by what ends the run.
        work.exception()
    if cancelled:
        raise asyncio.CancelledError
