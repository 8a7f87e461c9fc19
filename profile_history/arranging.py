"""The events of one window, put in order without holding the loop: slice by slice. No I/O."""

from __future__ import annotations

import datetime as dt
import heapq
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
    rows either way, they are handed on as they are; else they are merged, a few hundred events at a time.

    Args:
        batches: The events in the server's order, cut in slices.
        order: Which end comes first.
    """
    batches = [batch for batch in batches if batch]
    key = _key(batches)
    newest = order is Order.NEWEST
    for batch in batches:
        batch.sort(key=key, reverse=newest)
    if all(_follows(before, after, key, newest=newest) for before, after in pairwise(batches)):
        yield from batches
    elif all(_precedes(before, after, key, newest=newest) for before, after in pairwise(batches)):
        yield from reversed(batches)
    else:
        merged = heapq.merge(*batches, key=key, reverse=newest)
        while some := list(islice(merged, _MERGED_AT_ONCE)):
            yield some


def _key(batches: Sequence[list[Event]]) -> Callable[[Event], Any]:
    zones = {event.datetime.tzinfo for batch in batches for event in batch}
    return attrgetter("datetime") if len(zones) <= 1 else _label


def _label(event: Event) -> dt.datetime:
    return event.datetime.replace(tzinfo=None)


def _follows(before: list[Event], after: list[Event], key: Callable[[Event], Any], *, newest: bool) -> bool:
    last, first = key(before[-1]), key(after[0])
    return bool(last >= first if newest else last <= first)


# Strict: where the same moment stands on both sides of a cut, turning the batches round would turn the ties round.
def _precedes(before: list[Event], after: list[Event], key: Callable[[Event], Any], *, newest: bool) -> bool:
    first, last = key(before[0]), key(after[-1])
    return bool(first < last if newest else first > last)
