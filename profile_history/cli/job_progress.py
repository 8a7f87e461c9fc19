"""The progress of a job, as a person sees it."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable

from rich.console import Console

from profile_history.cli.progress import ProgressView, ServerHealth
from profile_history.jobs import Progress

_PLAIN_INTERVAL = 10.0


def make_job_view(progress: Callable[[], Progress], health: ServerHealth, console: Console) -> ProgressView:
    """Return the view of a job; without a terminal each line begins with the time.

    Args:
        progress: Tells how far the job is.
        health: Knows why nothing moves.
        console: Where it will be shown.
    """

    def line() -> str:
        now = progress()
        ill = health.describe(now.next_probe) if now.phase == "fetching" else ""
        stamp = "" if console.is_terminal else time.strftime("%Y-%m-%d %H:%M:%S ")
        return stamp + " · ".join(filter(None, (ill, format_progress(now))))

    def settled() -> int:
        now = progress()
        return now.units - now.pending

    return ProgressView(line, settled, lambda: progress().units or None, _PLAIN_INTERVAL, lasting=False)


def format_progress(progress: Progress) -> str:
    """Return how far a job has come, in one line, what matters most first."""
    if progress.phase == "planning":
        return f"planning: {format_count(progress.lines, 'line')} of profiles read" if progress.lines else "planning"
    settled = progress.units - progress.pending
    parts = [f"{settled:,}/{progress.units:,} units"]
    if progress.failed:
        parts.append(f"{progress.failed:,} failed")
    if progress.phase == "fetching" and progress.eta is not None and progress.pending:
        parts.append(f"ETA {format_duration(progress.eta)}")
    if progress.phase == "fetching" and progress.held:
        parts.append(progress.held)
    parts.append(format_count(progress.events, "event"))
    if progress.phase != "fetching":
        return " · ".join([progress.phase, *parts])
    if progress.seconds:
        parts.append(f"{progress.events_here / progress.seconds:,.0f} events/s")
        parts.append(f"{progress.requests / progress.seconds:,.0f} requests/s")
    if progress.throttled:
        parts.append(f"{progress.throttled / max(1, progress.requests):.1%} throttled")
    parts.append(f"{progress.in_flight} of {progress.limit} in flight")
    if progress.empty:
        parts.append(f"{progress.empty:,} empty")
    return " · ".join(parts)


def format_duration(seconds: float) -> str:
    """Return a time as people say it: 0.4 s, 12 s, then 0:03:20 in hours, minutes and seconds."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return str(dt.timedelta(seconds=round(seconds)))


def format_count(number: int, what: str) -> str:
    """Return a number of things in words: 1 unit, 2,000 units.

    Args:
        number: How many.
        what: The thing, in the singular.
    """
    return f"{number:,} {what}" + ("" if number == 1 else "s")
