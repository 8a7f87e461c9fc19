"""A walk hands out every day of the range once and in order, whatever becomes of its windows."""

import datetime as dt
from itertools import chain, islice, pairwise, repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profile_history import ConfigurationError, Window
from profile_history._scheduling.window_plan import WindowPlan
from profile_history.options import parse_window_rule
from profile_history.windows import Order

DAY = dt.timedelta(days=1)
TODAY = dt.date(2025, 6, 15)
NEW_YEAR = dt.date(2017, 1, 1)
ORDERS = st.sampled_from(Order)

DAYS = st.dates(dt.date(2009, 1, 1), dt.date(2026, 1, 1))
RANGES = st.tuples(DAYS, st.integers(0, 60)).map(lambda pair: Window(pair[0], pair[0] + DAY * pair[1]))
STEPS = st.tuples(st.booleans(), st.integers(0, 20), st.sampled_from(["success", "failure", "too much"]))

# Sixty windows of a day are taken and settled in 120 steps, and a shortened open range grows back faster.
MANY_STEPS = 1000
OPEN_RANGES = st.builds(Window, DAYS) | st.builds(Window, date_to=DAYS) | st.just(Window())


@st.composite
def walks(draw):
    """A range with a rule that suits it, in either order."""
    rule = draw(st.sampled_from(["auto", "auto", "auto", None, draw(st.integers(1, 70))]))
    asked = draw(RANGES if isinstance(rule, int) else RANGES | OPEN_RANGES)
    order = draw(ORDERS)
    return asked, rule, order, WindowPlan(asked, rule=rule, order=order, today=TODAY)


def auto_walk(days=64, order=Order.OLDEST):
    """An adaptive walk over some days from new year 2017."""
    return WindowPlan(Window(NEW_YEAR, NEW_YEAR + DAY * (days - 1)), rule="auto", order=order, today=TODAY)


def lengths_after(walk, *outcomes):
    """How long the windows are that a walk gives one by one; each outcome is a success, a failure, or too much."""
    lengths = []
    for outcome in outcomes:
        piece = walk.take()
        lengths.append(piece.window.days(TODAY))
        if outcome == "too much":
            walk.split(piece)
        else:
            list(walk.complete(piece, outcome, success=outcome == "success"))
    return lengths


@given(walked=walks(), course=st.lists(STEPS, min_size=20, max_size=80))
def test_the_outcomes_tile_the_range_once_and_in_order(walked, course):
    """Any windows at once in flight, coming back in any order, well, badly, or as too much at once."""
    asked, rule, order, walk = walked
    in_flight, sent, handed_out = [], [], []
    for takes, which, outcome in islice(chain(course, repeat((False, 0, "success"))), MANY_STEPS):
        if walk.finished:
            break
        if walk.waiting and (takes or not in_flight):
            piece = walk.take()
            in_flight.append((piece, piece.window))
            continue
        piece, requested = in_flight.pop(which % len(in_flight))
        if outcome == "too much" and walk.can_split(piece):
            walk.split(piece)
            assert walk.waiting or in_flight
            continue
        sent.append((requested, outcome))
        settled = walk.complete(piece, outcome, success=outcome == "success", refuting_days=which % 4)
        handed_out += [(following.window, following.outcome) for following in settled]
    assert walk.finished
    assert walk.take() is None
    assert not walk.waiting
    assert not in_flight
    assert len(handed_out) == len(sent)
    assert set(handed_out) == set(sent)
    windows = [window for window, _ in handed_out][:: 1 if order is Order.OLDEST else -1]
    assert windows[0].date_from == asked.date_from
    assert windows[-1].date_to == asked.date_to
    assert all(after.date_from - before.date_to == DAY for before, after in pairwise(windows))
    if isinstance(rule, int):
        assert windows == list(asked.divide(rule, Order.OLDEST, TODAY))


@given(walked=walks())
def test_without_too_much_the_whole_walk_is_known_beforehand(walked):
    """A fixed number cuts its windows, None and "auto" ask for the whole range at once."""
    asked, rule, order, walk = walked
    taken = []
    while piece := walk.take():
        taken.append(piece.window)
    assert taken == (list(asked.divide(rule, order, TODAY)) if isinstance(rule, int) else [asked])
    assert not walk.waiting
    assert not walk.finished


@given(walked=walks(), course=st.lists(STEPS, max_size=60))
def test_the_first_window_leads_until_its_outcome_is_out_and_no_other_does(walked, course):
    """Whatever happens to the others; it is waiting, or it is the one that leads, and its outcome lets others out."""
    _, _, _, walk = walked
    in_flight = []
    for takes, which, outcome in course:
        leading = [piece for piece in in_flight if walk.is_head(piece)]
        assert len(leading) <= 1
        if walk.waiting and (takes or not in_flight):
            in_flight.append(walk.take())
            assert any(walk.is_head(piece) for piece in in_flight)
            continue
        if walk.finished:
            break
        piece = in_flight.pop(which % len(in_flight))
        if outcome == "too much" and walk.can_split(piece):
            walk.split(piece)
            continue
        settled = walk.complete(piece, outcome, success=outcome == "success")
        assert bool(settled) is ([piece] == leading)
        assert not walk.is_head(piece)


