"""The command `export`: a durable job from profiles into a sink."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import attrs
from cyclopts import Parameter
from cyclopts.validators import Number

from profile_history.cli.client_options import ConnectionOptions, RequestOptions, make_client, read_address
from profile_history.cli.job_paths import make_ledger_directory, place_ledger
from profile_history.cli.min_events import MinEvents
from profile_history.cli.progress import ServerHealth
from profile_history.cli.restart import confirm_restart
from profile_history.cli.signals import stopper
from profile_history.cli.stdin import open_stdin
from profile_history.errors import ConfigurationError

if TYPE_CHECKING:
    from profile_history.client import Day
    from profile_history.jobs import Source
    from profile_history.jobs.plan import Plan


@attrs.frozen
class _JobRequest:
    """What was asked for on the command line."""

    profiles: str | None
    date_from: str | None
    date_to: str | None
    matching: str | None
    column: str | None
    format: Literal["text", "csv", "ndjson", "parquet"] | None
    query: str | None
    delimiter: str | None

    def source(self) -> Source | None:
        """The profiles, if there are any on the command line."""
        from profile_history.jobs import source_of

        options = {
            "matching": self.matching,
            "column": self.column,
            "format": self.format,
            "query": self.query,
            "delimiter": self.delimiter,
        }
        if self.profiles is None:
            for name, value in options.items():
                if value is not None:
                    raise ConfigurationError(f"--{name} goes with PROFILES, which is missing")
            return None
        stream = open_stdin() if self.profiles == "-" else None
        return source_of(
            self.profiles,
            matching=self.matching,
            column=self.column,
            format=self.format,
            query=self.query,
            delimiter=self.delimiter,
            stdin=stream,
        )

    def begins(self, ledger: Path, refetch_from: str | None, *, since_last: bool, restart: bool) -> bool:
        """Whether everything has to be said, since a job has to be made, or may take the place of one that is there.

        Raises:
            ConfigurationError: Something is missing.
        """
        if refetch_from is not None and not since_last:
            raise ConfigurationError("--refetch-from goes with --since-last; pass both")
        if since_last and not restart and ledger.exists() and not self._may_replace(ledger):
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
        """Whether nothing was fetched yet with a plan, and another one was asked for."""
        from profile_history.jobs import status_of

        return None not in {self.profiles, self.date_from} and status_of(ledger, failures=0).untouched

    def check_start(self, plan: Plan) -> None:
        """Compares the first day, if it was named, with that of a job.

        Raises:
            ConfigurationError: It is another one.
        """
        if self.date_from is not None and self.date_from != plan.date_from.isoformat():
            raise ConfigurationError(
                f"--from {self.date_from} is not the first day of this job, {plan.date_from}; leave it out, or use "
                "another sink and ledger"
            )


def export(
    profiles: Annotated[str | None, Parameter(name="PROFILES")] = None,
    /,
    *,
    into: str,
    from_: Annotated[str | None, Parameter(name="--from")] = None,
    to: str | None = None,
    matching: str | None = None,
    column: str | None = None,
    format_: Annotated[Literal["text", "csv", "ndjson", "parquet"] | None, Parameter(name="--format")] = None,
    query: str | None = None,
    delimiter: str | None = None,
    ledger: Path | None = None,
    since_last: Annotated[bool, Parameter(negative="")] = False,
    refetch_from: str | None = None,
    lookback: Annotated[int | None, Parameter(validator=Number(gte=0))] = None,
    min_events: MinEvents = None,
    restart: Annotated[bool, Parameter(negative="")] = False,
    yes: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
    connection: ConnectionOptions = ConnectionOptions(),
    request: RequestOptions = RequestOptions(),
) -> int:
    """Export the histories of many profiles into a file or database, as a job that can be killed and resumed.

    A ledger beside the output says what is done. Run the same command again, or `profile-history resume`, and it goes
    on where it stood; nothing is lost and nothing doubled. Progress, summary and errors go to stderr.

    Parameters
    ----------
    profiles
        Who: the path of a text, CSV, NDJSON or Parquet file (text and its kin may be packed with gzip or zstd), a
        single - for stdin, or postgresql://HOST/DATABASE or FILE.duckdb with --query.
    into
        Where to: FILE.ndjson, .jsonl or .csv (perhaps with .gz or .zst behind), FILE.duckdb, DIRECTORY.parquet or
        DIRECTORY/ for Parquet, or postgresql://HOST/DATABASE?table=NAME.
    from_
        The first day, YYYY-MM-DD.
    to
        The last day, inclusive; with --since-last it is today unless you say otherwise.
    matching
        How the API finds the profiles: xxh, email, phone, profile_id or another mode of `fetch`, or custom:FIELD_NAME
        where the values are those of that field. Not needed where the file names a mode with each profile.
    column
        The column that holds the profiles, in CSV, Parquet and databases.
    format_
        How PROFILES is read, whatever its name is.
    query
        The SELECT whose rows are the profiles.
    delimiter
        What stands between the cells of a CSV file: one character, or tab; its first line tells unless you say.
    ledger
        The ledger of the job, if not beside the output.
    since_last
        Go on with the job up to --to: newer days, and once more those that were still recent, which are replaced.
        PROFILES may be left out, or name newcomers too. Where there is no job yet, it is begun.
    refetch_from
        With --since-last: a day, YYYY-MM-DD; what reaches it or a later day is fetched again as well, and replaced.
        It heals what was fetched while a clock was wrong.
    lookback
        So many days before today count as recent: they may still grow; 2 unless you say otherwise. Today is the
        server's day or this machine's, whichever is earlier.
    min_events
        Exit with 1 if this run brings fewer events.
    restart
        Delete what the job has written, and begin anew. Only what its ledger knows, or what carries its id, is deleted.
    yes
        Do not ask whether to delete it.
    json
        Print a summary as one JSON object to stdout at the end, however it ends.
    """
    from profile_history.cli.job_report import JobReport
    from profile_history.cli.run_job import run_job
    from profile_history.jobs import HistoryJob, status_of
    from profile_history.sinks.urls import sink_of

    with stopper, JobReport(json) as report:
        sink = sink_of(into)
        report.sink = sink.url
        report.ledger = ledger if ledger is not None else place_ledger(into)
        report.again = connection.to_words()
        report.min_events = min_events
        wanted = _JobRequest(profiles, from_, to, matching, column, format_, query, delimiter)
        health = ServerHealth(connection.patience)
        source = wanted.source()
        if yes and not restart:
            raise ConfigurationError("--yes goes with --restart")
        if wanted.begins(report.ledger, refetch_from, since_last=since_last, restart=restart):
            client = make_client(connection, request, health.observe)
            days: tuple[Day | None, Day | None] = wanted.date_from, wanted.date_to or dt.date.today()
            until: Day | None = None
        else:
            plan = status_of(report.ledger, failures=0).plan
            assert plan is not None
            wanted.check_start(plan)
            client = make_client(
                connection.with_default_url(read_address(plan.terms)), request.with_defaults(plan.terms), health.observe
            )
            # A job may reach into the future, where a clock was wrong or its first --to lay there.
            until = wanted.date_to or max(dt.date.today(), plan.date_to)
            days = (plan.date_from, until) if source is not None else (None, None)
        job = HistoryJob(
            client, source, sink, ledger=report.ledger, date_from=days[0], date_to=days[1], lookback=lookback
        )
        if restart:
            confirm_restart(report.ledger, sink.url, yes=yes)
        if ledger is None:
            make_ledger_directory(report.ledger, into)
        return run_job(job, client, report, health, until=until, refetch_from=refetch_from, restart=restart)
