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


class Labelled(NamedTuple, Generic[T]):
    """Some rows, as events or as bytes, and the moment that each is labelled with."""

    labels: list[dt.datetime]
    items: list[T]


class Span(NamedTuple):
    """From which label to which one some sorted rows reach."""

    first: dt.datetime
    last: dt.datetime


def follow_one_another(spans: Iterable[Span], order: Order) -> bool:
    """Whether sorted batches are sorted as a whole."""
    if order is Order.NEWEST:
        return all(before.last >= after.first for before, after in pairwise(spans))
    return all(before.last <= after.first for before, after in pairwise(spans))


def follow_one_another_backwards(spans: Iterable[Span], order: Order) -> bool:
    """Whether sorted batches are sorted as a whole once the last comes first."""
    # Strict: where the same moment stands on both sides of a cut, turning the batches round would turn the ties round.
    if order is Order.NEWEST:
        return all(before.first < after.last for before, after in pairwise(spans))
    return all(before.first > after.last for before, after in pairwise(spans))


def arranged(batches: deque[Labelled[T]], window: Window, order: Order) -> Iterator[list[T]]:
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
        yield arranged_alone(batches.popleft(), window, order).items
        return
    yield from _compared_as_labelled(batches)
    for _ in range(len(batches)):
        batch = _kept_in_order(batches.popleft(), window, order)
        if batch.items:
            batches.append(batch)
        yield []
    spans = [Span(batch.labels[0], batch.labels[-1]) for batch in batches]
    if follow_one_another(spans, order):
        while batches:
            yield batches.popleft().items
    elif follow_one_another_backwards(spans, order):
        while batches:
            yield batches.pop().items
    else:
        merged = heapq.merge(*map(_drained, batches), key=itemgetter(0), reverse=order is Order.NEWEST)
        while some := [item for _, item in islice(merged, _MERGED_AT_ONCE)]:
            yield some


def arranged_alone(batch: Labelled[T], window: Window, order: Order) -> Labelled[T]:
    """The same for one batch by itself."""
    if len(set(map(_zone_of, batch.labels))) > 1:
        batch = _bare(batch)
    return _kept_in_order(batch, window, order)


def _kept_in_order(batch: Labelled[T], window: Window, order: Order) -> Labelled[T]:
    return _kept(_in_order(batch, newest=order is Order.NEWEST), window) if batch.items else batch


def _compared_as_labelled(batches: deque[Labelled[T]]) -> Iterator[list[T]]:
    """Takes the zones away where they differ, since moments of different zones compare by more than their labels."""
    zones: set[dt.tzinfo | None] = set()
    for batch in batches:
        zones.update(map(_zone_of, batch.labels))
        yield []
    if len(zones) > 1:
        for place, batch in enumerate(batches):
            batches[place] = _bare(batch)
            yield []


def _bare(batch: Labelled[T]) -> Labelled[T]:
    return Labelled([label.replace(tzinfo=None) for label in batch.labels], batch.items)


def _in_order(batch: Labelled[T], *, newest: bool) -> Labelled[T]:
    labels = sorted(batch.labels, reverse=newest)
    if labels == batch.labels:
        return batch
    places = sorted(range(len(labels)), key=batch.labels.__getitem__, reverse=newest)
    return Labelled(labels, [batch.items[place] for place in places])


def _kept(batch: Labelled[T], window: Window) -> Labelled[T]:
    if window.holds(batch.labels[0].date()) and window.holds(batch.labels[-1].date()):
        return batch
    inside = [window.holds(label.date()) for label in batch.labels]
    labels, items = batch
    return Labelled(
        [label for label, keep in zip(labels, inside, strict=True) if keep],
        [item for item, keep in zip(items, inside, strict=True) if keep],
    )


def _drained(batch: Labelled[T]) -> Iterator[tuple[dt.datetime, T]]:
    labels, items = iter(batch.labels), batch.items
    items.reverse()
    for label in labels:
        yield label, items.pop()
