"""Count what a stream has done so far."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs


@attrs.define
class Stats:
    """Counters of one stream; they grow while it runs.

    Attributes:
        profiles: Profiles begun.
        profiles_done: Profiles of which every window is fetched or given up.
        requests: Windows taken up, each counted once however often it was tried.
        attempts: Requests sent.
        retries: Attempts that were repeated after a failure, and probes of a server that was down.
        throttled: Responses that said there are too many requests.
        windows_ok: Windows with at least one row kept.
        windows_empty: Windows verified to hold nothing.
        windows_failed: Windows given up.
        windows_split: Windows that proved too much and were cut in two.
        events: Events handed out.
        quarantined: Rows that could not be read.
        bytes: Bytes of verified responses, decompressed.
        in_flight: Requests in flight now.

    Example:
        >>> stream = client.history(profile)
        >>> events = await stream.collect()
        >>> stream.stats.events, stream.stats.windows_ok, stream.stats.retries
        (13, 1, 0)
    """

    profiles: int = 0
    profiles_done: int = 0
    requests: int = 0
    attempts: int = 0
    retries: int = 0
    throttled: int = 0
    windows_ok: int = 0
    windows_empty: int = 0
    windows_failed: int = 0
    windows_split: int = 0
    events: int = 0
    quarantined: int = 0
    bytes: int = 0
    in_flight: int = 0
    _clock: Callable[[], float] | None = attrs.field(default=None, repr=False, eq=False)
    _started: float | None = attrs.field(default=None, repr=False, eq=False)
    _ended: float | None = attrs.field(default=None, repr=False, eq=False)

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy is a value: it counts no more, and its time stands still.
        counters = {field.name: getattr(self, field.name) for field in attrs.fields(Stats) if field.repr}
        return _rebuild_stats, (counters, self.seconds)

    @property
    def windows(self) -> int:
        """Return how many windows are finished, whatever their outcome."""
        return self.windows_ok + self.windows_empty + self.windows_failed

    @property
    def seconds(self) -> float:
        """Return the seconds from the start of the stream to its end, or to now while it runs; 0 before it starts."""
        if self._started is None or self._clock is None:
            return 0.0
        return (self._clock() if self._ended is None else self._ended) - self._started

    def start(self, clock: Callable[[], float]) -> None:
        """Start the time."""
        self._clock = clock
        self._started = clock()

    def stop(self) -> None:
        """Stop the time."""
        if self._ended is None and self._clock is not None:
            self._ended = self._clock()


def _rebuild_stats(counters: dict[str, Any], seconds: float) -> Stats:
    return Stats(**counters, clock=float, started=0.0, ended=seconds)
