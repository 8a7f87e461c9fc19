"""The events of one window, put in order without holding the loop: slice by slice. No I/O."""

from __future__ import annotations

import datetime as dt
import heapq
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, pairwise
from operator import attrgetter
from typing import Any

from profile_history.events import Event
from profile_history.windows import Order, Window

_MERGED_AT_ONCE = 256


def kept(events: list[Event], window: Window) -> list[Event]:
    """The events labelled with a day of the window."""
    if window.date_from is None and window.date_to is None:
        return events
    first, last = window.date_from or dt.date.min, window.date_to or dt.date.max
    return [event for event in events if first <= event.datetime.date() <= last]


def arranged(batches: Sequence[list[Event]], order: Order) -> Iterator[list[Event]]:
    """Sorts by the labelled moment, stably: events of the same moment keep the server's order.

    Each batch is sorted in place. Where the sorted batches follow one another, as they do when the server sorts its
    rows either way, they are handed on as they are; else they are merged, a few hundred events at a time. A batch is
    let go as it is handed on. Between its own steps it yields empty batches, so that the caller can pause there.

    Args:
        batches: The events in the server's order, cut in slices.
        order: Which end comes first.
    """
    waiting = deque(batch for batch in batches if batch)
    del batches
    newest = order is Order.NEWEST
    zones: set[dt.tzinfo | None] = set()
    for batch in waiting:
        zones.update(event.datetime.tzinfo for event in batch)
        yield []
    key = attrgetter("datetime") if len(zones) <= 1 else _label
    for batch in waiting:
        batch.sort(key=key, reverse=newest)
        yield []
    if all(_follows(before, after, key, newest=newest) for before, after in pairwise(waiting)):
        while waiting:
            yield waiting.popleft()
    elif all(_precedes(before, after, key, newest=newest) for before, after in pairwise(waiting)):
        while waiting:
            yield waiting.pop()
    else:
        merged = heapq.merge(*map(_drained, waiting), key=key, reverse=newest)
        while some := list(islice(merged, _MERGED_AT_ONCE)):
            yield some


def _drained(batch: list[Event]) -> Iterator[Event]:
    batch.reverse()
    while batch:
        yield batch.pop()


def _label(event: Event) -> dt.datetime:
    return event.datetime.replace(tzinfo=None)


def _follows(before: list[Event], after: list[Event], key: Callable[[Event], Any], *, newest: bool) -> bool:
    last, first = key(before[-1]), key(after[0])
    return bool(last >= first if newest else last <= first)


# Strict: where the same moment stands on both sides of a cut, turning the batches round would turn the ties round.
def _precedes(before: list[Event], after: list[Event], key: Callable[[Event], Any], *, newest: bool) -> bool:
    first, last = key(before[0]), key(after[-1])
    return bool(first < last if newest else first > last)
