"""The display of progress: live on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import attrs
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Column

from profile_history.cli.event_text import escape
from profile_history.observing import CircuitClosed, CircuitOpened, Throttled
from profile_history.stats import Stats

_LIVE_INTERVAL = 0.1
_PLAIN_INTERVAL = 5.0
_BETWEEN = " · "
# Columns of the terminal. Beside the bar a line of 80 leaves 53 for words, which take two or three rows then.
_BAR, _ROOM_FOR_BAR = 24, 72


@attrs.frozen
class ProgressView:
    """The view of some work: functions that are called anew each time it is shown.

    Attributes:
        line: Its state in one line.
        done: How much of it is done.
        total: How much there is, `None` if nobody knows.
        interval: Seconds between two lines if there is no terminal.
        lasting: Whether its last state stays to be seen.
        shared: Whether data are written to the same terminal meanwhile. Then it keeps to one row and is cut off, since
            to redraw several would erase rows of them.
    """

    line: Callable[[], str]
    done: Callable[[], int]
    total: Callable[[], int | None]
    interval: float = _PLAIN_INTERVAL
    lasting: bool = True
    shared: bool = False


@attrs.define
class ServerHealth:
    """The state of a server, as far as it explains why nothing moves. Its `observe` is the hook of the client.

    Attributes:
        patience: For how many seconds the client waits for a server that is down.
    """

    patience: float
    _clock: Callable[[], float] = time.monotonic
    _reason: str = ""
    _down_since: float | None = None
    _paused_until: float = float("-inf")

    def observe(self, observation: object) -> None:
        """Record an observation of the client."""
        match observation:
            case CircuitOpened(reason=reason):
                self._down_since, self._reason = self._clock(), escape(reason)
            case CircuitClosed():
                self._down_since = None
            case Throttled(retry_after=float() | int() as seconds, paused=True):
                self._paused_until = max(self._paused_until, self._clock() + seconds)

    def __str__(self) -> str:
        return self.describe(None)

    def describe(self, next_probe: float | None) -> str:
        """Return why nothing moves, or ""; with the seconds until the next probe if they are known."""
        now = self._clock()
        if self._down_since is not None:
            probe = "" if next_probe is None else f"next try in {math.ceil(next_probe)} s, "
            since = now - self._down_since
            return f"server down, {probe}waiting {since:.0f} s of {self.patience:.0f} s ({self._reason})"
        if now < self._paused_until:
            return f"the server asks for a pause, {math.ceil(self._paused_until - now)} s left"
        return ""


def format_stats(stats: Stats, profiles: int | None) -> str:
    """Return the state of a stream in one line.

    Args:
        stats: The stream's numbers.
        profiles: How many profiles there are, `None` if nobody knows.
    """
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
    return _BETWEEN.join(parts)


def complain(console: Console, text: str) -> None:
    """Print one line as it is, for people and for grep.

    Args:
        console: Where.
        text: The line; what would steer a terminal is escaped.
    """
    console.print(escape(text), markup=False, highlight=False, soft_wrap=True)


@contextlib.asynccontextmanager
async def show_stream(
    stats: Stats,
    profiles: int | None,
    console: Console,
    health: ServerHealth,
    held: Callable[[], str],
    *,
    shared: bool = False,
) -> AsyncIterator[None]:
    """Show a stream's numbers, and why nothing moves, until the block ends.

    Args:
        stats: The stream's numbers.
        profiles: How many profiles there are, `None` if nobody knows.
        console: Where.
        health: Knows why nothing moves.
        held: Tells what the server holds the client at, or "".
        shared: Whether data are written to the same terminal meanwhile.
    """

    def line() -> str:
        done, _, more = format_stats(stats, profiles).partition(_BETWEEN)
        return _BETWEEN.join(filter(None, (str(health), done, held(), more)))

    async with display(ProgressView(line, lambda: stats.profiles_done, lambda: profiles, shared=shared), console):
        yield


@contextlib.asynccontextmanager
async def display(view: ProgressView, console: Console) -> AsyncIterator[None]:
    """Show a view until the block ends.

    Args:
        view: What is shown.
        console: Where.
    """
    ticker = asyncio.create_task(_live(view, console) if console.is_terminal else _plain(view, console))
    try:
        yield
    finally:
        ticker.cancel()
        await asyncio.wait([ticker])
        with contextlib.suppress(asyncio.CancelledError):
            ticker.result()


async def _live(view: ProgressView, console: Console) -> None:
    bar = [BarColumn(bar_width=_BAR)] if console.width >= _ROOM_FOR_BAR else []
    progress = Progress(
        SpinnerColumn(),
        *bar,
        # A line that is cut off may lack why nothing moves faster.
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=view.shared)),
        console=console,
        auto_refresh=False,
        transient=not view.lasting,
    )
    task = progress.add_task("", total=view.total())
    state: dict[str, Any] = {}

    def refresh() -> None:
        state.update(completed=view.done(), total=view.total(), description=view.line())
        progress.update(task, **state)
        progress.refresh()

    with progress:
        try:
            while True:
                refresh()
                await asyncio.sleep(_LIVE_INTERVAL)
        finally:
            refresh()


async def _plain(view: ProgressView, console: Console) -> None:
    try:
        while True:
            await asyncio.sleep(view.interval)
            complain(console, view.line())
    finally:
        if view.lasting:
            complain(console, view.line())
