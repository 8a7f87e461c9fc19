"""The values that a stream hands out: windows with their outcome, failures, and rows in quarantine. No I/O."""

from __future__ import annotations

import datetime as dt
from typing import Generic, Literal, TypeVar

import attrs

from profile_history.errors import HistoryError
from profile_history.events import Event
from profile_history.profiles import Profile
from profile_history.units import Unit
from profile_history.windows import Window

T = TypeVar("T")
OnError = Literal["raise", "collect"]


@attrs.frozen
class WindowFailure:
    """A window that was given up."""

    profile: Profile
    window: Window
    error: HistoryError


@attrs.frozen
class QuarantinedRow:
    """A row that cannot be read as an event.

    Attributes:
        profile: Whose history it stands in.
        window: The days that were being fetched. A row without a readable `datetime` belongs to no day; it is put
            into quarantine once for each window whose response holds it.
        reason: Why it cannot be read.
        raw: Its bytes, as the server sent them.
    """

    profile: Profile
    window: Window
    reason: str
    raw: bytes


@attrs.frozen
class WindowResult:
    """One window with its outcome.

    Attributes:
        profile: Whose history it is.
        window: The days, both inclusive.
        events: Its events in order; empty if there are none or the window failed.
        error: Why the window failed; `None` if it did not.
        quarantined: Its rows that cannot be read.
    """

    profile: Profile
    window: Window
    events: tuple[Event, ...] = ()
    error: HistoryError | None = None
    quarantined: tuple[QuarantinedRow, ...] = ()


@attrs.frozen
class QuarantineEntry:
    """A row that cannot be read.

    Attributes:
        reason: Why.
        raw: The row's bytes, as the server sent them.
        place: Its number in the chunk, from 0.
        datetime: When it happened, where that much can be read.
    """

    reason: str
    raw: bytes
    place: int
    datetime: dt.datetime | None


@attrs.frozen
class UnitResult(Generic[T]):
    """The rows that were fetched of some days of a unit.

    Attributes:
        unit: What was asked for.
        window: The days; a unit is complete with the window that reaches its far end.
        items: The rows in order.
        error: Why the window failed; `None` if it has not.
        attempts: How many requests were sent for it.
        quarantined: Its rows that cannot be read.
        served_at: When the server says that it made the response; `None` if it does not say, or the window failed.
    """

    unit: Unit
    window: Window
    items: list[T]
    error: HistoryError | None = None
    attempts: int = 0
    quarantined: tuple[QuarantineEntry, ...] = ()
    served_at: dt.datetime | None = None
