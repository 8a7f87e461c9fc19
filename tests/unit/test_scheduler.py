"""Which window comes next, under bounds on what runs ahead."""

import datetime as dt
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profile_history import ConnectionFailed, Profile, Window
from profile_history._protocol.envelope import Rows
from profile_history._scheduling.scheduler import Scheduler
from profile_history._scheduling.window_plan import WindowPlan
from profile_history._sending.memory_budget import MemoryBudget, MemoryExceeded, StreamBudget
from profile_history.units import Unit
from profile_history.windows import Order

FIRST, LAST = dt.date(2024, 1, 1), dt.date(2024, 1, 12)
PROFILES = [Profile.email(f"{number}@example.com") for number in range(6)]


def schedule(*, rule=3, windows_ahead=4, suspended_ahead=100, limit=10**6, profiles_ahead=8, memory=None):
    return Scheduler(
        make_plan=lambda window: WindowPlan(window, rule=rule, order=Order.OLDEST, today=LAST),
        make_request_id=lambda: "id",
        stream_budget=StreamBudget(memory or MemoryBudget(), limit),
        windows_ahead=windows_ahead,
        suspended_ahead=suspended_ahead,
        profiles_ahead=profiles_ahead,
    )


def scheduled(count, **options):
    """A schedule of some profiles."""
    plan = schedule(**options)
    for profile in PROFILES[:count]:
        plan.add(Unit(profile, Window(FIRST, LAST)))
    return plan


def taken(plan, count):
    """So many windows as must be available now."""
    units = []
    for _ in range(count):
        assert plan.available
        units.append(plan.take())
    return units


def rows(size=10):
    return Rows((), size)


def drain(plan):
    out = []
    while (outcome := plan.next_ready()) is not None:
        out.append(outcome)
        plan.release(outcome)
    return out


def test_profiles_take_turns():
    """A profile with many windows does not hold up the others."""
    plan = scheduled(3, windows_ahead=100)
    assert [unit.task.profile for unit in taken(plan, 6)] == PROFILES[:3] * 2


def test_no_more_windows_run_ahead_than_allowed_until_the_consumer_is_through_with_one():
    """The look-ahead is bounded in windows; one that was only handed out is still in the consumer's hands."""
    plan = scheduled(1, windows_ahead=2)
    first, second = taken(plan, 2)
    assert plan.take() is None
    plan.complete(first, rows())
    plan.complete(second, rows())
    assert plan.take() is None
    outcome = plan.next_ready()
    assert plan.take() is None
    plan.release(outcome)
    assert plan.take() is not None


def test_no_window_starts_while_more_bytes_wait_than_allowed():
    """The look-ahead is bounded in bytes."""
    plan = scheduled(1, limit=100)
    plan.complete(plan.take(), rows(100))
    assert not plan.available
    assert plan.take() is None
    plan.release(plan.next_ready())
    assert plan.take() is not None


def test_bytes_that_were_handed_out_no_longer_count():
    """The bound is on what waits, however much has passed through."""
    plan = scheduled(1, rule=1, limit=100, windows_ahead=2)
    for _ in range(9):
        plan.complete(plan.take(), rows(50))
        plan.release(plan.next_ready())
    first, _ = taken(plan, 2)
    assert plan.take() is None
    plan.complete(first, rows())


def test_a_window_that_failed_for_good_holds_no_bytes_and_is_handed_out_in_its_place():
    """Its error is an outcome like any other."""
    memory = MemoryBudget()
    memory.learn(40)
    plan = scheduled(1, rule=6, memory=memory)
    first, second = taken(plan, 2)
    error = ConnectionFailed("x")
    plan.complete(second, error)
    assert memory.used == 40
    assert plan.next_ready() is None
    plan.complete(first, rows(7))
    assert memory.used == 7
    outcomes = drain(plan)
    assert [outcome.error for outcome in outcomes] == [None, error]
    assert [outcome.rows is None for outcome in outcomes] == [False, True]
    assert [outcome.window.date_from for outcome in outcomes] == [FIRST, FIRST + dt.timedelta(days=6)]
    assert memory.used == 0


