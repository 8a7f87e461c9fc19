"""Batches of one window become one sorted history, as if Python had sorted the whole at once."""

import datetime as dt
from collections import deque
from itertools import chain
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profile_history import Action, Event, Window
from profile_history._decoding import ordering
from profile_history._decoding.ordering import ChunkOrder, KeyedRows, find_chunk_order, find_span, guess_chunk_order
from profile_history.windows import Order

MORNING = dt.datetime.fromisoformat("2017-04-05T07:48:00")
BOTH_ORDERS = pytest.mark.parametrize("order", Order)
ZONES = st.sampled_from(
    [None, dt.UTC, dt.timezone(dt.timedelta(0)), dt.timezone(dt.timedelta(hours=-5)), ZoneInfo("Europe/Moscow")]
)


def events_at(*minutes):
    """Return events at some minutes of one morning, told apart by their message numbers."""
    moments = [MORNING + dt.timedelta(minutes=minute) for minute in minutes]
    return [Event(Action.SEND, moment, message_id=place) for place, moment in enumerate(moments)]


@st.composite
def histories(draw, zones):
    """Draw events of few different moments, so that most share theirs with others."""
    few = draw(st.lists(st.integers(-3000, 3000), min_size=1, max_size=5, unique=True))
    rows = draw(st.lists(st.tuples(st.sampled_from(few), zones), max_size=40))
    moments = [(MORNING + dt.timedelta(minutes=minute)).replace(tzinfo=zone) for minute, zone in rows]
    return [Event(Action.SEND, moment, message_id=place) for place, moment in enumerate(moments)]


@st.composite
def splits(draw, events):
    """Draw the events in batches of any length, empty ones among them."""
    cuts = sorted(draw(st.lists(st.integers(0, len(events)), max_size=6)))
    return [events[first:last] for first, last in zip([0, *cuts], [*cuts, len(events)], strict=True)]


def labelled(event):
    """Return the moment as the server labels it, whatever zone stands behind it."""
    return event.datetime.replace(tzinfo=None)


def sort_chunks(batches, order, window=Window()):
    """Sort as the package does, by the timestamps of the events."""
    keyed = deque(KeyedRows([event.datetime for event in batch], batch) for batch in batches)
    return ordering.sort_chunks(keyed, window, order)


def kept(events, window):
    """Return the events of a window, oldest first."""
    return flat(sort_chunks([events], Order.OLDEST, window))


def flat(batches):
    """Return all events of all batches."""
    return list(chain.from_iterable(batches))


@BOTH_ORDERS
@pytest.mark.parametrize("presorted", [None, False, True])
@given(data=st.data())
def test_the_batches_come_out_as_one_stable_sort_of_the_whole(order, presorted, data):
    """Wherever the batches are cut and whatever the zones: the labels decide, and ties keep the server's order."""
    zones = data.draw(st.sampled_from([st.none(), st.just(dt.UTC), ZONES]))
    events = data.draw(histories(zones))
    if presorted is not None:
        events.sort(key=labelled, reverse=presorted)
    batches = data.draw(splits(events))
    assert flat(sort_chunks(batches, order)) == sorted(events, key=labelled, reverse=order is Order.NEWEST)


@BOTH_ORDERS
@pytest.mark.parametrize("minutes", [(1, 1, 2, 3, 3, 4), (4, 4, 3, 2, 1, 1)])
def test_batches_of_a_sorted_answer_are_passed_on_without_merging(order, minutes):
    """Whichever way the server sorts, each batch is handed on as one."""
    events = events_at(*minutes)
    batches = [events[:2], events[2:3], events[3:]]
    handed_on = [batch for batch in sort_chunks(batches, order) if batch]
    assert {frozenset(batch) for batch in handed_on} == {frozenset(batch) for batch in batches}
    assert flat(handed_on) == sorted(events, key=labelled, reverse=order is Order.NEWEST)


@pytest.mark.parametrize(("order", "minutes"), [(Order.OLDEST, (1, 2, 2, 2, 3)), (Order.NEWEST, (3, 2, 2, 2, 1))])
def test_a_tie_across_a_cut_is_no_reason_to_merge(order, minutes):
    """A response sorted the way it is asked for is never copied."""
    events = events_at(*minutes)
    batches = [events[:2], events[2:3], events[3:]]
    assert [id(batch) for batch in sort_chunks(batches, order) if batch] == [id(batch) for batch in batches]


