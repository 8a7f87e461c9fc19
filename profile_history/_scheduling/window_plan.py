"""The walk over one profile's range: which window comes next, how long it is, and what may be handed out. No I/O."""

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


class _State(Enum):
    WAITING = auto()
    ON_ITS_WAY = auto()
    SETTLED = auto()


@attrs.define(eq=False)
class Piece(Generic[T]):
    """A part of the walk: days still waiting, a window on its way, or a window with its outcome."""

    window: Window
    _state: _State = _State.WAITING
    outcome: T | None = None


class Walk(Generic[T]):
    """Hands out windows in order, as many ahead as the caller wishes, and their outcomes in the same order.

    With the rule "auto" a window is first as long as the whole range. `shorten` puts a window that proved too much
    back and halves the length; after a few successes the length doubles again.
    """

    def __init__(self, asked: Window, *, rule: WindowRule, order: Order, today: dt.date) -> None:
        if isinstance(rule, int) and None in (asked.date_from, asked.date_to):
            raise ConfigurationError(
                f'window={rule} cuts a range with two ends; pass date_from and date_to, or use window="auto"'
            )
        self._pieces: deque[Piece[T]] = deque([Piece(asked)])
        self.adaptive = rule == "auto"
        self._length = rule if isinstance(rule, int) else None
        self._order = order
        self._today = today
        self._successes = 0

    @property
    def waiting(self) -> bool:
        """Whether days are left that nobody asked for yet."""
        return any(piece._state is _State.WAITING for piece in self._pieces)

    @property
    def finished(self) -> bool:
        """Whether every outcome was handed out."""
        return not self._pieces

    def take(self) -> Piece[T] | None:
        """The next window to ask for, or None while there is none."""
        for place, piece in enumerate(self._pieces):
            if piece._state is _State.WAITING:
                if self._length is not None:
                    piece.window, rest = piece.window.cut(self._length, self._order, self._today)
                    if rest is not None:
                        self._pieces.insert(place + 1, Piece(rest))
                piece._state = _State.ON_ITS_WAY
                return piece
        return None

    def leads(self, piece: Piece[T]) -> bool:
        """Whether everything else waits for this window's outcome."""
        return bool(self._pieces) and self._pieces[0] is piece

    def divisible(self, piece: Piece[T]) -> bool:
        """Whether `shorten` could help."""
        return self.adaptive and piece.window.days(self._today) > 1

    def shorten(self, piece: Piece[T]) -> None:
        """Puts a window that proved too much back; the next ones are half as long."""
        self._length = -(-piece.window.days(self._today) // 2)
        self._successes = 0
        piece._state = _State.WAITING
        self._join_waiting()

    def settle(self, piece: Piece[T], outcome: T, *, success: bool) -> list[Piece[T]]:
        """Takes a window's outcome; gives the pieces that are now next in order, with their outcomes."""
        piece.outcome = outcome
        piece._state = _State.SETTLED
        if success and self.adaptive and self._length is not None:
            self._successes += 1
            if self._successes == _SUCCESSES_TO_GROW:
                self._length, self._successes = self._length * 2, 0
        next_in_order = []
        while self._pieces and self._pieces[0]._state is _State.SETTLED:
            next_in_order.append(self._pieces.popleft())
        return next_in_order

    def _join_waiting(self) -> None:
        joined: deque[Piece[T]] = deque()
        for piece in self._pieces:
            last = joined[-1] if joined else None
            if last is not None and last._state is piece._state is _State.WAITING:
                newest = self._order is Order.NEWEST
                early, late = (piece, last) if newest else (last, piece)
                last.window = early.window.joined(late.window)
            else:
                joined.append(piece)
        self._pieces = joined
