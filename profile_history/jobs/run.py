"""One run of a job: it is opened, fetched and finished, and all that blocks happens in one thread of its own."""

from __future__ import annotations

import contextlib
import datetime as dt
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import Any

import attrs

from profile_history._aio import in_thread
from profile_history._decoding.flat_decoder import FLAT
from profile_history._decoding.raw_decoder import RAW
from profile_history._scheduling.reader import Reader
from profile_history.client import HistoryClient
from profile_history.errors import HistoryError
from profile_history.jobs.advice import advice_on, without_sample
from profile_history.jobs.batch_builder import PendingCommit, UnitCollector
from profile_history.jobs.clock import JobClock
from profile_history.jobs.flusher import Flusher
from profile_history.jobs.ledger import Ledger
from profile_history.jobs.plan import Plan
from profile_history.jobs.planner import check_refetch, later_of
from profile_history.jobs.progress import Progress, progress_of
from profile_history.jobs.records import PendingUnit
from profile_history.jobs.session import JobSession
from profile_history.jobs.sources.counted import CountingSource
from profile_history.sinks.base import Sink
from profile_history.stats import Stats
from profile_history.windows import Order

# So many units are a millisecond of reading, and some hundred kilobytes.
_UNITS_A_PAGE = 2000


@attrs.frozen
class JobTask:
    """The task of every run of a job, by the arguments of `HistoryJob`.

    Attributes:
        client: What to fetch with.
        ledger: The ledger's file.
        plan: What is asked for; `None` to go on with what the ledger says.
        source: The profiles, with a plan.
        sink: Where the rows go; `None` for the sink that the ledger names.
        lookback: So many days before today may still grow; `None` for what the ledger says.
        commit_bytes: Bytes of responses after which they are committed.
        commit_seconds: Seconds after which whatever is there is committed.
        today: Says which day it is on this machine.
        now: Says the time on this machine, in seconds since 1970 in UTC.
    """

    client: HistoryClient
    ledger: Path
    plan: Plan | None
    source: CountingSource | None
    sink: Sink | None
    lookback: int | None
    commit_bytes: int
    commit_seconds: float
    today: Callable[[], dt.date]
    now: Callable[[], float]


@attrs.frozen
class RunOptions:
    """The additional task of one run of a job, by the arguments of `HistoryJob.run`.

    Attributes:
        until: A new last day of the job; `None` to keep the one it has.
        refetch_from: The day from which on all days are fetched again; `None` for those that are provisional.
        retry_failed: Whether to ask again for units that were given up.
        restart: Whether to delete what the job has written, and to begin anew.
    """

    until: dt.date | None
    refetch_from: dt.date | None
    retry_failed: bool
    restart: bool