@BOTH_ORDERS
@pytest.mark.parametrize("minutes", [(1, 2, 2, 2, 2, 3), (3, 2, 2, 2, 2, 1), (2, 2, 2, 2, 2, 2), (2, 1, 2, 2, 3, 2)])
def test_events_of_one_moment_keep_the_servers_order_across_a_cut(order, minutes):
    """A click and the open it caused stay in the order in which the server put them."""
    events = events_at(*minutes)
    came = flat(sort_chunks([events[:3], events[3:]], order))
    ties = [event.message_id for event in came if event.datetime == MORNING + dt.timedelta(minutes=2)]
    assert ties == sorted(ties)
    assert len(ties) >= 4


@BOTH_ORDERS
def test_a_long_merge_is_handed_out_piece_by_piece(order):
    """Shuffled batches are not merged in one go, so that the loop is free in between."""
    events = events_at(*(number * 7919 % 2003 for number in range(2003)))
    parts = list(sort_chunks([events[:1000], events[1000:]], order))
    assert flat(parts) == sorted(events, key=labelled, reverse=order is Order.NEWEST)
    assert len(parts) > 2
    assert max(map(len, parts)) < 1000


@BOTH_ORDERS
@pytest.mark.parametrize(
    ("minutes", "as_oldest_first"),
    [
        ([(1, 2), (3, 4), (5, 6)], ChunkOrder.SORTED),
        ([(1, 2), (2, 4), (4, 6)], ChunkOrder.SORTED),
        ([(6, 5), (4, 3), (2, 1)], ChunkOrder.REVERSED),
        ([(6, 4), (4, 2), (2, 1)], ChunkOrder.MIXED),
        ([(1, 2), (5, 6), (3, 4)], ChunkOrder.MIXED),
    ],
)
def test_one_function_says_how_chunks_follow_one_another(order, minutes, as_oldest_first):
    """What is asked for newest first is the mirror image; reversed chunks with a tie across a cut have to be merged."""
    sign = -1 if order is Order.NEWEST else 1
    chunks = [[event.datetime for event in events_at(*(sign * minute for minute in chunk))] for chunk in minutes]
    assert find_chunk_order([find_span(chunk, order) for chunk in chunks], order) is as_oldest_first
    if as_oldest_first is not ChunkOrder.MIXED:
        assert guess_chunk_order(ordering.Span(chunks[0][0], chunks[0][-1]), order) is as_oldest_first


@BOTH_ORDERS
def test_no_events_are_no_batches(order):
    """Empty chunks of a response leave nothing to hand out."""
    assert flat(sort_chunks([], order)) == flat(sort_chunks([[], []], order)) == []


@given(data=st.data())
def test_the_windows_own_days_are_kept_as_labelled(data):
    """The day in the label decides, not the day in any other zone; an open end keeps all on its side."""
    events = data.draw(histories(ZONES))
    days = st.none() | st.dates(dt.date(2017, 4, 2), dt.date(2017, 4, 8))
    window = Window(data.draw(days), data.draw(days))
    first, last = window.date_from or dt.date.min, window.date_to or dt.date.max
    inside = [event for event in events if first <= labelled(event).date() <= last]
    assert kept(list(events), window) == sorted(inside, key=labelled)


@pytest.mark.parametrize("zone", [None, dt.UTC, dt.timezone(dt.timedelta(hours=14))])
def test_the_first_and_the_last_moment_of_a_day_belong_to_it(zone):
    """No zone moves an event to its neighbour's window."""
    day = dt.date(2017, 4, 5)
    ends = [dt.datetime.combine(day, time, zone) for time in (dt.time.min, dt.time.max)]
    moments = [ends[0] - dt.timedelta(microseconds=1), *ends, ends[1] + dt.timedelta(microseconds=1)]
    events = [Event(Action.SEND, moment) for moment in moments]
    assert kept(events, Window(day, day)) == events[1:3]
    assert kept(events, Window(day)) == events[1:]
    assert kept(events, Window(date_to=day)) == events[:3]
    assert kept(events, Window()) == events
