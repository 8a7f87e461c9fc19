"""Units as the ledger knows them, what one commit writes of them, and the totals of a job. No I/O."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from enum import IntEnum

import attrs

from profile_history._text import escape_surrogates
from profile_history.sinks.unit_rows import Stored
from profile_history.units import Unit
from profile_history.windows import Window

# Of so many profiles one has an event, unless they are asked for in the wrong way.
_MANY = 20
# The share of failed units up to which nobody would look for the events in those.
_FEW = 0.01
_FIRST_DAY = dt.date(1970, 1, 1).toordinal()


class Status(IntEnum):
    """The outcome of a unit.

    Attributes:
        PENDING: It is still to be fetched.
        DONE: Its rows are in the sink.
        EMPTY: It was fetched, and there is nothing in it.
        FAILED: It was given up; `retry-failed` asks again.
        PROVISIONAL: It is in the sink, but its days are so recent that they may still grow; the next run with newer
            days fetches it again and replaces it.
    """

    PENDING = 0
    DONE = 1
    EMPTY = 2
    FAILED = 3
    PROVISIONAL = 4


@attrs.frozen
class PendingUnit(Unit):
    """A unit that the ledger counts as pending.

    Attributes:
        number: The unit's number.
        ordinal: The profile's number.
        replaces: What an earlier run fetched of these days; it goes as a whole when all of this is there.
    """

    number: int
    ordinal: int
    replaces: tuple[Stored, ...] = ()


@attrs.frozen
class UnitRecord:
    """A unit as the ledger is to write it down.

    Attributes:
        number: The unit's number.
        ordinal: The profile's number.
        window: The days.
        status: What has become of it.
        rows: How many rows it has in the sink.
        attempts: How many requests it took.
        reason: Why it failed, or "".
        planned: Whether the number is that of a pending unit, which this is the rest of.
        row_offset: The number of its first row within its batch, from 0.
        checksum: Of the content of its rows as the sink holds them; `None` if the sink has no checksums.
        fetched_at: When it was fetched, in seconds since 1970, by the earlier of the server's clock and this
            machine's; `None` if that is not known.
    """

    number: int
    ordinal: int
    window: Window
    status: Status
    rows: int = 0
    attempts: int = 0
    reason: str = attrs.field(default="", converter=escape_surrogates)
    planned: bool = False
    row_offset: int = 0
    checksum: int | None = None
    fetched_at: int | None = None


@attrs.frozen
class QuarantineRecord:
    """A row in quarantine: it cannot be read, or the sink cannot hold it.

    Attributes:
        unit: The number of its unit.
        reason: Why.
        raw: The row, as the server sent it.
    """

    unit: int
    reason: str = attrs.field(converter=escape_surrogates)
    raw: bytes = attrs.field()


@attrs.frozen
class LedgerWrite:
    """All that one commit writes into the ledger.

    Attributes:
        batch: The number of the batch in the sink, or `None` if no rows changed.
        records: Units that are settled.
        rests: Pending units of which a part is settled: what is left of them.
        replaced: Units that others took the place of.
        quarantined: Rows in quarantine.
    """

    batch: int | None
    records: Sequence[UnitRecord] = ()
    rests: Sequence[tuple[int, Window]] = ()
    replaced: Sequence[Stored] = ()
    quarantined: Sequence[QuarantineRecord] = ()


@attrs.define
class Totals:
    """Numbers of a job: how many units there are of each status, profiles, and rows in the sink."""

    profiles: int = 0
    pending: int = 0
    done: int = 0
    empty: int = 0
    failed: int = 0
    provisional: int = 0
    rows: int = 0
    quarantined: int = 0
    rejects: int = 0

    @property
    def units(self) -> int:
        """Return how many units there are."""
        return self.pending + self.done + self.empty + self.failed + self.provisional

    @property
    def all_empty(self) -> bool:
        """Return whether all was fetched, of so many profiles that one should have an event, and none has."""
        fetched = self.profiles - self.failed
        if self.pending or self.rows or self.quarantined:
            return False
        return fetched >= _MANY and self.failed <= fetched * _FEW

    def count(self, status: Status, by: int) -> None:
        """Add to the number of units of one status.

        Args:
            status: The status.
            by: How many units more.
        """
        name = status.name.lower()
        setattr(self, name, getattr(self, name) + by)


def bounds_of(window: Window) -> tuple[dt.date, dt.date]:
    """Return the two ends of a window that has both, as all windows of a job have."""
    assert window.date_from is not None
    assert window.date_to is not None
    return window.date_from, window.date_to


def to_number(day: dt.date) -> int:
    """Return a day as the ledger stores it: days since 1970-01-01."""
    return day.toordinal() - _FIRST_DAY


def to_day(number: int) -> dt.date:
    """Return the day that the ledger stores as a number."""
    return dt.date.fromordinal(number + _FIRST_DAY)
