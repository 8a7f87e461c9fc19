"""What a person sees while a job works."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable

from rich.console import Console

from profile_history.cli.progress import Health, View
from profile_history.jobs import Progress

_PLAIN_INTERVAL = 10.0


def view_of(progress: Callable[[], Progress], health: Health, console: Console) -> View:
    """What is shown of a job; where there is no terminal each line begins with the time."""

    def line() -> str:
        now = progress()
        ill = health.told(now.next_probe) if now.phase == "fetching" else ""
        stamp = "" if console.is_terminal else time.strftime("%Y-%m-%d %H:%M:%S ")
        return stamp + " · ".join(filter(None, (ill, numbers(now))))

    def settled() -> int:
        now = progress()
        return now.units - now.pending

    return View(line, settled, lambda: progress().units or None, _PLAIN_INTERVAL, lasting=False)


def numbers(progress: Progress) -> str:
    """How far a job has come, in one line; a narrow terminal cuts its end off."""
    if progress.phase == "planning":
        return f"planning: {counted(progress.lines, 'line')} of profiles read" if progress.lines else "planning"
    settled = progress.units - progress.pending
    parts = [f"{settled:,}/{progress.units:,} units"]
    if progress.failed:
        parts.append(f"{progress.failed:,} failed")
    if progress.phase == "fetching" and progress.eta is not None and progress.pending:
        parts.append(f"ETA {duration(progress.eta)}")
    parts.append(counted(progress.events, "event"))
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


def duration(seconds: float) -> str:
    """A time as people say it: 0.4 s, 12 s, then 0:03:20 in hours, minutes and seconds."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return str(dt.timedelta(seconds=round(seconds)))


def counted(number: int, what: str) -> str:
    """A number of things in words: 1 unit, 2,000 units."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")
