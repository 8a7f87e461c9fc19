"""The commands `resume` and `retry-failed`: a job goes on where it stood."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from profile_history.cli.client_options import Asking, Connection, address_in, connected
from profile_history.cli.job_paths import ledger_of
from profile_history.cli.min_events import MinEvents
from profile_history.cli.progress import Health
from profile_history.cli.signals import stopper
from profile_history.errors import ConfigurationError


def resume(
    job: Annotated[str, Parameter(name="JOB")],
    /,
    *,
    into: str | None = None,
    min_events: MinEvents = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    connection: Connection = Connection(),
) -> int:
    """Go on with a job where it stood, whatever ended it.

    Profiles, days, and how to ask stand in its ledger.

    Parameters
    ----------
    job
        The ledger, or the output beside which it stands as NAME.ledger.
    into
        The output, if it is elsewhere than before, or the ledger is.
    min_events
        Exit with 1 if this run brings fewer events.
    json
        Print a summary as one JSON object to stdout at the end, however it ends.
    """
    return _go_on(job, into, connection, min_events, json=json, retry_failed=False)


def retry_failed(
    job: Annotated[str, Parameter(name="JOB")],
    /,
    *,
    into: str | None = None,
    min_events: MinEvents = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    connection: Connection = Connection(),
) -> int:
    """Go on with a job, and ask once more for what failed.

    Parameters
    ----------
    job
        The ledger, or the output beside which it stands as NAME.ledger.
    into
        The output, if it is elsewhere than before, or the ledger is.
    min_events
        Exit with 1 if this run brings fewer events.
    json
        Print a summary as one JSON object to stdout at the end, however it ends.
    """
    return _go_on(job, into, connection, min_events, json=json, retry_failed=True)


def _go_on(
    job: str, into: str | None, connection: Connection, min_events: int | None, *, json: bool, retry_failed: bool
) -> int:
    from profile_history.cli.job_report import Report
    from profile_history.cli.run_job import work
    from profile_history.jobs import HistoryJob, status_of
    from profile_history.sinks.urls import sink_of

    with stopper, Report(json) as report:
        report.min_events = min_events
        ledger = report.ledger = ledger_of(job)
        found = status_of(ledger, failures=0)
        plan, whereabouts = found.plan, found.whereabouts
        if plan is None or whereabouts is None:
            raise ConfigurationError(
                f"the job of {ledger} was stopped before it knew its profiles; run the same `export` again"
            )
        if into is None:
            whereabouts.check_pointed("retry-failed" if retry_failed else "resume")
        sink = None if into is None else sink_of(into)
        report.sink = plan.sink if sink is None else sink.url
        report.again = connection.words()
        health = Health(connection.patience)
        client = connected(
            connection.or_else(address_in(plan.terms), ledger_first=True),
            Asking.of(plan.terms),
            health.note,
        )
        return work(HistoryJob(client, None, sink, ledger=ledger), client, report, health, retry_failed=retry_failed)
