"""One verified response becomes rows in order: decoded, checked, and sorted, chunk by chunk. No I/O."""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Callable, Generator, Iterable
from operator import attrgetter
from typing import Generic, TypeVar

import attrs

from profile_history._decoding.ordering import (
    ChunkOrder,
    KeyedRows,
    find_chunk_order,
    find_span,
    sort_chunk,
    sort_chunks,
)
from profile_history._decoding.row_decoder import DecodedChunk, RowDecoder
from profile_history._decoding.timestamps import RowKey, read_row_keys
from profile_history._protocol.chunking import Chunk
from profile_history._protocol.envelope import Rows
from profile_history.errors import DecodeError, ResponseError
from profile_history.results import QuarantineEntry
from profile_history.windows import Order, Window

T = TypeVar("T")

# Bytes. Of a longer response the keys of all rows are read before any row is decoded: that takes more time, and saves
# the memory of all its decoded rows.
LARGE = 1024 * 1024
_timestamp_of = attrgetter("datetime")
_zone_of = attrgetter("tzinfo")


@attrs.frozen
class ResponseDecoder(Generic[T]):
    """A decoder for the response to one window of one profile.

    Attributes:
        row_decoder: The decoder of a chunk, which decides what the rows are handed out as.
        window: The days to keep.
        order: Which end comes first.
        owner: The `profile_id` that was asked for; "" if the profile is known by something else.
        strict: Whether a row that cannot be read is an error.
        quarantine: Called with each row that cannot be read.
    """

    row_decoder: RowDecoder[T]
    window: Window
    order: Order
    owner: str
    strict: bool
    quarantine: Callable[[QuarantineEntry], None]

    def decode(self, rows: Rows) -> Generator[list[T], None, None]:
        """Yield the rows of the window in order.

        No row is yielded before the whole response was checked.

        Yields:
            Rows; or an empty list between two steps, so that the caller can pause.

        Raises:
            DecodeError: A row cannot be read, and `strict` says that this is an error.
            ResponseError: Every row is of another profile than the one asked for.
        """
        if rows.size > LARGE and not self.strict:
            sequence = yield from self._find_sequence(rows)
            if sequence is not None:
                yield from self._decode_in_sequence(sequence)
                return
        ownership = OwnershipCheck(self.owner)
        chunks: deque[KeyedRows[T]] = deque()
        quarantined: list[QuarantineEntry] = []
        number = 0
        for chunk in rows.chunks:
            decoded = self._decode_chunk(chunk)
            ownership.observe(decoded.keys)
            if self.strict:
                self._refuse(decoded.quarantined, number)
            chunks.append(_key_rows(decoded))
            quarantined += decoded.quarantined
            number += chunk.rows
            if len(rows.chunks) > 1:
                yield []
        ownership.check()
        self._quarantine(quarantined)
        yield from sort_chunks(chunks, self.window, self.order)

    def _decode_in_sequence(self, sequence: Iterable[Chunk]) -> Generator[list[T], None, None]:
        for chunk in sequence:
            decoded = self._decode_chunk(chunk)
            self._quarantine(decoded.quarantined)
            yield sort_chunk(_key_rows(decoded), self.window, self.order).rows

    def _find_sequence(self, rows: Rows) -> Generator[list[T], None, Iterable[Chunk] | None]:
        """Return the sequence in which chunks can be decoded one after another, or `None` if they have to be merged."""
        ownership = OwnershipCheck(self.owner)
        zones: set[dt.tzinfo | None] = set()
        spans = []
        for chunk in rows.chunks:
            keys = read_row_keys(chunk.text) if chunk.short_timestamps else None
            if keys is None:
                return None
            ownership.observe(keys)
            timestamps = list(map(_timestamp_of, keys))
            zones.update(map(_zone_of, timestamps))
            # Moments of different zones compare by more than their labels, so they say nothing about the order.
            if len(zones) > 1:
                return None
            spans.append(find_span(timestamps, self.order))
            yield []
        ownership.check()
        match find_chunk_order(spans, self.order):
            case ChunkOrder.SORTED:
                return rows.chunks
            case ChunkOrder.REVERSED:
                return reversed(rows.chunks)
            case ChunkOrder.MIXED:  # pragma: no branch (there is no fourth)
                return None

    def _decode_chunk(self, chunk: Chunk) -> DecodedChunk[T]:
        return self.row_decoder.decode(chunk.text, short_timestamps=chunk.short_timestamps)

    def _refuse(self, quarantined: list[QuarantineEntry], number: int) -> None:
        for row in filter(self._concerns_window, quarantined):
            raise DecodeError(f"a row cannot be read: {row.reason}", path=f"$.data[{number + row.place}]")

    def _quarantine(self, quarantined: list[QuarantineEntry]) -> None:
        for row in filter(self._concerns_window, quarantined):
            self.quarantine(row)

    def _concerns_window(self, row: QuarantineEntry) -> bool:
        # Windows overlap: a row of another day is quarantined by the window of its day.
        return row.datetime is None or self.window.holds(row.datetime.date())


def _key_rows(decoded: DecodedChunk[T]) -> KeyedRows[T]:
    return KeyedRows(list(map(_timestamp_of, decoded.keys)), decoded.rows)


class OwnershipCheck:
    """A check of whose rows a response holds, against a cache between here and the server that mixes responses up."""

    def __init__(self, wanted: str) -> None:
        self._wanted = wanted.lower()
        self._found = False
        self._strangers = False

    def observe(self, keys: Iterable[RowKey]) -> None:
        """Take some rows of the response into account."""
        if not self._wanted or self._found:
            return
        for key in keys:
            owner = (key.profile_id or "").lower()
            if owner == self._wanted:
                self._found = True
                return
            self._strangers = self._strangers or bool(owner)

    def check(self) -> None:
        """Check the response once all of it was observed.

        Raises:
            ResponseError: Every row is of another profile than the one asked for.
        """
        if self._strangers and not self._found:
            raise ResponseError(
                "every row of the response belongs to another profile_id than the one that was asked for; "
                "look for a cache between here and the server"
            )
