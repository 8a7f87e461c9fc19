"""Ledger and sink together: opened, filled and finished in step, so that a crash anywhere leaves them in step.

Everything here blocks; a job calls it from one thread.
"""

from __future__ import annotations

import datetime as dt
import threading
from pathlib import Path

import attrs

from profile_history.errors import ConfigurationError
from profile_history.jobs.batch_builder import PendingCommit
from profile_history.jobs.commit import commit_units, finish_sink, publish
from profile_history.jobs.draft import Draft, no_ledger_error
from profile_history.jobs.ledger import Ledger
from profile_history.jobs.lock import JobLock
from profile_history.jobs.plan import Plan, address_of, other_plan_error
from profile_history.jobs.planner import compare_plans, digest_of, extend_job, retry_failed
from profile_history.jobs.records import Status
from profile_history.jobs.reject_files import write_lists
from profile_history.jobs.restart import delete_ledger, discard_job
from profile_history.jobs.sink_parameters import parameters_of, recall_parameters
from profile_history.jobs.sources import Source
from profile_history.jobs.whereabouts import check_fits, find_misplaced, is_same_place, ledger_file
from profile_history.sinks.base import Sink
from profile_history.sinks.lock import FileLock, lock_sink
from profile_history.sinks.urls import sink_of


@attrs.define(eq=False)
class JobSession:
    """The open ledger and sink of a job, and their locks.

    Attributes:
        path: The ledger's file.
        stop: Set to interrupt what takes long, and to say that the job is being left.
        warnings: Is told what a person should know, a sentence each.
    """

    path: Path = attrs.field(converter=ledger_file)
    stop: threading.Event
    warnings: list[str] = attrs.field(factory=list)
    _draft: Draft = attrs.field(init=False)
    _lock: JobLock = attrs.field(init=False)
    _ledger: Ledger | None = None
    _sink: Sink | None = None
    _sink_lock: FileLock | None = None
    _endpoint: str | None = None

    def __attrs_post_init__(self) -> None:
        self._draft = Draft(self.path, self.stop)
        self._lock = JobLock(self.path, self.stop)

    @property
    def ledger(self) -> Ledger:
        """Return the ledger, once it is open."""
        assert self._ledger is not None
        return self._ledger

    @property
    def sink(self) -> Sink:
        """Return the sink, once it is open."""
        assert self._sink is not None
        return self._sink

    def open(self, plan: Plan | None, source: Source | None, sink: Sink | None, restart: bool = False) -> None:  # noqa: FBT001, FBT002 (in_thread passes no names)
        """Open a job, or make it.

        Args:
            plan: What is asked for; `None` to go on with what the ledger says.
            source: The profiles, with a plan.
            sink: Where the rows go; `None` for the sink that the ledger names.
            restart: Whether to delete what an earlier job with this ledger has written, and to begin anew.

        Raises:
            ConfigurationError: There is no such job, it has another plan, or its sink holds something else.
            JobHeld: Another process works on it.
            LedgerError: The ledger cannot be used.
            SinkError: The sink cannot be used.
        """
        new = self._open_ledger(plan, source, sink, restart=restart)
        try:
            self._open_sink(self.sink, self.ledger, pointed=sink is not None)
        except ConfigurationError:
            if new:
                self._forget()
            raise

    def _open_ledger(
        self,
        plan: Plan | None,
        source: Source | None,
        sink: Sink | None,
        *,
        restart: bool = False,
    ) -> bool:
        """Open or make the ledger, and find the sink; return whether the job is new."""
        if plan is None and not self.path.exists():
            raise no_ledger_error(self.path)
        self._lock.acquire()
        new = restart or not self.path.exists()
        if new:
            assert plan is not None
            assert source is not None
            self._draft.make(plan, source)
            if sink is not None and self.path.exists():
                discard_job(self.path, sink, self.stop)
            self._draft.put_in_place()
        self._ledger = Ledger(self.path, stop=self.stop)
        if not new:
            # A run that was killed while it compared plans has left it.
            self._draft.delete()
        if plan is not None and source is not None and not new:
            self._agree_on_plan(plan, source)
        kept = self.ledger.plan
        if sink is None:
            self._ledger.whereabouts.check_pointed("resume")
        self._sink = sink_of(kept.sink) if sink is None else sink
        check_fits(kept.sink, self._sink.url)
        if not new:
            self.warnings += recall_parameters(self._ledger, self._sink, pointed=sink is not None)
        elif (parameters := parameters_of(self._sink)) is not None:
            self._ledger.save_plan(kept, parameters)
        return new

    def _agree_on_plan(self, plan: Plan, source: Source) -> None:
        """Return if the job goes on with what is asked for; a plan with which nothing was fetched gives way to it.

        Raises:
            ConfigurationError: The job has another plan.
        """
        if self.ledger.untouched:
            self._replace_plan(plan, source)
            return
        differing, notes = compare_plans(self.ledger, attrs.evolve(plan, profiles=digest_of(source, self.stop)))
        if differing:
            raise other_plan_error(differing)
        self.warnings += notes

    def _replace_plan(self, plan: Plan, source: Source) -> None:
        """Plan the job anew, and put that in the place of the old ledger if it differs; a source may be read only once.

        Args:
            plan: What is asked for.
            source: The profiles.
        """
        ledger = self.ledger
        kept, job, parameters = ledger.plan, ledger.job, ledger.sink_parameters
        self._draft.make(plan, source, job=job)
        with Ledger(self._draft.path, stop=self.stop) as draft:
            differing = kept.differences(draft.plan)
            draft.save_plan(draft.plan, parameters)
        if not is_same_place(kept.sink, plan.sink):
            differing.append(f"sink is {kept.sink} there and {plan.sink} here")
        if not differing:
            self._draft.delete()
            return
        ledger.close()
        self._draft.put_in_place()
        self._ledger = Ledger(self.path, stop=self.stop)
        self.warnings.append(
            f"the job in this ledger had another plan: {'; '.join(differing)}. Nothing has been fetched with the old "
            "plan: it is replaced"
        )

    def compare_server(self, endpoint: str) -> None:
        """Compare where requests go to with what the ledger says, and warn if earlier runs have asked another address.

        A host may have another name by now, so the job goes on. The ledger takes the address in with the first unit
        from there: one that brings nothing, such as a mistyped one, is not kept, unless nothing has been fetched
        before either.

        Args:
            endpoint: Where requests go to, as in the terms of a plan.
        """
        ledger = self.ledger
        kept, here = ledger.plan, address_of(endpoint)
        if endpoint in {kept.terms["url"], self._endpoint}:
            return
        if ledger.untouched:
            ledger.record_endpoint(endpoint)
            return
        self._endpoint = endpoint
        self.warnings.append(
            f"earlier runs of this job asked {kept.url}, and this one asks {here}: unless both lead to the same "
            f"platform, the output mixes two; pass {kept.url} to go on there"
        )

    def retry_failed(self) -> int:
        """Make failed units pending again, and return how many there were."""
        return retry_failed(self.ledger)

    def extend(self, date_to: dt.date, source: Source | None, refetch_from: dt.date | None = None) -> None:
        """Plan newer days; see `extend_job`.

        Args:
            date_to: The new last day, inclusive.
            source: All profiles; `None` for those of the ledger.
            refetch_from: The day from which on days are fetched again.
        """
        extend_job(self.ledger, date_to, source, self.stop, refetch_from=refetch_from)

    def commit(self, pending: PendingCommit) -> None:
        """Bring settled units into the sink, and then into the ledger; see `commit_units`.

        Args:
            pending: The units.

        Raises:
            LedgerError: The ledger cannot be written.
            SinkError: The sink cannot be written. The units stay pending.
        """
        if self._endpoint is not None and any(record.status != Status.FAILED for record in pending.records):
            self.ledger.record_endpoint(self._endpoint)
            self._endpoint = None
        commit_units(self.ledger, self.sink, pending)

    def finish(self) -> None:
        """Give the sink its final form if nothing is pending, and write the lists.

        Raises:
            LedgerError: The ledger cannot be written.
            SinkError: The sink cannot be written.
        """
        if not self.ledger.totals.pending:
            finish_sink(self.ledger, self.sink)
        self.write_lists()

    def write_lists(self) -> None:
        """Write the lists of rejects and of quarantined rows beside the ledger."""
        write_lists(self.ledger)

    def close(self) -> None:
        """Let go of everything; safe to call twice."""
        try:
            if self._sink is not None:
                self._sink.close()
        finally:
            if self._ledger is not None:
                self._ledger.close()
            if self._sink_lock is not None:
                self._sink_lock.release()
            self._lock.release()

    def _open_sink(self, sink: Sink, ledger: Ledger, *, pointed: bool) -> None:
        """Open the sink, and write down where it is if somebody has pointed at it.

        Args:
            sink: The sink.
            ledger: The ledger.
            pointed: Whether the sink was named, and not only taken from the ledger.
        """
        plan = ledger.plan
        elsewhere = pointed and (ledger.whereabouts.moved or not is_same_place(plan.sink, sink.url))
        self._sink_lock = lock = lock_sink(sink, self.path, self.stop)
        if elsewhere:
            self._check_content(sink, ledger)
        if ledger.publishing is not None:
            publish(ledger, sink)
        nothing_there = elsewhere and not sink.transactional and next(ledger.parts(), None) is None
        # A job that has stored nothing yet must not clear away what another has begun at its place since.
        passed_on = lock is not None and not ledger.last_batch and lock.belongs_to_another()
        last = sink.open(ledger, new=not ledger.begun or nothing_there or passed_on)
        if lock is not None:
            lock.claim()
        ledger.begin()
        if sink.transactional:
            ledger.recover(last)
        if elsewhere or (pointed and parameters_of(sink) != ledger.sink_parameters):
            ledger.save_plan(attrs.evolve(plan, sink=sink.url), parameters_of(sink))

    def _check_content(self, sink: Sink, ledger: Ledger) -> None:
        """Return if the files at a place that somebody has pointed at are those of the job; nothing is changed."""
        if ledger.publishing is None and (
            fault := next(find_misplaced(sink.url, ledger.parts(), ledger.check_stop), None)
        ):
            raise ConfigurationError(
                f"{sink.url} is not what the job of {self.path} has filled: {fault}; bring that back, or name it"
            )

    def _forget(self) -> None:
        self.ledger.close()
        delete_ledger(self.path)
