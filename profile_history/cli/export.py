"""The command `export`: a durable job from profiles into a sink."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import attrs
from cyclopts import Parameter

from profile_history.cli.client_options import ConnectionOptions, RequestOptions, make_client
from profile_history.cli.job_options import ReportOptions, RestartOptions, SourceOptions, UpdateOptions
from profile_history.cli.job_paths import make_ledger_directory, place_ledger
from profile_history.cli.progress import ServerHealth
from profile_history.cli.restart import confirm_restart
from profile_history.cli.signals import stopper
from profile_history.errors import ConfigurationError

if TYPE_CHECKING:
    from profile_history.client import HistoryClient
    from profile_history.jobs import HistoryJob
    from profile_history.jobs.plan import Plan
    from profile_history.jobs.sources import Source
    from profile_history.sinks.base import Sink
    from profile_history.windows import Day


def export(
    profiles: Annotated[str | None, Parameter(name="PROFILES")] = None,
    /,
    *,
    into: str,
    from_: Annotated[str | None, Parameter(name="--from")] = None,
    to: str | None = None,
    source: SourceOptions = SourceOptions(),
    ledger: Path | None = None,
    update: UpdateOptions = UpdateOptions(),
    run: ReportOptions = ReportOptions(),
    restart: RestartOptions = RestartOptions(),
    connection: ConnectionOptions = ConnectionOptions(),
    request: RequestOptions = RequestOptions(),
) -> int:
    """Export the histories of many profiles into a file or database, as a job that can be killed and resumed.

    A ledger beside the output says what is done. Run the same command again, or `profile-history resume`, and it goes
    on where it stood; nothing is lost and nothing doubled. Progress, summary and errors go to stderr.

    Args:
        profiles: Who: the path of a text, CSV, NDJSON or Parquet file (text and its kin may be packed with gzip or
            zstd), a single - for stdin, or postgresql://HOST/DATABASE or FILE.duckdb with --query.
        into: Where to: FILE.ndjson, .jsonl or .csv (perhaps with .gz or .zst behind), FILE.duckdb, DIRECTORY.parquet or
            DIRECTORY/ for Parquet, or postgresql://HOST/DATABASE?table=NAME.
        from_: The first day, YYYY-MM-DD.
        to: The last day, inclusive; with --since-last it is today unless you say otherwise.
        source: How PROFILES is read.
        ledger: The ledger of the job, if not beside the output.
        update: Whether and how a job is brought up to a later day.
        run: What a run has to bring, and how it reports.
        restart: Whether a job is begun anew.
        connection: How the server is reached.
        request: What is asked of the server.
    """
    from profile_history.cli.job_report import JobReport
    from profile_history.cli.run_job import run_job
    from profile_history.sinks.urls import sink_of

    with stopper, JobReport(run.json) as report:
        sink = sink_of(into)
        report.sink = sink.url
        report.ledger = ledger if ledger is not None else place_ledger(into)
        report.again, report.redacts = connection.to_words(), connection.redact_profiles
        report.min_events = run.min_events
        health = ServerHealth(connection.patience)
        who = source.make_source(profiles)
        restart.check()
        asked = _JobRequest(profiles, from_, to, update, restart)
        start = _start(asked, report.ledger, connection, request, health, has_source=who is not None)
        job = start.make_job(who, sink, report.ledger, update.lookback)
        if restart.restart:
            confirm_restart(report.ledger, sink.url, yes=restart.yes)
        if ledger is None:
            make_ledger_directory(report.ledger, into)
        how = {"until": start.until, "refetch_from": update.refetch_from, "restart": restart.restart}
        return run_job(job, start.client, report, health, **how)


@attrs.frozen
class _JobRequest:
    """The part of a command line that decides whether a job is begun."""

    profiles: str | None
    date_from: str | None
    date_to: str | None
    update: UpdateOptions
    restart: RestartOptions

    def begins_job(self, ledger: Path) -> bool:
        """Tell whether a job is begun, or takes the place of one: then all has to be said that a plan needs.

        Raises:
            ConfigurationError: Something is missing.
        """
        since_last, refetch_from = self.update.since_last, self.update.refetch_from
        if refetch_from is not None and not since_last:
            raise ConfigurationError("--refetch-from goes with --since-last; pass both")
        if since_last and not self.restart.restart and ledger.exists() and not self._may_replace(ledger):
            return False
        where = f"; --since-last goes on with a job, and there is none at {ledger} yet" if since_last else ""
        if refetch_from is not None:
            raise ConfigurationError(f"--refetch-from goes with a job that is there{where}; leave it out")
        if self.profiles is None:
            raise ConfigurationError(f"PROFILES is missing: a file, - for stdin, or the address of a database{where}")
        if self.date_from is None:
            raise ConfigurationError(f"--from is missing; pass the first day, such as 2024-01-01{where}")
        if self.date_to is None and not since_last:
            raise ConfigurationError("--to is missing; pass the last day, such as 2024-12-31, which is included")
        return True

    def _may_replace(self, ledger: Path) -> bool:
        """Tell whether nothing was fetched yet with a plan, and another one was asked for."""
        from profile_history.jobs import status_of

        return None not in {self.profiles, self.date_from} and status_of(ledger, failures=0).untouched

    def check_start(self, plan: Plan) -> None:
        """Compare the first day, if it was named, with that of a job.

        Raises:
            ConfigurationError: It is another one.
        """
        if self.date_from is not None and self.date_from != plan.date_from.isoformat():
            raise ConfigurationError(
                f"--from {self.date_from} is not the first day of this job, {plan.date_from}; leave it out, or use "
                "another sink and ledger"
            )


@attrs.frozen
class _JobStart:
    """The client and the days of a job; `until` is the day that one which is there is brought up to."""

    client: HistoryClient
    date_from: Day | None
    date_to: Day | None
    until: Day | None = None

    def make_job(self, source: Source | None, sink: Sink, ledger: Path, lookback: int | None) -> HistoryJob:
        """Return the job.

        Args:
            source: The profiles; `None` for those of the ledger.
            sink: Where the rows go.
            ledger: The file in which it keeps its books.
            lookback: How many days before today are provisional; `None` for what the ledger says.
        """
        from profile_history.jobs import HistoryJob

        return HistoryJob(
            self.client,
            source,
            sink,
            ledger=ledger,
            date_from=self.date_from,
            date_to=self.date_to,
            lookback=lookback,
        )


def _start(
    asked: _JobRequest,
    ledger: Path,
    connection: ConnectionOptions,
    request: RequestOptions,
    health: ServerHealth,
    *,
    has_source: bool,
) -> _JobStart:
    """Return how a job is begun, or how the one of the ledger goes on: what was left out is as in its plan."""
    from profile_history.jobs import status_of

    if asked.begins_job(ledger):
        client = make_client(connection, request, health.observe)
        return _JobStart(client, asked.date_from, asked.date_to or dt.date.today())
    plan = status_of(ledger, failures=0).plan
    assert plan is not None
    asked.check_start(plan)
    connection, request = connection.with_default_url(plan.url), request.with_defaults(plan.terms)
    client = make_client(connection, request, health.observe)
    # A job may reach into the future, where a clock was wrong or its first --to lay there.
    until = asked.date_to or max(dt.date.today(), plan.date_to)
    return _JobStart(client, plan.date_from if has_source else None, until if has_source else None, until)
