"""What a person sees while histories arrive: a live line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from profile_history.stats import Stats

_LIVE_INTERVAL = 0.1
_PLAIN_INTERVAL = 5.0


def numbers(stats: Stats, profiles: int | None) -> str:
    """The state of a stream in one line."""
    of = f"/{profiles}" if profiles is not None else ""
    rate = stats.events / stats.seconds if stats.seconds else 0
    parts = [
        f"{stats.profiles_done}{of} profiles",
        f"{stats.windows:,} windows",
        f"{stats.events:,} events",
        f"{rate:,.0f} events/s",
        f"{stats.retries} retries",
        f"{stats.in_flight} in flight",
    ]
    if stats.windows_failed:
        parts.insert(1, f"{stats.windows_failed} failed")
    if profiles is not None and 0 < stats.profiles_done < profiles:
        left = stats.seconds * (profiles - stats.profiles_done) / stats.profiles_done
        parts.append(f"ETA {left:.0f} s")
    return " · ".join(parts)


def complain(console: Console, text: str) -> None:
    """Prints one line as it is, for people and for grep."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextlib.asynccontextmanager
async def shown(stats: Stats, profiles: int | None, console: Console) -> AsyncIterator[None]:
    """Shows the stream's numbers on `console` until the block ends."""
    show = _live if console.is_terminal else _plain
    with contextlib.ExitStack() as stack:
        ticker = asyncio.create_task(show(stats, profiles, console, stack))
        try:
            yield
        finally:
            ticker.cancel()
            await asyncio.wait([ticker])


async def _live(stats: Stats, profiles: int | None, console: Console, stack: contextlib.ExitStack) -> None:
    progress = Progress(
        SpinnerColumn(), BarColumn(bar_width=24), TextColumn("{task.description}"), console=console, auto_refresh=False
    )
    stack.enter_context(progress)
    task = progress.add_task("", total=profiles)
    state: dict[str, Any] = {}

    def refresh() -> None:
        state.update(completed=stats.profiles_done, description=numbers(stats, profiles))
        progress.update(task, **state)
        progress.refresh()

    try:
        while True:
            refresh()
            await asyncio.sleep(_LIVE_INTERVAL)
    finally:
        refresh()


async def _plain(stats: Stats, profiles: int | None, console: Console, _: contextlib.ExitStack) -> None:
    try:
        while True:
            await asyncio.sleep(_PLAIN_INTERVAL)
            _line(stats, profiles, console)
    finally:
        _line(stats, profiles, console)


def _line(stats: Stats, profiles: int | None, console: Console) -> None:
    complain(console, numbers(stats, profiles))
