"""The numbers that say how far a job has come. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from profile_history._sending.pacing_state import PacingState
from profile_history.jobs.records import Totals
from profile_history.stats import Stats


@attrs.frozen
class Progress:
    """The state of a job, and what this run has done for it.

    A window that is asked for in shorter ones counts as so many units as it becomes; so `pending` is what is known now.

    Attributes:
        phase: "planning", "fetching", "finishing" or "complete".
        profiles: How many there are.
        pending: Units still to be fetched.
        done: Units with rows in the sink.
        empty: Units that were fetched and hold nothing.
        failed: Units that were given up.
        provisional: Units in the sink that the next run with newer days fetches again.
        events: Rows in the sink.
        quarantined: Rows in quarantine: they cannot be read, or the sink cannot hold them.
        rejects: Lines of the source that name no profile.
        lines: While planning, lines of the source that were read so far.
        settled_here: Units that this run has settled.
        events_here: Rows that this run has brought.
        requests: Requests that this run has sent.
        retries: How many of them repeated one that failed.
        throttled: How many of their responses said there are too many.
        in_flight: Requests in flight now.
        limit: How many the client allows to be in flight just now.
        next_probe: Seconds until the next probe of a server that is down, 0 while one is in flight; `None` while it is
            up.
        held: What the server holds the client at, as "held at 29 requests/s by the server", or "".
        seconds: For how long this run has fetched.
    """

    phase: str
    profiles: int = 0
    pending: int = 0
    done: int = 0
    empty: int = 0
    failed: int = 0
    provisional: int = 0
    events: int = 0
    quarantined: int = 0
    rejects: int = 0
    lines: int = 0
    settled_here: int = 0
    events_here: int = 0
    requests: int = 0
    retries: int = 0
    throttled: int = 0
    in_flight: int = 0
    limit: int = 0
    next_probe: float | None = None
    held: str = ""
    seconds: float = 0.0

    @property
    def units(self) -> int:
        """Return how many units are known now."""
        return self.pending + self.done + self.empty + self.failed + self.provisional

    @property
    def eta(self) -> float | None:
        """Return the seconds until nothing is pending, at this run's speed; `None` before it is known."""
        if not self.settled_here or not self.seconds:
            return None
        return self.pending * self.seconds / self.settled_here


def progress_of(
    phase: str, totals: Totals, stats: Sequence[Stats], pace: PacingState, settled_here: int, brought_here: int
) -> Progress:
    """Return how far a job has come.

    Args:
        phase: What the run does now.
        totals: By the ledger.
        stats: Of the streams of this run.
        pace: Of the client.
        settled_here: Units that this run has settled.
        brought_here: Rows that this run has brought.
    """
    counted = attrs.asdict(totals)
    return Progress(
        phase,
        events=counted.pop("rows"),
        **counted,
        settled_here=settled_here,
        events_here=brought_here,
        requests=sum(stream.attempts for stream in stats),
        retries=sum(stream.retries for stream in stats),
        throttled=sum(stream.throttled for stream in stats),
        in_flight=sum(stream.in_flight for stream in stats),
        limit=pace.limit,
        next_probe=pace.next_probe,
        held=pace.reason,
        seconds=sum(stream.seconds for stream in stats),
    )
