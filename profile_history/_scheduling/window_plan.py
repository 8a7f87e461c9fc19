"""The plan for one profile's range: which window comes next, how long it is, and what may be handed out. No I/O."""

from __future__ import annotations

import datetime as dt
from collections import deque
from enum import Enum, auto
from typing import Generic, TypeVar

import attrs

from profile_history.errors import ConfigurationError
from profile_history.options import WindowRule
from profile_history.windows import Order, Window

T = TypeVar("T")

# After a success at a shortened length it is worth trying a longer one, but not at once: the failure that
# shortened it cost minutes.
_SUCCESSES_TO_GROW = 3


class SegmentState(Enum):
    """The progress of a segment."""

    WAITING = auto()
    IN_FLIGHT = auto()
    COMPLETED = auto()


@attrs.define(eq=False)
class Segment(Generic[T]):
    """A part of the plan: days that wait, a window in flight, or a window with its outcome."""

    window: Window
    state: SegmentState = SegmentState.WAITING
    outcome: T | None = None


class WindowPlan(Generic[T]):
    """The windows of one range, in order, as many ahead as the caller wishes, and their outcomes in the same order.

    With the rule "auto" a window is first as long as the whole range. `split` puts a window that proved too much
    back and halves the length; after a few successes the length doubles again. From a split until a window of the new
    length succeeds, a window is given only when no other one is in flight.

    Args:
        asked: The range.
        rule: "auto", a number of days per window, or `None` for one window.
        order: Which end of the range comes first.
        today: Where a range with an open end is taken to end.

    Raises:
        ConfigurationError: A number of days was given for a range with an open end.
    """

    def __init__(self, asked: Window, *, rule: WindowRule, order: Order, today: dt.date) -> None:
        if isinstance(rule, int) and None in (asked.date_from, asked.date_to):
            raise ConfigurationError(
                f'window={rule} cuts a range with two ends; pass date_from and date_to, or use window="auto"'
            )
        self._segments: deque[Segment[T]] = deque([Segment(asked)])
        self.adaptive: bool = rule == "auto"
        self._length = rule if isinstance(rule, int) else None
        self._order = order
        self._today = today
        self._successes = 0
        self.was_split: bool = False
        # As long as no window of this length has succeeded, it is yet to be seen that shorter ones help.
        self.unproven_length: int | None = None
        self.split_helped: bool = False
        self._bad_days = 0
        self._refuted = False

    @property
    def waiting(self) -> bool:
        """Tell whether there is a window to take."""
        waiting = any(segment.state is SegmentState.WAITING for segment in self._segments)
        return waiting and not (self.unproven_length and self._is_in_flight)

    @property
    def finished(self) -> bool:
        """Tell whether every outcome was handed out."""
        return not self._segments

    def take(self, *, held_back: bool = False) -> Segment[T] | None:
        """Return the next window to ask for; `None` if there is none.

        Args:
            held_back: Whether to return it even if it should wait for what is in flight.
        """
        # That fewer days at once help is a guess until it has proved right; a wrong one shall not cost many requests.
        if self.unproven_length and self._is_in_flight and not held_back:
            return None
        for place, segment in enumerate(self._segments):
            if segment.state is SegmentState.WAITING:
                if self._length is not None:
                    segment.window, rest = segment.window.cut(self._length, self._order, self._today)
                    if rest is not None:
                        self._segments.insert(place + 1, Segment(rest))
                segment.state = SegmentState.IN_FLIGHT
                return segment
        return None

    def is_head(self, segment: Segment[T]) -> bool:
        """Tell whether everything else waits for this window's outcome."""
        return bool(self._segments) and self._segments[0] is segment

    def can_split(self, segment: Segment[T]) -> bool:
        """Tell whether `split` could help."""
        return self.adaptive and not self._refuted and segment.window.days(self._today) > 1

    def split(self, segment: Segment[T]) -> None:
        """Put a window that proved too much back; the next ones are half as long."""
        segment.state = SegmentState.WAITING
        self._length = self.unproven_length = -(-segment.window.days(self._today) // 2)
        self._successes = 0
        self.was_split = True
        self._join_waiting()

    def complete(self, segment: Segment[T], outcome: T, *, success: bool, refuting_days: int = 0) -> list[Segment[T]]:
        """Record the outcome of a window.

        Args:
            segment: The window, as `take` has returned it.
            outcome: What became of it.
            success: Whether it was fetched; enough of these make the next windows longer again.
            refuting_days: How many single days that fail like this, in a row, refute that fewer days help; 0 if none
                do. Then the rest is asked for once more as one window.

        Returns:
            The segments that are now next in order, with their outcomes; none while one before them is missing.
        """
        segment.outcome = outcome
        segment.state = SegmentState.COMPLETED
        if self.was_split:
            days = segment.window.days(self._today)
            if success:
                self._learn_success(days)
            elif refuting_days and days == 1:
                self._learn_bad_day(refuting_days)
        next_in_order = []
        while self._segments and self._segments[0].state is SegmentState.COMPLETED:
            next_in_order.append(self._segments.popleft())
        return next_in_order

    @property
    def _is_in_flight(self) -> bool:
        return any(segment.state is SegmentState.IN_FLIGHT for segment in self._segments)

    def _learn_success(self, days: int) -> None:
        self._bad_days = 0
        # A longer window, sent before the split, proves nothing.
        if self.unproven_length and days <= self.unproven_length:
            self.unproven_length, self.split_helped = None, True
        if self._length is not None:
            self._successes += 1
            if self._successes == _SUCCESSES_TO_GROW:
                self._length, self._successes = self._length * 2, 0

    def _learn_bad_day(self, refuting_days: int) -> None:
        self._bad_days += 1
        if self._bad_days >= refuting_days:
            self._refuted, self.unproven_length, self._length = True, None, None
            self._join_waiting()

    def _join_waiting(self) -> None:
        joined: deque[Segment[T]] = deque()
        for segment in self._segments:
            last = joined[-1] if joined else None
            if last is not None and last.state is segment.state is SegmentState.WAITING:
                newest = self._order is Order.NEWEST
                early, late = (segment, last) if newest else (last, segment)
                last.window = early.window.join(late.window)
            else:
                joined.append(segment)
        self._segments = joined
