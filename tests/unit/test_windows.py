"""Windows cover the asked days exactly, and the overlap makes every reading of the borders come out right."""

import datetime as dt
from itertools import islice, pairwise

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profile_history import ConfigurationError, Window
from profile_history.windows import Border, Order, parse_window

DAY = dt.timedelta(days=1)
TODAY = dt.date(2025, 6, 15)
ALL_DAYS = Window(dt.date.min, dt.date.max)

# Any clock less than a day away from the labels, the real zones -12..+14 among them.
CLOCKS = [(hours, exclusive) for hours in range(-23, 24) for exclusive in (False, True)]

TODAYS = st.dates(dt.date(2000, 1, 1), dt.date(2040, 1, 1))
CLOSED = st.tuples(st.dates(), st.dates()).map(sorted).map(lambda days: Window(*days))
HALF_OPEN = st.builds(Window, st.dates()) | st.builds(Window, date_to=st.dates()) | st.just(Window())


@st.composite
def tilings(draw):
    """A window, today's date, and a length that cuts it into few enough windows to go through them all."""
    window, today = draw(CLOSED | HALF_OPEN), draw(TODAYS)
    return window, today, draw(st.integers(min_value=-(-window.days(today) // 50), max_value=4_000_000))


@st.composite
def histories(draw):
    """A range of days, a length of windows, and the labels of rows in and around the range."""
    first = draw(st.dates(dt.date(2015, 1, 1), dt.date(2025, 1, 1)))
    window = Window(first, first + DAY * draw(st.integers(0, 12)))
    moments = st.datetimes(
        dt.datetime.combine(window.date_from - 3 * DAY, dt.time.min),
        dt.datetime.combine(window.date_to + 3 * DAY, dt.time.max),
    )
    return window, draw(st.integers(1, 14)), draw(st.lists(moments, max_size=8))


def answered(window, rows, hours, *, exclusive):
    """The rows a server gives for the asked days when its clock is some hours off their labels."""
    read = [(row, (row + dt.timedelta(hours=hours)).date()) for row in rows]
    return [row for row, day in read if window.date_from <= day < window.date_to + (not exclusive) * DAY]


def clocks_that_lose(asked, wanted, rows):
    """The clocks under which a request for the asked days does not bring every row of the wanted ones."""
    want = [row for row in rows if wanted.holds(row.date())]
    return {
        (hours, exclusive)
        for hours, exclusive in CLOCKS
        if [row for row in answered(asked, rows, hours, exclusive=exclusive) if wanted.holds(row.date())] != want
    }


@given(tiling=tilings())
def test_the_tiles_cover_the_window_exactly_once(tiling):
    """The first begins where the window does, each next one a day after the last, and the end is the window's."""
    window, today, days = tiling
    tiles = list(window.divide(days, Order.OLDEST, today))
    assert tiles[0].date_from == window.date_from
    assert tiles[-1].date_to == window.date_to
    assert all(after.date_from - before.date_to == DAY for before, after in pairwise(tiles))


@given(tiling=tilings())
def test_both_orders_walk_the_same_tiles(tiling):
    """Newest first is oldest first, backwards."""
    window, today, days = tiling
    oldest = list(window.divide(days, Order.OLDEST, today))
    assert list(window.divide(days, Order.NEWEST, today)) == oldest[::-1]


@given(tiling=tilings())
def test_no_tile_is_longer_than_asked_and_only_the_last_is_shorter(tiling):
    """The lengths are those of a division with remainder, also where an open end is counted up to today."""
    window, today, days = tiling
    *full, last = [tile.days(today) for tile in window.divide(days, Order.OLDEST, today)]
    assert set(full) <= {days}
    assert 1 <= last <= days
    assert sum(full) + last == window.days(today)


@given(window=CLOSED, today=TODAYS)
def test_a_closed_window_has_as_many_days_as_it_holds(window, today):
    """The length of a closed range does not depend on today."""
    assert window.days(today) == window.date_to.toordinal() - window.date_from.toordinal() + 1


@pytest.mark.parametrize(
    ("window", "days"),
    [
        (Window(TODAY), 1),
        (Window(TODAY - DAY), 2),
        (Window(TODAY + 99 * DAY), 1),
        (Window(date_to=dt.date(2010, 1, 2)), 2),
        (Window(date_to=dt.date(2010, 1, 1)), 1),
        (Window(date_to=dt.date(1999, 1, 1)), 1),
        (Window(), (TODAY - dt.date(2009, 12, 31)).days),
    ],
)
def test_an_open_start_counts_from_2010_and_an_open_end_up_to_today(window, days):
    """Only to be halved has an open end a length, and it is never less than a day."""
    assert window.days(TODAY) == days


@given(window=CLOSED | HALF_OPEN, day=st.dates())
def test_a_window_holds_its_days_and_no_others(window, day):
    """Both ends belong to it, and an open end has no limit."""
    first, last = window.date_from or dt.date.min, window.date_to or dt.date.max
    assert window.holds(day) == (first <= day <= last)
    assert window.holds(first)
    assert window.holds(last)


@given(tiling=tilings())
def test_a_window_cut_in_two_can_be_joined_again(tiling):
    """A cut loses nothing."""
    window, today, days = tiling
    tile, rest = window.cut(days, Order.OLDEST, today)
    assert (tile.join(rest) if rest else tile) == window


def test_a_walk_over_all_days_costs_nothing_until_it_is_walked():
    """Of three and a half million windows, three are three steps, from either end."""
    oldest = ALL_DAYS.divide(1, Order.OLDEST, TODAY)
    newest = ALL_DAYS.divide(1, Order.NEWEST, TODAY)
    assert list(islice(oldest, 3)) == [Window(dt.date(1, 1, day), dt.date(1, 1, day)) for day in (1, 2, 3)]
    assert list(islice(newest, 3)) == [Window(dt.date(9999, 12, day), dt.date(9999, 12, day)) for day in (31, 30, 29)]


@given(history=histories())
def test_the_overlap_gives_each_row_once_however_the_server_reads_the_borders(history):
    """Inclusive or exclusive end, whatever its clock: over all windows, each row of the range comes exactly once."""
    window, days, rows = history
    want = sorted(row for row in rows if window.holds(row.date()))
    asked = [(tile, Border.OVERLAP.widen(tile)) for tile in window.divide(days, Order.OLDEST, TODAY)]
    for hours, exclusive in CLOCKS:
        came = [
            row
            for tile, bounds in asked
            for row in answered(bounds, rows, hours, exclusive=exclusive)
            if tile.holds(row.date())
        ]
        assert sorted(came) == want


def test_each_day_of_the_overlap_is_needed():
    """A day less before loses rows of a clock that is behind, a day less after rows of one ahead, end exclusive."""
    wanted = Window(dt.date(2017, 4, 5), dt.date(2017, 4, 5))
    rows = [dt.datetime.combine(wanted.date_from, dt.time(hour, 30)) for hour in range(24)]
    asked = Border.OVERLAP.widen(wanted)
    assert clocks_that_lose(asked, wanted, rows) == set()
    assert clocks_that_lose(attrs.evolve(asked, date_to=asked.date_to - DAY), wanted, rows) == {
        (hours, exclusive) for hours, exclusive in CLOCKS if hours > 0 and exclusive
    }
    assert clocks_that_lose(attrs.evolve(asked, date_from=asked.date_from + DAY), wanted, rows) == {
        (hours, exclusive) for hours, exclusive in CLOCKS if hours < 0
    }


@given(window=CLOSED | HALF_OPEN)
def test_the_exact_border_asks_the_wanted_days(window):
    """What the caller names goes out as it is."""
    assert Border.EXACT.widen(window) == window


@given(window=CLOSED | HALF_OPEN)
def test_the_overlap_asks_one_day_before_and_two_after(window):
    """An open end stays open, and the ends of the calendar hold."""
    asked = Border.OVERLAP.widen(window)
    first, last = window.date_from, window.date_to
    assert asked.date_from == (first if first in {None, dt.date.min} else first - DAY)
    assert asked.date_to == (last and last + min(2 * DAY, dt.date.max - last))


@pytest.mark.parametrize(
    ("window", "asked"),
    [
        (ALL_DAYS, ALL_DAYS),
        (Window(dt.date.max, dt.date.max), Window(dt.date(9999, 12, 30), dt.date.max)),
        (Window(dt.date.min, dt.date.min), Window(dt.date.min, dt.date(1, 1, 3))),
        (Window(dt.date(1, 1, 2), dt.date(9999, 12, 30)), ALL_DAYS),
    ],
)
def test_the_overlap_stops_at_the_ends_of_the_calendar(window, asked):
    """Nobody who asks for all days meets an overflow."""
    assert Border.OVERLAP.widen(window) == asked


@given(window=CLOSED | HALF_OPEN, as_text=st.tuples(st.booleans(), st.booleans()))
def test_days_are_passed_as_dates_texts_or_not_at_all(window, as_text):
    """A date and its text mean the same, None leaves the end open, and both ends may be the same day."""
    passed = [
        day.isoformat() if day and text else day
        for day, text in zip((window.date_from, window.date_to), as_text, strict=True)
    ]
    assert parse_window(*passed) == window


@pytest.mark.parametrize("zone", [None, dt.UTC, dt.timezone(dt.timedelta(hours=3))])
@pytest.mark.parametrize("name", ["date_from", "date_to"])
def test_a_moment_is_refused_with_word_of_what_to_pass(zone, name):
    """Which day a moment falls on is for the caller to say: as `.date()`, or as a text."""
    moment = dt.datetime(2017, 4, 5, 23, 59, tzinfo=zone)
    with pytest.raises(ConfigurationError) as refused:
        parse_window(**{"date_from": None, "date_to": None, name: moment})
    message = str(refused.value)
    assert message.startswith(f"{name} is a day")
    assert f"Pass {name}=moment.date(), or the text '2017-04-05'" in message


@pytest.mark.parametrize(
    "value",
    [
        "2017-1-1",
        "20170101",
        "2017-02-30",
        "2017-13-01",
        "0000-01-01",
        "",
        " 2017-01-01",
        "2017-01-01\n",
        "2017-W01-1",
        "2017-01-01T00:00:00Z",
        "٢٠١٧-٠١-٠١",
        "today",
        20170101,
        1491378524.0,
        True,
        b"2017-01-01",
        (2017, 1, 1),
    ],
)
@pytest.mark.parametrize("name", ["date_from", "date_to"])
def test_anything_but_a_day_is_refused(value, name):
    """The message names the argument, shows a right text, and repeats the wrong value."""
    with pytest.raises(ConfigurationError) as refused:
        parse_window(**{"date_from": None, "date_to": None, name: value})
    message = str(refused.value)
    assert message.startswith(f"{name} is a ")
    assert '"2017-01-31"' in message
    assert message.endswith(f"not {value!r}")


@given(days=st.lists(st.dates(), min_size=2, max_size=2, unique=True).map(sorted))
def test_an_end_before_the_start_is_refused(days):
    """A swapped pair is a mistake, not an empty range."""
    with pytest.raises(ConfigurationError, match=f"date_to {days[0]} lies before date_from {days[1]}; swap them"):
        parse_window(days[1], days[0])


@pytest.mark.parametrize(
    ("window", "text"),
    [
        (Window(dt.date(2017, 1, 1), dt.date(2017, 12, 31)), "2017-01-01..2017-12-31"),
        (Window(dt.date(2017, 1, 1)), "2017-01-01.."),
        (Window(date_to=dt.date(2017, 12, 31)), "..2017-12-31"),
        (Window(), ".."),
    ],
)
def test_a_window_prints_its_ends(window, text):
    """Logs and errors name the days, and nothing for an open end."""
    assert str(window) == text
