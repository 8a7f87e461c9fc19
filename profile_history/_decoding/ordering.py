"""The rows of one window, put in order without holding the loop: slice by slice. No I/O."""

from __future__ import annotations

import datetime as dt
import heapq
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice, pairwise
from operator import attrgetter, itemgetter
from typing import Generic, NamedTuple, TypeVar

from profile_history.windows import Order, Window

T = TypeVar("T")

_MERGED_AT_ONCE = 256
_zone_of = attrgetter("tzinfo")


class KeyedRows(NamedTuple, Generic[T]):
    """Some rows, as events or as bytes, and the moment that each is labelled with."""

    labels: list[dt.datetime]
    rows: list[T]


class Span(NamedTuple):
    """From which label to which one some sorted rows reach."""

    first: dt.datetime
    last: dt.datetime


def is_sorted(spans: Iterable[Span], order: Order) -> bool:
    """Whether sorted batches are sorted as a whole."""
    if order is Order.NEWEST:
        return all(before.last >= after.first for before, after in pairwise(spans))
    return all(before.last <= after.first for before, after in pairwise(spans))


def is_sorted_reversed(spans: Iterable[Span], order: Order) -> bool:
    """Whether sorted batches are sorted as a whole once the last comes first."""
    # Strict: where the same moment stands on both sides of a cut, turning the batches round would turn the ties round.
    if order is Order.NEWEST:
        return all(before.first < after.last for before, after in pairwise(spans))
    return all(before.first > after.last for before, after in pairwise(spans))


def sort_chunks(batches: deque[KeyedRows[T]], window: Window, order: Order) -> Iterator[list[T]]:
    """Keeps what is labelled with a day of the window, and sorts it by the labelled moment.

    The sort is stable: rows of the same moment keep the server's order. Where the sorted batches follow one another, as
    they do when the server sorts its rows either way, they are handed on as they are; else they are merged, a few
    hundred rows at a time. A batch is let go as it is handed on. Between its own steps it yields empty lists, so that
    the caller can pause there.

    Args:
        batches: The rows in the server's order, cut in slices; they are used up.
        window: The days to keep.
        order: Which end comes first.
    """
    if len(batches) == 1:
        yield sort_chunk(batches.popleft(), window, order).rows
        return
    yield from _compared_as_labelled(batches)
    for _ in range(len(batches)):
        batch = _kept_in_order(batches.popleft(), window, order)
        if batch.rows:
            batches.append(batch)
        yield []
    spans = [Span(batch.labels[0], batch.labels[-1]) for batch in batches]
    if is_sorted(spans, order):
        while batches:
            yield batches.popleft().rows
    elif is_sorted_reversed(spans, order):
        while batches:
            yield batches.pop().rows
    else:
        merged = heapq.merge(*map(_drained, batches), key=itemgetter(0), reverse=order is Order.NEWEST)
        while some := [item for _, item in islice(merged, _MERGED_AT_ONCE)]:
            yield some


def sort_chunk(batch: KeyedRows[T], window: Window, order: Order) -> KeyedRows[T]:
    """The same for one batch by itself."""
    if len(set(map(_zone_of, batch.labels))) > 1:
        batch = _bare(batch)
    return _kept_in_order(batch, window, order)


def _kept_in_order(batch: KeyedRows[T], window: Window, order: Order) -> KeyedRows[T]:
    return _kept(_in_order(batch, newest=order is Order.NEWEST), window) if batch.rows else batch


def _compared_as_labelled(batches: deque[KeyedRows[T]]) -> Iterator[list[T]]:
    """Takes the zones away where they differ, since moments of different zones compare by more than their labels."""
    zones: set[dt.tzinfo | None] = set()
    for batch in batches:
        zones.update(map(_zone_of, batch.labels))
        yield []
    if len(zones) > 1:
        for place, batch in enumerate(batches):
            batches[place] = _bare(batch)
            yield []


def _bare(batch: KeyedRows[T]) -> KeyedRows[T]:
    return KeyedRows([label.replace(tzinfo=None) for label in batch.labels], batch.rows)


def _in_order(batch: KeyedRows[T], *, newest: bool) -> KeyedRows[T]:
    labels = sorted(batch.labels, reverse=newest)
    if labels == batch.labels:
        return batch
    places = sorted(range(len(labels)), key=batch.labels.__getitem__, reverse=newest)
    return KeyedRows(labels, [batch.rows[place] for place in places])


def _kept(batch: KeyedRows[T], window: Window) -> KeyedRows[T]:
    if window.holds(batch.labels[0].date()) and window.holds(batch.labels[-1].date()):
        return batch
    inside = [window.holds(label.date()) for label in batch.labels]
    labels, rows = batch
    return KeyedRows(
        [label for label, keep in zip(labels, inside, strict=True) if keep],
        [item for item, keep in zip(rows, inside, strict=True) if keep],
    )


def _drained(batch: KeyedRows[T]) -> Iterator[tuple[dt.datetime, T]]:
    labels, rows = iter(batch.labels), batch.rows
    rows.reverse()
    for label in labels:
        yield label, rows.pop()
