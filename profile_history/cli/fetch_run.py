"""One fetch: from the stream into the output, with an account of what is complete if it ends early."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import attrs
from rich.console import Console

from profile_history.cli import exit_codes
from profile_history.cli.error_messages import is_final
from profile_history.cli.event_text import EventFormat, UnwritableEvent, format_event, format_heading
from profile_history.cli.output import Output, open_output
from profile_history.cli.progress import ServerHealth, complain, show_stream
from profile_history.cli.signals import get_stop_signal
from profile_history.client import HistoryClient
from profile_history.events import Event
from profile_history.profiles import Profile
from profile_history.results import WindowResult
from profile_history.streams import HistoryStream
from profile_history.windows import Order, Window

# A long window is written between other work, so that the numbers move and a signal is heard.
_EVENTS_A_TURN = 1000

_ENDED_BY: dict[int | None, str] = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


@attrs.define
class FetchTally:
    """The count of what is in the output; the numbers of a stream run ahead of that.

    The windows of a profile arrive in order, so its last one is the one that reaches the far end of the asked range.
    """

    asked: Window
    order: Order
    events: int = 0
    complete: int = 0
    _broken: set[Profile] = attrs.field(factory=set)

    def count(self, result: WindowResult) -> None:
        """Count a window that is written."""
        if result.error is not None:
            self._broken.add(result.profile)
        last = (
            result.window.date_from == self.asked.date_from
            if self.order is Order.NEWEST
            else result.window.date_to == self.asked.date_to
        )
        if last:
            self.complete += result.profile not in self._broken
            self._broken.discard(result.profile)


@attrs.define
class FetchRun:
    """One fetch.

    Attributes:
        client: Is closed at the end.
        stream: The windows.
        profiles: How many were asked for.
        tally: Counts what is written.
        format: How events are written.
        screen: Where progress and complaints go.
        health: Knows why nothing moves.
    """

    client: HistoryClient
    stream: HistoryStream[WindowResult]
    profiles: int
    tally: FetchTally
    format: EventFormat
    screen: Console
    health: ServerHealth
    _unwritable: int = 0

    async def write_to(self, path: Path | None, *, overwrite: bool) -> int:
        """Write everything to a file, or to stdout.

        Args:
            path: The file; `None` for stdout.
            overwrite: Whether a file of that name may be replaced.

        Returns:
            The exit code.

        Raises:
            ConfigurationError: The file cannot be opened. Nothing was sent.
            OutputFailed: The output cannot be written any more.
            HistoryError: No window can succeed any more.
        """
        output = open_output(path, overwrite=overwrite)
        try:
            # The output is closed first: what arrived is safe before the connections are taken down.
            async with (
                self.client,
                self.stream,
                show_stream(
                    self.stream.stats,
                    self.profiles,
                    self.screen,
                    self.health,
                    lambda: self.client.pacing_state.reason,
                    shared=path is None and sys.stdout is not None and sys.stdout.isatty(),
                ),
            ):
                with output:
                    async for result in self.stream:
                        await self._write(result, output)
                        self.tally.count(result)
        except BaseException as error:
            self._account(error, output)
            raise
        for row in self.stream.quarantined:
            complain(self.screen, f"unreadable row: {row.reason} [profile {row.profile}, window {row.window}]")
        for failure in self.stream.failures:
            complain(self.screen, f"failed: {failure.error}")
        return exit_codes.SOME_FAILED if self.stream.failures or self._unwritable else exit_codes.DONE

    async def _write(self, result: WindowResult, output: Output) -> None:
        for number, event in enumerate(result.events, 1):
            self._write_event(result.profile, event, output)
            if number % _EVENTS_A_TURN == 0:
                await asyncio.sleep(0)

    def _write_event(self, profile: Profile, event: Event, output: Output) -> None:
        try:
            text = format_event(self.format, profile, event)
        except UnwritableEvent as error:
            self._unwritable += 1
            complain(self.screen, f"left out: an event of {event.datetime}, {error} [profile {profile}]")
            return
        self.tally.events += 1
        output.write(text if self.tally.events > 1 else format_heading(self.format) + text)

    def _account(self, error: BaseException, output: Output) -> None:
        refused = is_final(error)
        # The reader of our output has gone; or nothing was fetched, and the cause, which is printed next, is all.
        if isinstance(error, BrokenPipeError) or (refused and not self.tally.complete and not self.tally.events):
            return
        ended = _ENDED_BY.get(get_stop_signal(), "stopped early")
        verb = "had arrived" if output.lossy else "are complete"
        complete = f"{self.tally.complete} of {self.profiles} profiles {verb}"
        again = (
            ""
            if output.finished or refused
            else "; run the same command again, it starts anew; `profile-history export` goes on where it stood"
        )
        complain(self.screen, f"{ended}: {complete}, {self._whereabouts(output)}{again}")

    def _whereabouts(self, output: Output) -> str:
        events = self.tally.events
        if not events:
            return "no events arrived"
        if output.place is None:
            return f"but none of their {events} events could be written"
        if output.lossy:
            return f"but the last of their {events} events could not be written; the others {output.place}"
        return f"{events} events {output.place}"
