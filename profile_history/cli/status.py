"""The commands `status` and `verify`: the state of a job, and the comparison of its output with the ledger."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from profile_history.cli import exit_codes
from profile_history.cli.event_text import escape
from profile_history.cli.job_options import AsJson, Job, MovedOutput
from profile_history.cli.job_paths import find_ledger, format_command
from profile_history.cli.output import print_json

if TYPE_CHECKING:
    from profile_history.jobs import JobStatus, Verification

_LISTED = 10
_OLDER_COLUMNS = "as begun by an earlier version, without `row`; --restart gives the new ones"


def status(job: Job, /, *, json: AsJson = False) -> None:
    """Show how a job stands, also while it runs. It needs no token and no server.

    Args:
        job: Its ledger or output.
        json: Whether a program reads this.
    """
    from profile_history.jobs import status_of

    ledger = find_ledger(job)
    now = status_of(ledger, failures=_LISTED)
    if json:
        print_json(_to_json(ledger, now))
        return
    for line in _list_lines(ledger, now):
        print(escape(line))


def verify(job: Job, /, *, into: MovedOutput = None, json: AsJson = False) -> int:
    """Read the output of a job back and compare it with the ledger. It needs no token and no server.

    Each difference is one line on stdout. The exit code is 0 if there is none, and nothing has failed or is still to be
    fetched; else 1. Nothing is written.

    Args:
        job: Its ledger or output.
        into: Where the output is now.
        json: Whether a program reads this.
    """
    from profile_history.jobs import status_of, verification_of

    ledger = find_ledger(job)
    found = verification_of(ledger, into)
    now = status_of(ledger, failures=0)
    if json:
        print_json(_verification_to_json(found, now, ledger))
    else:
        for sentence in ([str(now.whereabouts)] if _is_moved(now) else []) + found.warnings:
            _say(sentence)
        for difference in found.differences:
            print(escape(difference))
        for sentence in _judge(found, now, ledger):
            _say(sentence)
    return exit_codes.DONE if found.is_whole else exit_codes.SOME_FAILED


def _verification_to_json(found: Verification, now: JobStatus, ledger: Path) -> dict[str, Any]:
    return {
        "ledger": str(ledger),
        "begun_elsewhere": _is_moved(now),
        "events": found.totals.rows,
        "differences": found.differences,
        "failed": found.totals.failed,
        "pending": found.totals.pending,
        "counted_only": found.counted_only,
    }


def _judge(found: Verification, now: JobStatus, ledger: Path) -> list[str]:
    """Return what is well, what could not be looked at, and what is missing, with the commands that bring it."""
    missing = [
        f"{number:,} of {found.totals.profiles:,} profiles {what}: {_format_command(verb, ledger, now)}"
        for number, what, verb in (
            (found.pending_profiles, "are still to be fetched", "resume"),
            (found.failed_profiles, "failed", "retry-failed"),
        )
        if number
    ]
    counted = f"{found.counted_only:,} units of an earlier version could only be counted"
    others = [counted] if found.counted_only else []
    if found.differences:
        return missing + others
    fetched = f"the {found.totals.rows:,} events fetched are intact"
    if missing:
        return [f"{fetched}, but {missing[0]}", *missing[1:], *others]
    return [f"all is well: {found.totals.rows:,} events are there as the ledger says", *others]


def _format_command(verb: str, ledger: Path, status: JobStatus) -> str:
    if status.whereabouts is not None and status.whereabouts.moved:
        return status.whereabouts.command(verb)
    return format_command(verb, ledger)


def _say(text: str) -> None:
    Console(stderr=True).print(escape(text), soft_wrap=True, markup=False, highlight=False)


def _is_moved(status: JobStatus) -> bool:
    return status.whereabouts is not None and status.whereabouts.moved


def _describe_state(status: JobStatus) -> str:
    if status.holder is not None:
        return "running"
    if status.plan is None:
        return "not planned"
    if status.totals.pending or status.publishing:
        return "unfinished"
    return "some failed" if status.totals.failed else "done"


def _to_json(ledger: Path, status: JobStatus) -> dict[str, Any]:
    from profile_history.cli.job_report import summarize

    plan, holder = status.plan, status.holder
    return {
        "state": _describe_state(status).replace(" ", "_"),
        "ledger": str(ledger),
        "pid": None if holder is None else holder.pid,
        "host": None if holder is None else holder.host,
        "begun_elsewhere": _is_moved(status),
        "output": status.output,
        "older_columns": status.has_older_columns,
        "plan": None
        if plan is None
        else {
            "source": plan.source,
            "date_from": str(plan.date_from),
            "date_to": str(plan.date_to),
            "sink": plan.sink,
            **plan.terms,
        },
        "earlier_urls": list(status.earlier_urls),
        **summarize(status),
    }


def _list_lines(ledger: Path, status: JobStatus) -> list[str]:
    from profile_history.cli.job_report import describe_failure, describe_standing, list_left_out

    by = f": {status.holder} is working on it" if status.holder is not None else ""
    rows = [("job", str(ledger)), ("state", _describe_state(status) + by)]
    if status.plan is None:
        return [f"{name:<9} {value}" for name, value in rows]
    plan, terms = status.plan, status.plan.terms
    asked = ", ".join(f"{name} {terms[name]}" for name in ("list_id", "window", "border", "order"))
    rows += [
        ("profiles", f"{status.totals.profiles:,} from {plan.source}"),
        ("days", f"{plan.date_from} to {plan.date_to}"),
        ("server", f"{terms['url']}, {asked}"),
        ("output", describe_standing(status)),
    ]
    if status.earlier_urls:
        rows.insert(-1, ("earlier", f"runs asked {' and '.join(status.earlier_urls)}"))
    rows += [("moved", str(status.whereabouts))] if _is_moved(status) else []
    rows += [("columns", _OLDER_COLUMNS)] if status.has_older_columns else []
    lines = [f"{name:<9} {value}" for name, value in rows]
    lines += [f"failed    {describe_failure(failure)}" for failure in status.failures]
    if (more := status.totals.failed - len(status.failures)) > 0:
        lines.append(f"          and {more:,} more")
    lines += [f"{'apart':<9} {line}" for line in list_left_out(ledger, status)]
    return lines + _advise(ledger, status)


def _advise(ledger: Path, status: JobStatus) -> list[str]:
    verbs = {"unfinished": ("go on with", "resume"), "some failed": ("ask again for what failed", "retry-failed")}
    if (state := _describe_state(status)) not in verbs:
        return []
    what, verb = verbs[state]
    return [f"{what}: {_format_command(verb, ledger, status)}"]