def test_nothing_leads_a_walk_that_is_over():
    """Its only window led it until then."""
    walk = auto_walk()
    piece = walk.take()
    assert walk.is_head(piece)
    walk.complete(piece, "rows", success=True)
    assert not walk.is_head(piece)


@pytest.mark.parametrize("rule", [None, 1, 7, 1000])
def test_none_and_a_fixed_number_never_divide(rule):
    """A length the caller chose is honoured as given."""
    walk = WindowPlan(Window(NEW_YEAR, NEW_YEAR + 99 * DAY), rule=rule, order=Order.NEWEST, today=TODAY)
    while piece := walk.take():
        assert not walk.can_split(piece)


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("too_much", [0, 1])
def test_days_put_back_leave_the_windows_on_their_way_alone(order, too_much):
    """What was asked for is what comes back, whatever becomes of its neighbours."""
    walk = auto_walk(272, order)
    walk.split(walk.take())
    walk.split(walk.take())
    walk.complete(walk.take(), "rows", success=True)
    halves = [walk.take(), walk.take()]
    other = halves[1 - too_much]
    requested = other.window
    walk.split(halves[too_much])
    assert other.window == requested
    assert walk.take() is None, "one window at a time, until fewer days have proved to help"
    walk.complete(other, "rows", success=True)
    half = walk.take()
    assert half.window.days(TODAY) == 34
    assert walk.take() is None, "a longer one that was in flight already proves nothing"
    walk.complete(half, "rows", success=True)
    assert [walk.take().window.days(TODAY) for _ in range(2)] == [34, 34]


def test_a_failure_proves_nothing_and_a_window_that_is_held_back_can_be_had_all_the_same():
    """Until fewer days succeed, one window is in flight; only the caller knows whether all waits for the next one."""
    walk = auto_walk(64)
    walk.split(walk.take())
    walk.split(walk.take())
    walk.complete(walk.take(), "no", success=False)
    second = walk.take()
    assert not walk.waiting
    assert walk.take() is None
    assert walk.take(held_back=True).window.days(TODAY) == 16
    walk.complete(second, "rows", success=True)
    assert walk.take().window.days(TODAY) == 16


@pytest.mark.parametrize("order", Order)
def test_windows_are_half_as_long_after_too_much(order):
    """The next ones too, until the length proves itself; an odd number of days is halved upwards."""
    outcomes = ("too much", "too much", "success", "success", "failure", "failure")
    assert lengths_after(auto_walk(64, order), *outcomes) == [64, 32, 16, 16, 16, 16]
    assert lengths_after(auto_walk(7, Order.OLDEST), "too much", "too much", "success", "success") == [7, 4, 2, 2]


def test_windows_are_twice_as_long_after_three_successes():
    """Each three successes at a length double it, and failures are no successes."""
    outcomes = ("too much", "too much", "too much", "too much")
    walk = auto_walk(640)
    assert lengths_after(walk, *outcomes) == [640, 320, 160, 80]
    assert lengths_after(walk, "success", "success", "failure", "success") == [40, 40, 40, 40]
    assert lengths_after(walk, "success", "success", "success", "success") == [80, 80, 80, 160]


def test_too_much_starts_the_count_of_successes_again():
    """Two successes before it and one after do not lengthen the windows."""
    walk = auto_walk(640)
    lengths_after(walk, "too much", "too much", "too much", "success", "success")
    assert lengths_after(walk, "too much", "success", "success", "success") == [80, 40, 40, 40]
    assert lengths_after(walk, "success") == [80]


def test_successes_before_any_trouble_change_nothing():
    """A walk that never met too much asks for the whole range, and fixed lengths stay as they are."""
    assert lengths_after(auto_walk(64), "success") == [64]
    fixed = WindowPlan(Window(NEW_YEAR, NEW_YEAR + 63 * DAY), rule=8, order=Order.OLDEST, today=TODAY)
    assert lengths_after(fixed, *["success"] * 8) == [8] * 8


@pytest.mark.parametrize(("order", "lengths"), [(Order.OLDEST, [17, 17, 17, 15]), (Order.NEWEST, [15, 17, 17, 17])])
def test_days_put_back_side_by_side_are_asked_for_together(order, lengths):
    """Two halves that were both too much do not leave a cut between them for ever."""
    walk = auto_walk(66, order)
    walk.split(walk.take())
    half = walk.take()
    assert half.window.days(TODAY) == 33
    walk.split(half)
    assert lengths_after(walk, *["failure"] * 4) == lengths
    assert walk.finished