def test_a_window_that_waits_before_a_retry_uses_no_place_and_no_bytes():
    """Another one starts meanwhile."""
    memory = MemoryBudget()
    memory.learn(40)
    plan = scheduled(3, rule=None, windows_ahead=1, limit=50, memory=memory)
    unit = plan.take()
    assert not plan.available
    plan.suspend(unit)
    assert memory.used == 0
    other = plan.take()
    assert other.task.profile == PROFILES[1]
    assert plan.take() is None
    plan.resume(unit)
    assert memory.used == 80
    plan.complete(other, rows(0))
    plan.complete(unit, rows(0))
    assert [outcome.profile for outcome in drain(plan)] == [PROFILES[1], PROFILES[0]]


def test_no_window_starts_while_too_many_wait_before_a_retry():
    """Where everything fails, starting ever more windows helps nobody."""
    plan = scheduled(4, rule=None, windows_ahead=9, suspended_ahead=2)
    first, second = taken(plan, 2)
    plan.suspend(first)
    assert plan.available
    plan.suspend(second)
    assert not plan.available
    plan.resume(first)
    assert plan.take().task.profile == PROFILES[2]


def test_nothing_starts_beyond_the_bounds_while_a_retry_is_awaited():
    """It will come by itself, so nothing stands still."""
    plan = scheduled(2, rule=None, suspended_ahead=1)
    plan.suspend(plan.take())
    assert plan.take() is None


def test_postponed_windows_come_again_in_the_order_in_which_they_failed():
    """The back of the queue is behind all others that failed before."""
    plan = scheduled(3, rule=None, windows_ahead=10)
    failed = taken(plan, 3)
    for unit in failed:
        plan.requeue_last(unit)
    assert taken(plan, 3) == failed


def test_a_postponed_window_waits_until_all_others_have_started():
    """It goes to the back of the queue, and is the same window still."""
    plan = scheduled(3, rule=None, windows_ahead=10)
    failed = plan.take()
    plan.requeue_last(failed)
    assert [unit.task.profile for unit in taken(plan, 2)] == PROFILES[1:3]
    assert plan.take() is failed


def test_a_window_without_room_goes_before_all_that_failed():
    """It is not at fault."""
    plan = scheduled(3, rule=None, windows_ahead=10)
    failed, without_room, _ = taken(plan, 3)
    plan.requeue_last(failed)
    plan.requeue_first(without_room)
    assert taken(plan, 2) == [without_room, failed]


@pytest.mark.parametrize("end", ["requeue_last", "requeue_first"])
def test_where_there_is_no_room_the_windows_that_others_wait_for_go_first(end):
    """Their profile's later outcomes fill the memory, and only the first one lets these out."""
    plan = scheduled(1, rule=3, limit=100)
    first, *others = taken(plan, 3)
    getattr(plan, end)(first)
    for unit in others:
        plan.complete(unit, rows(60))
    assert plan.next_ready() is None
    assert plan.take() is first
    assert plan.take() is None
    plan.complete(first, rows(60))
    assert len(drain(plan)) == 3


def test_where_there_is_no_room_windows_that_failed_in_reverse_order_do_not_pile_up():
    """Beyond the bound only a window that leads its profile starts, and its outcome lets others out."""
    memory = MemoryBudget()
    plan = scheduled(1, rule=1, windows_ahead=32, limit=100, memory=memory)
    units = taken(plan, 7)
    for unit in reversed(units[:6]):
        plan.requeue_last(unit)
    plan.complete(units[6], rows(100))
    assert plan.take() is units[0]
    plan.complete(units[0], rows(100))
    assert plan.take() is None
    assert len(drain(plan)) == 1
    for unit in units[1:6]:
        assert plan.take() is unit
        assert plan.take() is None
        plan.complete(unit, rows(100))
        assert memory.used == 200
        assert drain(plan)


def test_where_there_is_no_room_a_failed_window_that_leads_goes_before_those_that_come_in_turn():
    """And before one that failed earlier and leads nowhere; with room again, the turns come first as ever."""
    memory = MemoryBudget()
    plan = scheduled(2, rule=3, windows_ahead=100, limit=100, memory=memory)
    first, other, second, later = taken(plan, 4)
    plan.complete(later, rows(100))
    plan.requeue_last(second)
    plan.requeue_last(first)
    plan.complete(other, rows(0))
    outcomes = [plan.next_ready(), plan.next_ready()]
    assert plan.next_ready() is None
    plan.release(outcomes[0])
    assert plan.take() is None
    elsewhere = StreamBudget(memory, 100).reservation()
    elsewhere.settle(100)
    plan.release(outcomes[1])
    assert plan.take() is first
    plan.complete(first, rows(0))
    elsewhere.release()
    drain(plan)
    memory.expected = 0
    assert [unit.task.window.date_from.day for unit in taken(plan, 3)] == [7, 7, 10]


