"""The run of a job: shown while it works, and reported at its end."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

from profile_history.cli.event_loop import run
from profile_history.cli.job_paths import format_command
from profile_history.cli.job_progress import make_job_view
from profile_history.cli.job_report import JobReport
from profile_history.cli.progress import ServerHealth, display
from profile_history.client import HistoryClient
from profile_history.jobs import HistoryJob


def run_job(job: HistoryJob, client: HistoryClient, report: JobReport, health: ServerHealth, **how: Any) -> int:
    """Run a job to its end.

    Args:
        job: The job.
        client: Is closed at the end.
        report: Is told how far the job came.
        health: Knows why nothing moves.
        how: Arguments of `HistoryJob.run`.

    Returns:
        The exit code.
    """
    assert report.ledger is not None
    excuse = f"nothing that was stored is lost: {format_command('resume', report.ledger, report.again)}"
    run(_run(job, client, report, health, how), excuse=excuse)
    return report.code


async def _run(
    job: HistoryJob, client: HistoryClient, report: JobReport, health: ServerHealth, how: dict[str, Any]
) -> None:
    async with client:
        try:
            async with (
                display(make_job_view(lambda: job.progress, health, report.screen), report.screen),
                aclosing(job.run(**how)) as steps,
            ):
                async for _ in steps:
                    pass
        finally:
            report.progress, report.warnings = job.progress, job.warnings
