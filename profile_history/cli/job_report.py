"""The report at the end of a job: lines for people on stderr and, on request, one JSON object on stdout."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs
from rich.console import Console

from profile_history._redaction import make_redactor, redact_text
from profile_history.cli import exit_codes
from profile_history.cli.error_messages import explain, is_final
from profile_history.cli.job_paths import format_command
from profile_history.cli.job_progress import format_count, format_duration
from profile_history.cli.output import check_stdout, print_json
from profile_history.cli.progress import complain
from profile_history.cli.signals import Stopped
from profile_history.errors import ConfigurationError, HistoryError
from profile_history.jobs import Failure, JobHeld, JobStatus, Progress, status_of
from profile_history.jobs.advice import without_sample
from profile_history.jobs.profile_text import profile_of
from profile_history.jobs.reject_files import quarantine_beside, rejects_beside

_LISTED_FOR_PEOPLE = 5
_LISTED_FOR_PROGRAMS = 100


@attrs.define
class JobReport:
    """A context manager that reports at its end how the job ended, by an error too; the error goes on.

    Where stdout is closed and an object is to go there, the block is not entered: that is a `ConfigurationError`.

    Attributes:
        json: Whether to print an object to stdout.
        screen: Where people look.
        ledger: The ledger, as soon as it is known.
        sink: The sink without a password, likewise.
        again: The options that resuming needs, with a blank before them.
        progress: How far the job came; `None` before it was begun.
        warnings: What a person should know of the run, a sentence each.
        min_events: How many events the run has to bring; `None` for any number.
        redacts: Whether lines for people show a hash instead of what identifies a profile.
    """

    json: bool
    screen: Console = attrs.field(factory=lambda: Console(stderr=True))
    ledger: Path | None = None
    sink: str | None = None
    again: str = ""
    progress: Progress | None = None
    warnings: Sequence[str] = ()
    min_events: int | None = None
    redacts: bool = False
    _begun: float = attrs.field(factory=time.monotonic)

    def __enter__(self) -> Self:
        if self.json:
            check_stdout()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        status = self._status()
        idle = isinstance(error, (ConfigurationError, JobHeld))
        if is_final(error) and self.progress is not None and not self.progress.settled_here:
            # The cause, which is printed next, is all there is to say: to run it again would not help.
            idle = True
        if self.progress is not None and status is not None and not idle:
            for line in self._list_lines(error, status):
                complain(self.screen, line)
        if self.json:
            print_json(self._summary(error, status))

    @property
    def code(self) -> int:
        """Return the exit code of a job that ended by itself."""
        failed = self.progress is not None and self.progress.failed
        return exit_codes.SOME_FAILED if failed or self._shortage else exit_codes.DONE

    @property
    def _shortage(self) -> str:
        """Return a sentence saying that the run brought too few events, or ""."""
        if self.progress is None or self.min_events is None or self.progress.events_here >= self.min_events:
            return ""
        brought = format_count(self.progress.events_here, "event")
        return f"this run has brought {brought}, fewer than --min-events {self.min_events:,}"

    def _status(self) -> JobStatus | None:
        if self.ledger is None:
            return None
        try:
            return status_of(self.ledger, failures=_LISTED_FOR_PROGRAMS)
        except HistoryError:
            return None

    def _list_lines(self, error: BaseException | None, status: JobStatus) -> list[str]:
        assert self.ledger is not None
        assert self.progress is not None
        verdict = self._verdict(error, status)
        lines = [verdict, *(f"warning: {warning}" for warning in self.warnings if warning not in verdict)]
        if error is None and self._shortage:
            lines.append(self._shortage)
        lines += [
            f"failed: {describe_failure(failure, redacts=self.redacts)}"
            for failure in status.failures[:_LISTED_FOR_PEOPLE]
        ]
        if (more := status.totals.failed - _LISTED_FOR_PEOPLE) > 0:
            lines.append(f"and {more:,} more failed: {format_command('status', self.ledger)}")
        if status.totals.failed and error is None:
            lines.append(f"ask again for what failed: {format_command('retry-failed', self.ledger, self.again)}")
        return [*lines, *list_left_out(self.ledger, status)]

    def _verdict(self, error: BaseException | None, status: JobStatus) -> str:
        assert self.ledger is not None
        assert self.progress is not None
        if error is None:
            took = f"done in {format_duration(time.monotonic() - self._begun)}"
            how = took if self.progress.requests else "nothing was left to fetch"
            if status.emptiness is not None:
                emptiness = without_sample(status.emptiness) if self.redacts else status.emptiness
                return f"{how}, but {emptiness} ({describe_standing(status)})"
            return f"{how}: {describe_standing(status)}"
        ended = {exit_codes.INTERRUPTED: "interrupted", exit_codes.TERMINATED: "terminated"}.get(
            exit_codes.choose(error), "stopped early"
        )
        if status.plan is None:
            return f"{ended} while the profiles were read, before anything was fetched; run the same command again"
        again = format_command("resume", self.ledger, self.again)
        return f"{ended}: {describe_standing(status)}; go on with: {again}"

    def _summary(self, error: BaseException | None, status: JobStatus | None) -> dict[str, Any]:
        code = self.code if error is None else exit_codes.choose(error)
        progress = self.progress or Progress("planning")
        sink = status.plan.sink if status is not None and status.plan is not None else self.sink
        return {
            "status": exit_codes.STATUSES[code],
            "exit_code": code,
            "error": None if error is None or isinstance(error, Stopped) else explain(error),
            "ledger": None if self.ledger is None else str(self.ledger),
            "sink": sink,
            "output": None if status is None else status.output,
            **(summarize(status) if status is not None else {}),
            "all_empty": status is not None and status.emptiness is not None,
            "warnings": list(self.warnings),
            "events_here": progress.events_here,
            "seconds": round(time.monotonic() - self._begun, 3),
            "requests": progress.requests,
            "retries": progress.retries,
            "throttled": progress.throttled,
        }


def summarize(status: JobStatus) -> dict[str, Any]:
    """Return how a job stands, for JSON."""
    totals = status.totals
    return {
        "profiles": totals.profiles,
        "units": {
            "pending": totals.pending,
            "done": totals.done,
            "empty": totals.empty,
            "provisional": totals.provisional,
            "failed": totals.failed,
        },
        "events": totals.rows,
        "rejects": totals.rejects,
        "quarantined": totals.quarantined,
        "failed": [
            {
                "profile": failure.profile,
                "date_from": str(failure.window.date_from),
                "date_to": str(failure.window.date_to),
                "reason": failure.reason,
            }
            for failure in status.failures
        ],
    }


def describe_standing(status: JobStatus) -> str:
    """Return how a job stands, in one sentence without its full stop."""
    totals = status.totals
    kinds = (
        ("with events", totals.done),
        ("empty", totals.empty),
        ("recent, to be asked for again by --since-last", totals.provisional),
        ("failed", totals.failed),
        ("left to fetch", totals.pending),
    )
    listed = ", ".join(f"{number:,} {what}" for what, number in kinds if number)
    place = f" in {status.output}" if status.output is not None else ""
    units = format_count(totals.units, "unit")
    return f"{format_count(totals.rows, 'event')}{place}; {units}{f': {listed}' if listed else ''}"


def describe_failure(failure: Failure, *, redacts: bool = False) -> str:
    """Return a failed unit in one line; most reasons name profile and days themselves.

    Args:
        failure: The unit, and why it failed.
        redacts: Whether to show a hash instead of what identifies the profile.
    """
    profile, reason = failure.profile, failure.reason
    redactor = make_redactor(redacts)
    if redactor is not None:
        redacted = redactor.redact(profile_of(profile))
        profile, reason = str(redacted), redact_text(reason, redacted)
    return reason if profile in reason else f"{reason} [{profile}, {failure.window}]"


def list_left_out(ledger: Path, status: JobStatus) -> list[str]:
    """Return sentences that say where rejected lines and quarantined rows are listed.

    Args:
        ledger: The ledger of the job.
        status: How the job stands.
    """
    lines = []
    totals = status.totals
    if totals.rejects:
        name = "names" if totals.rejects == 1 else "name"
        lines.append(
            f"{format_count(totals.rejects, 'line')} of the profiles {name} nobody: see {rejects_beside(ledger)}"
        )
    if totals.quarantined:
        cannot = "cannot be read or stored"
        lines.append(f"{format_count(totals.quarantined, 'row')} {cannot}: see {quarantine_beside(ledger)}")
    return lines