def test_a_single_day_is_not_divisible():
    """What is too much for one day stays too much, and two days are two halves."""
    assert not auto_walk(1).can_split(auto_walk(1).take())
    walk = auto_walk(2)
    piece = walk.take()
    assert walk.can_split(piece)
    walk.split(piece)
    assert not walk.can_split(walk.take())


@pytest.mark.parametrize("asked", [Window(), Window(NEW_YEAR), Window(date_to=NEW_YEAR)])
def test_a_fixed_number_of_days_needs_both_ends(asked):
    """The message says which arguments to pass, or which rule."""
    with pytest.raises(ConfigurationError, match='pass date_from and date_to, or use window="auto"'):
        WindowPlan(asked, rule=31, order=Order.NEWEST, today=TODAY)


@given(asked=OPEN_RANGES, order=ORDERS)
def test_an_open_range_can_be_halved(asked, order):
    """The halves meet between 2010 and today, and the open ends stay open."""
    walk = WindowPlan(asked, rule="auto", order=order, today=TODAY)
    whole = walk.take()
    assert whole.window == asked
    assert walk.can_split(whole) == (asked.days(TODAY) > 1)
    if walk.can_split(whole):
        walk.split(whole)
        first = walk.take()
        walk.complete(first, "rows", success=True)
        halves = [first.window, walk.take().window]
        early, late = halves if order is Order.OLDEST else halves[::-1]
        assert early.join(late) == asked
        assert late.date_from - early.date_to == DAY
        assert early.days(TODAY) - late.days(TODAY) in {0, 1}


@pytest.mark.parametrize("rule", ["auto", None, 1, 31, 10_000])
def test_a_rule_is_auto_none_or_a_number_of_days(rule):
    """The rules that are taken are taken as they are."""
    assert parse_window_rule(rule) == rule


@pytest.mark.parametrize("rule", [0, -1, True, False, 1.5, 31.0, "31", "AUTO", "", b"auto", [31]])
def test_any_other_rule_is_refused(rule):
    """The message says what to pass."""
    with pytest.raises(ConfigurationError, match='window is "auto", a number of days above 0, or None'):
        parse_window_rule(rule)


def split_to_a_day(order, days=64):
    """Return a plan, and its first window that is a single day."""
    plan = auto_walk(days, order)
    while plan.can_split(day := plan.take()):
        plan.split(day)
    return plan, day


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("refuting_days", [1, 3])
def test_so_many_single_days_that_fail_likewise_refute_the_splits_and_the_rest_is_one_window(order, refuting_days):
    """It is asked for once, and not divided again; so a profile that always fails costs few requests."""
    plan, day = split_to_a_day(order)
    for _ in range(refuting_days):
        assert day.window.days(TODAY) == 1
        assert plan.complete(day, "too long", success=False, refuting_days=refuting_days) == [day]
        day = plan.take()
    assert day.window.days(TODAY) == 64 - refuting_days
    assert not plan.can_split(day)
    assert plan.complete(day, "too long", success=False, refuting_days=refuting_days) == [day]
    assert plan.finished


@pytest.mark.parametrize("order", Order)
def test_a_single_day_that_fails_otherwise_refutes_nothing_and_a_success_starts_the_count_again(order):
    """The others are fetched in windows of the length that helps."""
    plan, day = split_to_a_day(order)
    for refuting_days, success in ((0, False), (2, False), (2, True), (0, False), (2, False)):
        plan.complete(day, "a day", success=success, refuting_days=refuting_days)
        day = plan.take()
        assert day.window.days(TODAY) == 1
    plan.complete(day, "the second in a row", success=False, refuting_days=2)
    assert plan.take().window.days(TODAY) == 64 - 6


@pytest.mark.parametrize("order", Order)
def test_a_split_has_helped_when_a_window_of_the_new_length_succeeds_and_for_good(order):
    """A later split that has not yet helped changes nothing about it."""
    plan = auto_walk(64, order)
    plan.split(plan.take())
    assert (plan.was_split, plan.split_helped) == (True, False)
    plan.complete(plan.take(), "rows", success=True)
    assert (plan.split_helped, plan.unproven_length) == (True, None)
    plan.split(plan.take())
    assert (plan.split_helped, plan.unproven_length) == (True, 16)


def test_a_window_that_was_in_flight_when_splits_were_refuted_is_not_halved():
    """It fails as it is, however long."""
    plan, first = split_to_a_day(Order.OLDEST, 16)
    plan.complete(first, "rows", success=True)
    for _ in range(2):
        plan.complete(plan.take(), "rows", success=True)
    early, late = plan.take(), plan.take()
    assert (early.window.days(TODAY), plan.can_split(early)) == (2, True)
    plan.split(late)
    plan.complete(plan.take(held_back=True), "too long", success=False, refuting_days=1)
    assert (early.window.days(TODAY), plan.can_split(early)) == (2, False)
