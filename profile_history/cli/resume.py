"""The commands `resume` and `retry-failed`: a job goes on where it stood."""

from __future__ import annotations

from profile_history.cli.client_options import ConnectionOptions, RequestOptions, make_client
from profile_history.cli.job_options import Job, MovedOutput, ReportOptions
from profile_history.cli.job_paths import find_ledger
from profile_history.cli.progress import ServerHealth, complain
from profile_history.cli.signals import stopper
from profile_history.errors import ConfigurationError


def resume(
    job: Job,
    /,
    *,
    into: MovedOutput = None,
    run: ReportOptions = ReportOptions(),
    connection: ConnectionOptions = ConnectionOptions(),
) -> int:
    """Go on with a job where it stood, whatever ended it.

    Profiles, days, how to ask and which server stand in its ledger; --url names another one, PROFILE_HISTORY_URL does
    not.

    Args:
        job: Its ledger or output.
        into: Where the output is now.
        run: What the run has to bring, and how it reports.
        connection: How the server is reached.
    """
    return _continue_job(job, into, run, connection, retry_failed=False)


def retry_failed(
    job: Job,
    /,
    *,
    into: MovedOutput = None,
    run: ReportOptions = ReportOptions(),
    connection: ConnectionOptions = ConnectionOptions(),
) -> int:
    """Go on with a job, and ask once more for what failed.

    Profiles, days, how to ask and which server stand in its ledger; --url names another one, PROFILE_HISTORY_URL does
    not.

    Args:
        job: Its ledger or output.
        into: Where the output is now.
        run: What the run has to bring, and how it reports.
        connection: How the server is reached.
    """
    return _continue_job(job, into, run, connection, retry_failed=True)


def _continue_job(
    job: str, into: str | None, options: ReportOptions, connection: ConnectionOptions, *, retry_failed: bool
) -> int:
    from profile_history.cli.job_report import JobReport
    from profile_history.cli.run_job import run_job
    from profile_history.jobs import HistoryJob, status_of
    from profile_history.sinks.urls import sink_of

    with stopper, JobReport(options.json) as report:
        report.min_events = options.min_events
        ledger = report.ledger = find_ledger(job)
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
        report.again, report.redacts = connection.to_words(), connection.redact_profiles
        health = ServerHealth(connection.patience)
        reached = connection.with_default_url(plan.url, ledger_first=True)
        client = make_client(reached, RequestOptions.from_terms(plan.terms), health.observe)
        if connection.url is None and reached.overrules_environment():
            complain(
                report.screen,
                f"this job goes on at {plan.url}, as its ledger says, although PROFILE_HISTORY_URL names another "
                "address; pass --url to change that",
            )
        return run_job(HistoryJob(client, None, sink, ledger=ledger), client, report, health, retry_failed=retry_failed)