def test_where_there_is_no_room_nothing_starts_until_the_consumer_is_through():
    """What it is reading counts; else there would be two responses beyond the limit."""
    memory = MemoryBudget()
    plan = scheduled(2, rule=6, limit=100, memory=memory)
    plan.complete(plan.take(), rows(100))
    outcome = plan.next_ready()
    assert plan.take() is None
    plan.release(outcome)
    memory.expected = 0
    assert plan.take() is not None


def test_a_window_that_starts_beyond_the_bound_is_not_cut_off_for_lack_of_room():
    """All others wait for it, so it is the one response that may be beyond; another one is not."""
    memory = MemoryBudget()
    plan = scheduled(3, rule=None, limit=100, memory=memory)
    other = StreamBudget(memory, 100).reservation()
    other.renew()
    other.settle(300)
    unit = plan.take()
    unit.reservation.grow(500)
    assert memory.used == 800
    plan.complete(unit, rows(500))
    drain(plan)
    other.release()
    memory.expected = 0
    first, second = taken(plan, 2)
    first.reservation.grow(100)
    with pytest.raises(MemoryExceeded):
        second.reservation.grow(1)


def test_a_window_put_back_gives_back_its_bytes():
    """So does one that is split or postponed."""
    memory = MemoryBudget()
    memory.learn(40)
    plan = scheduled(3, rule="auto", windows_ahead=10, memory=memory)
    first, second, third = taken(plan, 3)
    assert memory.used == 120
    plan.requeue_first(first)
    assert memory.used == 80
    plan.requeue_last(second)
    assert memory.used == 40
    plan.split(third)
    assert memory.used == 0


def test_a_window_that_was_split_is_asked_for_in_halves_before_what_failed():
    """Its profile joins the turns once, whether it has other windows waiting or not."""
    plan = scheduled(2, rule="auto", windows_ahead=10)
    first, second = taken(plan, 2)
    plan.split(first)
    plan.requeue_last(second)
    half = plan.take()
    assert half.task.window == Window(FIRST, dt.date(2024, 1, 6))
    assert plan.take() is second
    assert not plan.available
    plan.split(half)
    assert plan.take().task.window.days(LAST) == 3
    assert not plan.available


def test_a_window_knows_whether_its_length_has_yet_to_prove_that_it_helps():
    """So that what halves it again is not counted once more as a failure of the server."""
    plan = scheduled(1, rule="auto", windows_ahead=10)
    whole = plan.take()
    assert not whole.task.log.unproven_split
    plan.split(whole)
    half = plan.take()
    assert half.task.log.unproven_split
    plan.complete(half, rows())
    assert not plan.take().task.log.unproven_split


def test_a_split_does_not_hold_up_the_head_of_a_profile_whose_other_window_was_requeued():
    """There is no room for anything else, so nothing would ever happen."""
    plan = scheduled(1, rule="auto", windows_ahead=10, limit=50)
    plan.split(plan.take())
    plan.split(plan.take())
    plan.complete(plan.take(), rows(1))
    drain(plan)
    head, other, last = taken(plan, 3)
    plan.complete(last, rows(50))
    plan.requeue_last(other)
    plan.split(head)
    assert taken(plan, 1)[0].task.window == Window(dt.date(2024, 1, 4), dt.date(2024, 1, 5))
    assert not plan.available


def test_a_window_of_one_day_or_of_a_fixed_length_cannot_be_halved():
    """And each says what to try instead."""
    fixed = scheduled(1, rule=3).take()
    assert not fixed.can_split()
    assert fixed.hint == 'ask for shorter windows, or leave their length to window="auto"'
    plan = scheduled(1, rule="auto")
    unit = plan.take()
    while unit.can_split():
        plan.split(unit)
        unit = plan.take()
    assert unit.task.window == Window(FIRST, FIRST)
    assert unit.hint.startswith("not even a single day could be fetched")


