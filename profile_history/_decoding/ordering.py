"""The order of a window's rows: whether its chunks come sorted, and how they are sorted in short steps. No I/O.

A server that sorts its rows sends chunks that are sorted as a whole, or are once the last chunk comes first. Such
chunks are sorted and handed out one by one; only those of any other response are merged. `find_chunk_order` decides
which it is, whatever the rows are handed out as.
"""

from __future__ import annotations

import datetime as dt
import heapq
from collections import deque
from collections.abc import Iterator, Sequence
from enum import Enum, auto
from itertools import islice, pairwise
from operator import attrgetter, itemgetter
from typing import Generic, NamedTuple, TypeVar

from profile_history.windows import Order, Window

T = TypeVar("T")

# Rows. Merging so many takes well under the 5 ms that the loop may be held.
_MERGED_AT_ONCE = 256
_zone_of = attrgetter("tzinfo")


class KeyedRows(NamedTuple, Generic[T]):
    """The rows of one chunk, as events, as bytes or by their numbers, and the timestamp of each."""

    timestamps: list[dt.datetime]
    rows: list[T]


class Span(NamedTuple):
    """The first and the last timestamp of a sorted chunk."""

    first: dt.datetime
    last: dt.datetime


class ChunkOrder(Enum):
    """The order in which the chunks of a response follow one another."""

    SORTED = auto()
    REVERSED = auto()
    MIXED = auto()


def find_chunk_order(spans: Sequence[Span], order: Order) -> ChunkOrder:
    """Tell how sorted chunks follow one another.

    Args:
        spans: Of each chunk that has rows, in the server's order.
        order: Which end is wanted first.

    Returns:
        `SORTED` if the chunks are sorted as a whole, `REVERSED` if they are once the last comes first, else `MIXED`.
    """
    if is_sorted(spans, order):
        return ChunkOrder.SORTED
    return ChunkOrder.REVERSED if is_sorted_reversed(spans, order) else ChunkOrder.MIXED


def guess_chunk_order(first: Span, order: Order) -> ChunkOrder:
    """Return how the chunks of a response follow one another if its server sorts its rows.

    Args:
        first: The first and the last timestamp of the first chunk as the server sent it.
        order: Which end is wanted first.
    """
    against = first.first < first.last if order is Order.NEWEST else first.first > first.last
    return ChunkOrder.REVERSED if against else ChunkOrder.SORTED


def is_sorted(spans: Sequence[Span], order: Order) -> bool:
    """Tell whether sorted chunks are sorted as a whole.

    Args:
        spans: Of each chunk, in the server's order.
        order: Which end is wanted first.
    """
    if order is Order.NEWEST:
        return all(before.last >= after.first for before, after in pairwise(spans))
    return all(before.last <= after.first for before, after in pairwise(spans))


def is_sorted_reversed(spans: Sequence[Span], order: Order) -> bool:
    """Tell whether sorted chunks are sorted as a whole once the last comes first.

    Args:
        spans: Of each chunk, in the server's order.
        order: Which end is wanted first.
    """
    # Strict: if two chunks share a moment, reversing the chunks would reverse the ties, which keep the server's order.
    if order is Order.NEWEST:
        return all(before.first < after.last for before, after in pairwise(spans))
    return all(before.first > after.last for before, after in pairwise(spans))


def find_span(timestamps: Sequence[dt.datetime], order: Order) -> Span:
    """Return the span of a chunk as it is once the chunk is sorted.

    Args:
        timestamps: Those of its rows, in any order; at least one.
        order: Which end is wanted first.
    """
    least, most = min(timestamps), max(timestamps)
    return Span(most, least) if order is Order.NEWEST else Span(least, most)


