"""Tell which days of a response are final: bounded by the server's clock and by this machine's. No I/O.

A wrong clock must not make days final before they are over: nobody would ever ask for them again.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import attrs

LONGEST_LOOKBACK = 36_500
"""Days; a hundred years, which is longer than any history."""

# The server's day is that of UTC, and this machine's that of its own zone.
_ZONES = dt.timedelta(days=1)


@attrs.define(eq=False)
class JobClock:
    """The server's clock and this machine's, read together.

    Attributes:
        today: Says which day it is on this machine.
        now: Says the time on this machine, in seconds since 1970 in UTC.
        lookback: So many days before today may still grow.
        warn: Takes a sentence about clocks that cannot be right; each kind is said once.
    """

    today: Callable[[], dt.date]
    now: Callable[[], float]
    lookback: int
    warn: Callable[[str], None]
    _day: dt.date = attrs.field(init=False)
    _heard: bool = attrs.field(default=False, init=False)
    _latest: dt.datetime | None = attrs.field(default=None, init=False)
    _said: set[str] = attrs.field(factory=set, init=False)

    def __attrs_post_init__(self) -> None:
        self._day = self.today()

    def provisional_from(self, served_at: dt.datetime | None) -> dt.date:
        """Return the first day that may still grow after a response: what lies before it is final.

        Args:
            served_at: When the server says that it made the response, in UTC; `None` if it does not say.
        """
        self._heard = True
        # The request was sent after the run began, and a clock that is set back in between was wrong before.
        self._day = min(self._day, self.today())
        local = days_before(self._day, self.lookback)
        if served_at is None:
            self._say(
                "undated",
                "the server does not say what day it is (its responses have no readable Date header): which days are "
                "final is decided by this machine's clock alone, so keep that right",
            )
            return local
        self._latest = max(served_at, self._latest or served_at)
        server = served_at.date()
        self._compare(server)
        return min(local, days_before(server, max(1, self.lookback)))

    def fetched_at(self, served_at: dt.datetime | None) -> int:
        """Return when a response was made, in seconds since 1970 in UTC: what the earlier of both clocks says."""
        now = int(self.now())
        return now if served_at is None else min(now, int(served_at.timestamp()))

    def moment(self) -> tuple[dt.date, float] | None:
        """Return the day and the time, in seconds since 1970, by which something may be called too early.

        That is what the later of both clocks says; `None` before the first response, since a machine alone does not
        know whether its clock is right.
        """
        if not self._heard:
            return None
        latest = self._latest or dt.datetime.min.replace(tzinfo=dt.UTC)
        return max(self.today(), latest.date()), max(self.now(), latest.timestamp())

    def _compare(self, server: dt.date) -> None:
        if self._day - server > _ZONES:
            self._say(
                "ahead",
                f"this machine's clock is ahead of the server's: {self._day} here, {server} there. Which days are "
                "final is decided by the server's; set the clock of this machine right",
            )
        elif server - self._day > _ZONES:
            self._say(
                "behind",
                f"this machine's clock is behind the server's: {self._day} here, {server} there. Newer days may not "
                "have been asked for; set the clock of this machine right, and run `export --since-last`",
            )

    def _say(self, kind: str, sentence: str) -> None:
        if kind not in self._said:
            self._said.add(kind)
            self.warn(sentence)


def days_before(day: dt.date, days: int) -> dt.date:
    """Return the day that lies some days before another, or the calendar's first day.

    Args:
        day: The other day.
        days: How many days before it.
    """
    return dt.date.fromordinal(max(1, day.toordinal() - days))
