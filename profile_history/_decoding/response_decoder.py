"""One verified answer becomes rows in order: read, checked, and sorted, slice by slice. No I/O."""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Callable, Generator, Iterable
from operator import attrgetter
from typing import Generic, TypeVar

import attrs

from profile_history._decoding.ordering import (
    KeyedRows,
    Span,
    is_sorted,
    is_sorted_reversed,
    sort_chunk,
    sort_chunks,
)
from profile_history._decoding.row_decoder import DecodedChunk, RowDecoder
from profile_history._decoding.timestamps import RowKey, read_row_keys
from profile_history._protocol.chunking import Chunk
from profile_history._protocol.envelope import Rows
from profile_history.errors import DecodeError, ResponseError
from profile_history.results import Quarantined
from profile_history.windows import Order, Window

T = TypeVar("T")

# Bytes; of a longer answer only the keys are read before its rows are, which costs time but no memory.
_LARGE = 1024 * 1024
_label_of = attrgetter("datetime")
_zone_of = attrgetter("tzinfo")


@attrs.frozen
class ResponseDecoder(Generic[T]):
    """What to make of an answer.

    Attributes:
        row_decoder: What its rows are handed out as.
        window: The days to keep.
        order: Which end comes first.
        owner: The `profile_id` that was asked for, where it was asked by that; else "".
        strict: Whether a row that cannot be read is an error.
        quarantine: Told about a row that cannot be read, and its number in the answer.
    """

    row_decoder: RowDecoder[T]
    window: Window
    order: Order
    owner: str
    strict: bool
    quarantine: Callable[[Quarantined], None]

    def decode(self, rows: Rows) -> Generator[list[T], None, None]:
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
                yield sort_chunk(_keyed(batch), self.window, self.order).rows
            return
        ownership = OwnershipCheck(self.owner)
        labelled: deque[KeyedRows[T]] = deque()
        apart: list[Quarantined] = []
        number = 0
        for chunk in rows.chunks:
            batch = self._read(chunk)
            ownership.observe(batch.keys)
            if self.strict:
                self._refuse(batch.quarantined, number)
            labelled.append(_keyed(batch))
            apart += batch.quarantined
            number += chunk.rows
            if len(rows.chunks) > 1:
                yield []
        ownership.check()
        self._set_apart(apart)
        yield from sort_chunks(labelled, self.window, self.order)

    def _read(self, chunk: Chunk) -> DecodedChunk[T]:
        return self.row_decoder.decode(chunk.text, short_timestamps=chunk.short_timestamps)

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
        ownership = OwnershipCheck(self.owner)
        zones: set[dt.tzinfo | None] = set()
        spans = []
        for chunk in rows.chunks:
            keys = read_row_keys(chunk.text) if chunk.short_timestamps else None
            if keys is None:
                return None
            ownership.observe(keys)
            labels = list(map(_label_of, keys))
            zones.update(map(_zone_of, labels))
            if len(zones) > 1:
                return None
            ends = Span(max(labels), min(labels))
            spans.append(ends if self.order is Order.NEWEST else Span(ends.last, ends.first))
            yield []
        ownership.check()
        if is_sorted(spans, self.order):
            return rows.chunks
        return reversed(rows.chunks) if is_sorted_reversed(spans, self.order) else None


def _keyed(batch: DecodedChunk[T]) -> KeyedRows[T]:
    return KeyedRows(list(map(_label_of, batch.keys)), batch.rows)


class OwnershipCheck:
    """Whose rows an answer holds. A cache on the way that mixes answers up would hand out somebody else's history."""

    def __init__(self, wanted: str) -> None:
        self._wanted = wanted.lower()
        self._found = False
        self._strangers = False

    def observe(self, keys: Iterable[RowKey]) -> None:
        """Takes some rows of the answer into account."""
        if not self._wanted or self._found:
            return
        for key in keys:
            owner = (key.profile_id or "").lower()
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
