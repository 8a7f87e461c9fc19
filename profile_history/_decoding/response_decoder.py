"""One verified answer becomes rows in order: read, checked, and sorted, slice by slice. No I/O."""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Callable, Generator, Iterable
from operator import attrgetter
from typing import Generic, TypeVar

import attrs

from profile_history._decoding.ordering import (
    Labelled,
    Span,
    arranged,
    arranged_alone,
    follow_one_another,
    follow_one_another_backwards,
)
from profile_history._decoding.row_decoder import Batch, Lane
from profile_history._decoding.timestamps import Stamp, read_stamps
from profile_history._protocol.chunking import Chunk
from profile_history._protocol.envelope import Rows
from profile_history.errors import DecodeError, ResponseError
from profile_history.results import Quarantined
from profile_history.windows import Order, Window

T = TypeVar("T")

# Bytes; of a longer answer only the stamps are read before its rows are, which costs time but no memory.
_LARGE = 1024 * 1024
_label_of = attrgetter("datetime")
_zone_of = attrgetter("tzinfo")


@attrs.frozen
class Unpacking(Generic[T]):
    """What to make of an answer.

    Attributes:
        lane: What its rows are handed out as.
        window: The days to keep.
        order: Which end comes first.
        owner: The `profile_id` that was asked for, where it was asked by that; else "".
        strict: Whether a row that cannot be read is an error.
        quarantine: Told about a row that cannot be read, and its number in the answer.
    """

    lane: Lane[T]
    window: Window
    order: Order
    owner: str
    strict: bool
    quarantine: Callable[[Quarantined], None]

    def batches(self, rows: Rows) -> Generator[list[T], None, None]:
        """The rows of the window in order; empty lists stand where the caller can pause.

        Nothing but empty lists is given before all of the answer was checked.

        Raises:
            DecodeError: A row cannot be read, and `strict` says so.
            ResponseError: Every row is of another profile than the one asked for.
        """
        sequence = None
        if rows.size > _LARGE and not self.strict:
            sequence = yield from self._sequence(rows)
        if sequence is not None:
            for chunk in sequence:
                batch = self._read(chunk)
                self._set_apart(batch.quarantined)
                yield arranged_alone(_labelled(batch), self.window, self.order).items
            return
        owners = Owners(self.owner)
        labelled: deque[Labelled[T]] = deque()
        apart: list[Quarantined] = []
        number = 0
        for chunk in rows.chunks:
            batch = self._read(chunk)
            owners.note(batch.stamps)
            if self.strict:
                self._refuse(batch.quarantined, number)
            labelled.append(_labelled(batch))
            apart += batch.quarantined
            number += chunk.rows
            if len(rows.chunks) > 1:
                yield []
        owners.check()
        self._set_apart(apart)
        yield from arranged(labelled, self.window, self.order)

    def _read(self, chunk: Chunk) -> Batch[T]:
        return self.lane.read(chunk.text, usual=chunk.usual)

    def _refuse(self, apart: list[Quarantined], number: int) -> None:
        for row in filter(self._concerns, apart):
            raise DecodeError(f"a row cannot be read: {row.reason}", path=f"$.data[{number + row.place}]")

    def _set_apart(self, apart: list[Quarantined]) -> None:
        for row in filter(self._concerns, apart):
            self.quarantine(row)

    def _concerns(self, row: Quarantined) -> bool:
        return row.datetime is None or self.window.holds(row.datetime.date())

    def _sequence(self, rows: Rows) -> Generator[list[T], None, Iterable[Chunk] | None]:
        """The order in which to read the slices, if the order of their rows allows to read one after another."""
        owners = Owners(self.owner)
        zones: set[dt.tzinfo | None] = set()
        spans = []
        for chunk in rows.chunks:
            stamps = read_stamps(chunk.text) if chunk.usual else None
            if stamps is None:
                return None
            owners.note(stamps)
            labels = list(map(_label_of, stamps))
            zones.update(map(_zone_of, labels))
            if len(zones) > 1:
                return None
            ends = Span(max(labels), min(labels))
            spans.append(ends if self.order is Order.NEWEST else Span(ends.last, ends.first))
            yield []
        owners.check()
        if follow_one_another(spans, self.order):
            return rows.chunks
        return reversed(rows.chunks) if follow_one_another_backwards(spans, self.order) else None


def _labelled(batch: Batch[T]) -> Labelled[T]:
    return Labelled(list(map(_label_of, batch.stamps)), batch.items)


class Owners:
    """Whose rows an answer holds. A cache on the way that mixes answers up would hand out somebody else's history."""

    def __init__(self, wanted: str) -> None:
        self._wanted = wanted.lower()
        self._found = False
        self._strangers = False

    def note(self, stamps: Iterable[Stamp]) -> None:
        """Takes some rows of the answer into account."""
        if not self._wanted or self._found:
            return
        for stamp in stamps:
            owner = (stamp.profile_id or "").lower()
            if owner == self._wanted:
                self._found = True
                return
            self._strangers = self._strangers or bool(owner)

    def check(self) -> None:
        """Checks the answer when all of it was noted.

        Raises:
            ResponseError: Every row is of another profile than the one asked for.
        """
        if self._strangers and not self._found:
            raise ResponseError(
                "every row of the answer belongs to another profile_id than the one that was asked for; "
                "look for a cache between here and the server"
            )