def sort_chunks(chunks: deque[KeyedRows[T]], window: Window, order: Order) -> Iterator[list[T]]:
    """Yield the rows of a window's days, sorted by their timestamps as labelled.

    The sort is stable: rows of the same moment keep the server's order. Sorted chunks that follow one another are
    yielded as they are; any others are merged, a few hundred rows at a time. A chunk is released when it is yielded.

    Args:
        chunks: The rows in the server's order; they are used up.
        window: The days to keep.
        order: Which end comes first.

    Yields:
        Rows; or an empty list between two steps, so that the caller can pause.
    """
    if len(chunks) == 1:
        yield sort_chunk(chunks.popleft(), window, order).rows
        return
    yield from _unify_zones(chunks)
    for _ in range(len(chunks)):
        chunk = _sort_and_trim(chunks.popleft(), window, order)
        if chunk.rows:
            chunks.append(chunk)
        yield []
    match find_chunk_order([Span(chunk.timestamps[0], chunk.timestamps[-1]) for chunk in chunks], order):
        case ChunkOrder.SORTED:
            while chunks:
                yield chunks.popleft().rows
        case ChunkOrder.REVERSED:
            while chunks:
                yield chunks.pop().rows
        case ChunkOrder.MIXED:  # pragma: no branch (there is no fourth)
            merged = heapq.merge(*map(_drain, chunks), key=itemgetter(0), reverse=order is Order.NEWEST)
            while some := [row for _, row in islice(merged, _MERGED_AT_ONCE)]:
                yield some


def sort_chunk(chunk: KeyedRows[T], window: Window, order: Order) -> KeyedRows[T]:
    """Return the rows of one chunk that are of a window's days, sorted by their timestamps as labelled.

    Args:
        chunk: The rows in the server's order.
        window: The days to keep.
        order: Which end comes first.
    """
    if len(set(map(_zone_of, chunk.timestamps))) > 1:
        chunk = _drop_zones(chunk)
    return _sort_and_trim(chunk, window, order)


def _sort_and_trim(chunk: KeyedRows[T], window: Window, order: Order) -> KeyedRows[T]:
    return _trim(_sort(chunk, newest=order is Order.NEWEST), window) if chunk.rows else chunk


def _unify_zones(chunks: deque[KeyedRows[T]]) -> Iterator[list[T]]:
    """Drop the zones if they differ, since moments of different zones compare by more than their labels."""
    zones: set[dt.tzinfo | None] = set()
    for chunk in chunks:
        zones.update(map(_zone_of, chunk.timestamps))
        yield []
    if len(zones) > 1:
        for place, chunk in enumerate(chunks):
            chunks[place] = _drop_zones(chunk)
            yield []


def _drop_zones(chunk: KeyedRows[T]) -> KeyedRows[T]:
    return KeyedRows([timestamp.replace(tzinfo=None) for timestamp in chunk.timestamps], chunk.rows)


def _sort(chunk: KeyedRows[T], *, newest: bool) -> KeyedRows[T]:
    # To sort the timestamps alone is quick, and most often shows that the rows are in order already.
    timestamps = sorted(chunk.timestamps, reverse=newest)
    if timestamps == chunk.timestamps:
        return chunk
    places = sorted(range(len(timestamps)), key=chunk.timestamps.__getitem__, reverse=newest)
    return KeyedRows(timestamps, [chunk.rows[place] for place in places])


def _trim(chunk: KeyedRows[T], window: Window) -> KeyedRows[T]:
    # The chunk is sorted, so its ends decide whether all of it is inside.
    if window.holds(chunk.timestamps[0].date()) and window.holds(chunk.timestamps[-1].date()):
        return chunk
    inside = [window.holds(timestamp.date()) for timestamp in chunk.timestamps]
    timestamps, rows = chunk
    return KeyedRows(
        [timestamp for timestamp, keep in zip(timestamps, inside, strict=True) if keep],
        [row for row, keep in zip(rows, inside, strict=True) if keep],
    )


def _drain(chunk: KeyedRows[T]) -> Iterator[tuple[dt.datetime, T]]:
    """Yield the rows of a chunk with their timestamps, and release each row as it is yielded."""
    timestamps, rows = iter(chunk.timestamps), chunk.rows
    rows.reverse()
    for timestamp in timestamps:
        yield timestamp, rows.pop()
