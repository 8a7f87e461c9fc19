"""Closed ranges of days, and the algebra on them. No I/O, no clock: today's date is passed in."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
from collections.abc import Iterator
from enum import StrEnum
from typing import TypeAlias

import attrs

from profile_history._checks import describe
from profile_history._deprecated import warn_deprecated
from profile_history.errors import ConfigurationError

Day: TypeAlias = dt.date | str
"""A day as callers pass it: a date, or "YYYY-MM-DD"."""

_DAY = dt.timedelta(days=1)
_DAY_TEXT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

# Only where an open end has to be given a length: no history is expected before it.
_NOTIONAL_START = dt.date(2010, 1, 1)


class Order(StrEnum):
    """The end of a history that comes first."""

    NEWEST = "newest"
    OLDEST = "oldest"


class Border(StrEnum):
    """The rule for the days that a request names, given the days that are wanted.

    Nobody documents whether `date_to` is inclusive, nor in which time zone the bounds are read.

    `overlap` asks one day more before and two days more after, one for an exclusive end and one for a clock up to a
    day off, and keeps the events labelled with the wanted days. `exact` asks the wanted days and keeps what comes.
    """

    OVERLAP = "overlap"
    EXACT = "exact"

    def widen(self, window: Window) -> Window:
        """Return the days to put into the request for `window`; an open end stays open, the calendar's ends hold."""
        if self is Border.EXACT:
            return window
        return Window(_move_day(window.date_from, -1), _move_day(window.date_to, 2))


@attrs.frozen(order=True)
class Window:
    """A closed range of days.

    Attributes:
        date_from: The first day, inclusive; `None` if that end is open.
        date_to: The last day, inclusive; `None` if that end is open.

    Example:
        >>> january = Window(dt.date(2024, 1, 1), dt.date(2024, 1, 31))
        >>> january.holds(dt.date(2024, 1, 31))
        True
        >>> str(january)
        '2024-01-01..2024-01-31'
    """

    date_from: dt.date | None = None
    date_to: dt.date | None = None

    def __str__(self) -> str:
        return f"{self.date_from or ''}..{self.date_to or ''}"

    def holds(self, day: dt.date) -> bool:
        """Tell whether `day` is one of the window's days."""
        return (self.date_from is None or self.date_from <= day) and (self.date_to is None or day <= self.date_to)

    def days(self, today: dt.date) -> int:
        """Return how many days the window has; an open start counts from 2010, an open end up to `today`."""
        return (self._end(today) - self._start(today)).days + 1

    def cut(self, days: int, order: Order, today: dt.date) -> tuple[Window, Window | None]:
        """Take the first part off.

        The parts are laid from the window's start, so both orders yield the same ones; the latest may be shorter.

        Args:
            days: How many days a part has.
            order: From which end.
            today: Where an open end is taken to be.

        Returns:
            The first part, and what is left of the window; `None` if nothing is.
        """
        parts = -(-self.days(today) // days)
        if parts == 1:
            return self, None
        start = self._start(today)
        border = start + _DAY * (days if order is Order.OLDEST else days * (parts - 1))
        before, after = Window(self.date_from, border - _DAY), Window(border, self.date_to)
        return (before, after) if order is Order.OLDEST else (after, before)

    def divide(self, days: int, order: Order, today: dt.date) -> Iterator[Window]:
        """Yield the whole window in parts of `days` days; nothing is computed ahead.

        Args:
            days: How many days a part has; the latest may have fewer.
            order: From which end.
            today: Where an open end is taken to be.

        Yields:
            The parts, in order.

        Example:
            >>> january = Window(dt.date(2024, 1, 1), dt.date(2024, 1, 31))
            >>> [str(part) for part in january.divide(20, Order.OLDEST, dt.date(2024, 6, 1))]
            ['2024-01-01..2024-01-20', '2024-01-21..2024-01-31']
        """
        rest: Window | None = self
        while rest is not None:
            part, rest = rest.cut(days, order, today)
            yield part

    def join(self, later: Window) -> Window:
        """Return this window and the one that begins the day after it ends, as one."""
        return Window(self.date_from, later.date_to)

    def tiles(self, days: int, order: Order, today: dt.date) -> Iterator[Window]:
        """Return `divide(...)`, by its old name.

        Args:
            days: As there.
            order: As there.
            today: As there.
        """
        warn_deprecated("Window.tiles", "Window.divide")
        return self.divide(days, order, today)

    def joined(self, later: Window) -> Window:
        """Return `join(...)`, under its old name."""
        warn_deprecated("Window.joined", "Window.join")
        return self.join(later)

    def _start(self, today: dt.date) -> dt.date:
        return self.date_from or min(_NOTIONAL_START, self._end(today))

    def _end(self, today: dt.date) -> dt.date:
        return self.date_to or max(today, self.date_from or today)


def parse_window(date_from: object, date_to: object) -> Window:
    """Return the window of the two dates that a caller passed.

    Args:
        date_from: The first day, a `datetime.date`, "YYYY-MM-DD", or `None` for an open start.
        date_to: The last day, inclusive, likewise.

    Raises:
        ConfigurationError: A value is no day, or `date_to` lies before `date_from`.
    """
    window = Window(parse_day("date_from", date_from), parse_day("date_to", date_to))
    if window.date_from and window.date_to and window.date_to < window.date_from:
        raise ConfigurationError(f"date_to {window.date_to} lies before date_from {window.date_from}; swap them")
    return window


def parse_day(name: str, value: object) -> dt.date | None:
    """Return the day that a caller passed, or `None` if there is none.

    Args:
        name: What the value is called, for the message.
        value: A `datetime.date`, "YYYY-MM-DD", or `None`.

    Raises:
        ConfigurationError: The value is no day.
    """
    if value is None:
        return None
    if isinstance(value, dt.datetime):
        raise ConfigurationError(
            f"{name} is a day, and {value!r} is a moment: the API takes whole days in the server's own time zone. "
            f"Pass {name}=moment.date(), or the text {value.date().isoformat()!r}"
        )
    if isinstance(value, dt.date):
        return value
    if isinstance(value, str):
        if _DAY_TEXT.fullmatch(value):
            with contextlib.suppress(ValueError):
                return dt.date.fromisoformat(value)
        raise ConfigurationError(f'{name} is a day such as "2017-01-31", not {describe(value)}')
    raise ConfigurationError(f'{name} is a datetime.date or a text such as "2017-01-31", not {describe(value)}')


def _move_day(day: dt.date | None, days: int) -> dt.date | None:
    if day is None:
        return None
    ordinal = min(max(day.toordinal() + days, dt.date.min.toordinal()), dt.date.max.toordinal())
    return dt.date.fromordinal(ordinal)