@pytest.mark.parametrize(("result", "days"), [(rows(), 2), (ConnectionFailed("x"), 1)])
def test_shortened_windows_grow_again_after_successes_and_not_after_failures(result, days):
    """A day that was given up does not show that two can be had."""
    plan = scheduled(1, rule="auto")
    unit = plan.take()
    while unit.can_split():
        plan.split(unit)
        unit = plan.take()
    for _ in range(3):
        plan.complete(unit, result)
        drain(plan)
        unit = plan.take()
    assert unit.task.window.days(LAST) == days


def test_profiles_are_wanted_only_while_few_are_open():
    """The source is read as fast as profiles end; one with a window that waits, or that failed, does not count."""
    plan = schedule(rule=None, profiles_ahead=1)
    assert plan.wants_profiles
    plan.add(Unit(PROFILES[0], Window(FIRST, LAST)))
    assert not plan.wants_profiles
    unit = plan.take()
    plan.suspend(unit)
    assert plan.wants_profiles
    plan.resume(unit)
    assert not plan.wants_profiles
    plan.requeue_last(unit)
    assert plan.wants_profiles
    plan.take()
    assert not plan.wants_profiles
    assert plan.complete(unit, rows()) is True
    assert plan.wants_profiles


@pytest.mark.parametrize("end", ["suspend", "requeue_last"])
def test_for_profiles_that_wait_so_many_others_are_wanted_as_may_be_parked_and_no_more(end):
    """Where all fail, an endless source is not read into memory."""
    plan = schedule(rule=None, windows_ahead=100, suspended_ahead=3, profiles_ahead=2)
    source = (Profile.email(f"{number}@example.com") for number in range(100))
    added = 0
    while plan.wants_profiles:
        plan.add(Unit(next(source), Window(FIRST, LAST)))
        added += 1
        if plan.available:
            getattr(plan, end)(plan.take())
    assert added == 2 + 3


def test_only_the_last_window_of_a_profile_ends_it():
    """Whatever the order in which they come back."""
    plan = scheduled(1, rule=6)
    first, second = taken(plan, 2)
    assert plan.complete(second, rows()) is False
    assert plan.complete(first, rows()) is True


def test_it_is_exhausted_when_everything_was_handed_out_and_nothing_will_come():
    """Not before the source is at its end, nor before the last outcome is fetched."""
    plan = scheduled(1, rule=None)
    plan.complete(plan.take(), rows())
    plan.finish_adding()
    assert not plan.exhausted
    drain(plan)
    assert plan.exhausted
    empty = schedule()
    assert not empty.exhausted
    empty.finish_adding()
    assert empty.exhausted
    assert empty.take() is None


def test_closing_gives_back_all_that_is_held():
    """Windows in flight, waiting for the consumer, and in its hands."""
    memory = MemoryBudget()
    memory.learn(40)
    plan = scheduled(3, rule=None, memory=memory)
    first, second, _ = taken(plan, 3)
    plan.complete(first, rows(7))
    plan.complete(second, rows(9))
    plan.next_ready()
    assert memory.used == 56
    plan.close()
    assert memory.used == 0