class JobRun:
    """One run of a job.

    Args:
        task: What the job is to do.
        options: What this run is to do besides.
        stop: Set when the run is to end soon.
        last: How far the job had come before.
        stats: The numbers of the streams of earlier runs; those of this one are appended.
        warnings: Is told what a person should know, a sentence each.
    """

    def __init__(
        self,
        task: JobTask,
        options: RunOptions,
        stop: threading.Event,
        *,
        last: Progress,
        stats: list[Stats],
        warnings: list[str],
    ) -> None:
        self._task = task
        self._options = options
        self._last = last
        self._stats = stats
        self._warnings = warnings
        self._phase = "planning"
        self._session = JobSession(task.ledger, stop, warnings)
        self._is_open = False
        self._until: dt.date | None = None
        # The ledger is written, and the sink filled, by this thread alone: neither is made for several.
        self._writer = ThreadPoolExecutor(1, "profile-history-job")

    @property
    def progress(self) -> Progress:
        """Return how far the job has come; while it runs, as of now."""
        if self._is_open:
            ledger, pace = self._session.ledger, self._task.client.pacing_state
            return progress_of(self._phase, ledger.totals, self._stats, pace, ledger.settled_here, ledger.brought_here)
        if self._phase == "planning" and self._task.source is not None:
            return Progress("planning", lines=self._task.source.read)
        return self._last

    async def work(self) -> None:
        """Fetch all that is pending, and newer days if they were asked for, and finish.

        Whatever ends it, what was fetched by then is committed, and ledger and sink are closed.
        """
        try:
            await self._open()
            ledger = self._session.ledger
            clock = JobClock(self._task.today, self._task.now, ledger.lookback, self._warnings.append)
            try:
                await self._fetch_all(clock)
            except BaseException:
                # What ended the run is what is told, also where the lists cannot be written.
                with contextlib.suppress(HistoryError):
                    await self._in_writer(self._session.write_lists)
                raise
            self._phase = "finishing"
            await self._in_writer(self._session.finish)
            advice = await self._in_writer(advice_on, ledger, clock.moment())
            self._warnings += map(without_sample, advice) if self._task.client.redacts_profiles else advice
            self._phase = "complete"
        finally:
            self._last = self.progress
            self._is_open = False
            await self._in_writer(self._session.close)
            self._writer.shutdown(wait=False)

    async def _open(self) -> None:
        task, options, session = self._task, self._options, self._session
        plan, source = (None, None) if options.until else (task.plan, task.source)
        await self._in_writer(session.open, plan, source, task.sink, options.restart)
        kept = session.ledger.plan
        kept.check_same(attrs.evolve(kept, terms=task.client.fingerprint))
        if options.until is not None:
            self._until = later_of(kept, options.until, task.today())
            if options.refetch_from is not None:
                check_refetch(kept, options.refetch_from, self._until)
        if task.lookback is not None:
            await self._in_writer(session.ledger.record_lookback, task.lookback)
        self._is_open = True
        if options.retry_failed:
            await self._in_writer(session.retry_failed)

    async def _fetch_all(self, clock: JobClock) -> None:
        """Fetch what an earlier run has left first: newer days are planned only when nothing is pending."""
        session, options = self._session, self._options
        interrupted = session.ledger.totals.pending > 0
        await self._fetch(clock)
        if self._until is None or (interrupted and self._has_reached(self._until)):
            return
        await self._in_writer(session.extend, self._until, self._task.source, options.refetch_from)
        await self._fetch(clock)

    def _has_reached(self, until: dt.date) -> bool:
        """Return whether the run that was interrupted was to bring these days and profiles already."""
        ledger, again = self._session.ledger, self._options.refetch_from
        refetched = again is None or (ledger.refetch_from or dt.date.max) <= again
        return refetched and ledger.plan.date_to >= until and self._task.source is None

    async def _fetch(self, clock: JobClock) -> None:
        session, task = self._session, self._task
        if not session.ledger.totals.pending:
            return
        self._phase = "fetching"
        await self._in_writer(session.compare_server, task.client.fingerprint["url"])
        order = Order(task.client.fingerprint["order"])
        collector = UnitCollector(session.ledger.next_number, clock, order, session.sink.row_format)

        async def commit(pending: PendingCommit) -> None:
            await self._in_writer(session.commit, pending)

        flusher = Flusher(collector, commit, task.commit_bytes, task.commit_seconds)
        # A second connection reads what is pending while the first one writes what is settled; in WAL mode neither
        # waits for the other.
        with Ledger(task.ledger) as ledger:
            probe = await self._in_writer(session.ledger.probe)
            reader = _with_row_format(session.sink, task.client.read_units(_pending_units(ledger), probe))
            self._stats.append(reader.pool.stats)
            flusher.start()
            try:
                async with aclosing(reader.unit_results(collector.split_window)) as results:
                    async for parts, size in results:
                        await flusher.add(parts, size)
            finally:
                await flusher.end()

    async def _in_writer(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return await in_thread(work, *arguments, executor=self._writer)


def _with_row_format(sink: Sink, reader: Reader[Any]) -> Reader[Any]:
    if sink.row_format == "raw":
        return reader.with_decoder(RAW)
    from profile_history import arrow  # noqa: PLC0415 (it needs an extra)

    return reader.with_decoder(FLAT, arrow.decode_columns)


async def _pending_units(ledger: Ledger) -> AsyncGenerator[PendingUnit, None]:
    last = 0
    while page := await in_thread(ledger.pending, last, _UNITS_A_PAGE):
        for unit in page:
            yield unit
        last = page[-1].number