class Stream:
    """A schedule at work in the hands of chance: each step is one that a real stream could take next."""

    def __init__(self, draw, profiles, memory, **options):
        self.draw = draw
        self.plan = schedule(memory=memory, **options)
        self.windows_ahead = options["windows_ahead"]
        self.source = list(PROFILES[:profiles])
        self.flying, self.parked, self.held, self.out = [], [], [], []
        self.returns = Counter()

    def steps(self):
        """What may happen now."""
        steps = []
        if self.source and self.plan.wants_profiles:
            steps.append(lambda: self.plan.add(Unit(self.source.pop(), Window(FIRST, LAST))))
        if self.plan.available:
            steps.append(self.start)
        if self.flying:
            steps.append(self.end)
        if self.parked:
            steps.append(self.return_from_a_wait)
        if not self.held:
            outcome = self.plan.next_ready()
            if outcome is not None:
                self.held.append(outcome)
        if self.held:
            steps.append(self.hand_out)
        return steps

    def run(self):
        """Until everything is out."""
        while True:
            if not self.source:
                self.plan.finish_adding()
            if self.plan.exhausted and not self.held:
                return
            steps = self.steps()
            assert steps, "it stands still"
            self.draw.choice(steps)()

    def start(self):
        alone, room = not (self.flying or self.parked), self.plan.has_room
        unit = self.plan.take()
        assert unit is not None
        self.flying.append(unit)
        assert alone or len(self.flying) <= self.windows_ahead
        assert room or alone
        assert room or unit.queue.plan.is_head(unit.segment)

    def end(self):
        unit = self.flying.pop(self.draw.randrange(len(self.flying)))
        match self.draw.choice(["rows", "rows", "failed", "requeue_last", "requeue_first", "suspend", "too much"]):
            case "too much" if unit.can_split():
                self.plan.split(unit)
            case "requeue_last" if self.again(unit):
                self.plan.requeue_last(unit)
            case "requeue_first" if self.again(unit):
                self.plan.requeue_first(unit)
            case "suspend" if self.again(unit):
                self.plan.suspend(unit)
                self.parked.append(unit)
            case "failed":
                self.plan.complete(unit, ConnectionFailed("x"), self.draw.choice([0, 1, 3]))
            case _:
                self.receive(unit)

    def again(self, unit):
        """Tell whether it may come back once more; else a course would have no end."""
        key = unit.task.profile, unit.task.window
        self.returns[key] += 1
        return self.returns[key] < 4

    def receive(self, unit):
        size = self.draw.randrange(30)
        unit.reservation.restart()
        try:
            unit.reservation.grow(size // 2)
            unit.reservation.grow(size - size // 2)
        except MemoryExceeded:
            self.plan.requeue_first(unit)
        else:
            self.plan.complete(unit, rows(size))

    def return_from_a_wait(self):
        unit = self.parked.pop(self.draw.randrange(len(self.parked)))
        self.plan.resume(unit)
        if self.draw.random() < 0.5:
            self.plan.requeue_last(unit)
        else:
            self.flying.append(unit)

    def hand_out(self):
        outcome = self.held.pop()
        self.out.append(outcome)
        self.plan.release(outcome)


@given(
    draw=st.randoms(use_true_random=False),
    windows_ahead=st.integers(1, 5),
    suspended_ahead=st.integers(1, 3),
    limit=st.integers(1, 60),
    profiles_ahead=st.integers(1, 4),
    rule=st.sampled_from([None, 1, 5, "auto"]),
    profiles=st.integers(0, len(PROFILES)),
)
def test_whatever_happens_every_window_is_handed_out_once_in_order_and_nothing_gets_stuck(
    draw, windows_ahead, suspended_ahead, limit, profiles_ahead, rule, profiles
):
    """Any bounds, any completion order, any failures, any pace of the consumer; and no byte stays counted.

    Beyond the bounds only a window that leads its profile starts, and only while nothing else is in flight.
    """
    memory = MemoryBudget()
    bounds = {"windows_ahead": windows_ahead, "suspended_ahead": suspended_ahead, "profiles_ahead": profiles_ahead}
    stream = Stream(draw, profiles, memory, limit=limit, rule=rule, **bounds)
    stream.run()
    for profile in PROFILES[:profiles]:
        windows = [outcome.window for outcome in stream.out if outcome.profile == profile]
        assert windows[0].date_from == FIRST
        assert windows[-1].date_to == LAST
        assert all(after.date_from == before.date_to + dt.timedelta(days=1) for before, after in pairwise(windows))
    assert memory.used == 0
    assert not stream.plan.available


def test_a_window_that_found_no_room_goes_before_all_others_when_there_is_room_again():
    """It has waited longest, and in a long job the turns never end."""
    plan = scheduled(5, rule=None, windows_ahead=100)
    first, second = taken(plan, 2)
    plan.requeue_last(second)
    plan.requeue_first(first)
    assert plan.take() is first


def test_windows_behind_the_turns_have_one_take_in_sixty_four():
    """So they get to it although the turns never end."""
    plan = scheduled(1, rule=1, windows_ahead=1000)
    failed = plan.take()
    plan.requeue_last(failed)
    takes = []
    while failed not in takes:
        for profile in PROFILES[1:3]:
            plan.add(Unit(profile, Window(FIRST, LAST)))
        takes.append(plan.take())
    assert len(takes) <= 64
