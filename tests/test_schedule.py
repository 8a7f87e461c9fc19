"""Which window comes next, under bounds on what runs ahead."""

import datetime as dt
import random
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from profile_history import ConnectionFailed, Profile, Window
from profile_history.envelope import Rows
from profile_history.schedule import Schedule
from profile_history.walking import Walk
from profile_history.windows import Order

FIRST, LAST = dt.date(2024, 1, 1), dt.date(2024, 1, 12)
PROFILES = [Profile.email(f"{number}@example.com") for number in range(6)]


def schedule(*, rule=3, windows_ahead=4, bytes_ahead=10**6, profiles_ahead=8):
    return Schedule(
        make_walk=lambda: Walk(Window(FIRST, LAST), rule=rule, order=Order.OLDEST, today=LAST),
        make_request_id=lambda: "id",
        windows_ahead=windows_ahead,
        bytes_ahead=bytes_ahead,
        profiles_ahead=profiles_ahead,
    )


def rows(size=10):
    return Rows(b" " * size, ())


def drain(plan):
    out = []
    while (outcome := plan.next_ready()) is not None:
        out.append(outcome)
        plan.handed_out(outcome)
    return out


def test_profiles_take_turns():
    """A profile with many windows does not hold up the others."""
    plan = schedule(windows_ahead=100)
    for profile in PROFILES[:3]:
        plan.add(profile)
    taken = [plan.take().task.profile for _ in range(6)]
    assert taken == PROFILES[:3] * 2


def test_no_more_windows_run_ahead_than_allowed_until_the_consumer_is_through_with_one():
    """The look-ahead is bounded in windows."""
    plan = schedule(windows_ahead=2)
    plan.add(PROFILES[0])
    first, second = plan.take(), plan.take()
    assert plan.take() is None
    plan.settle(first, rows())
    plan.settle(second, rows())
    assert plan.take() is None
    plan.handed_out(plan.next_ready())
    assert plan.take() is not None


def test_no_window_starts_while_more_bytes_wait_than_allowed():
    """The look-ahead is bounded in bytes."""
    plan = schedule(bytes_ahead=100)
    plan.add(PROFILES[0])
    plan.settle(plan.take(), rows(100))
    assert plan.take() is None
    plan.handed_out(plan.next_ready())
    assert plan.take() is not None


def test_bytes_that_were_handed_out_no_longer_count():
    """The bound is on what waits, however much has passed through."""
    plan = schedule(rule=1, bytes_ahead=100, windows_ahead=2)
    plan.add(PROFILES[0])
    for _ in range(3):
        plan.settle(plan.take(), rows(90))
        plan.handed_out(plan.next_ready())
    first = plan.take()
    assert plan.take() is not None
    plan.settle(first, rows())


def test_postponed_windows_come_again_in_the_order_in_which_they_failed():
    """The back of the queue is behind all others that failed before."""
    plan = schedule(rule=None, windows_ahead=10)
    for profile in PROFILES[:3]:
        plan.add(profile)
    failed = [plan.take() for _ in range(3)]
    for unit in failed:
        plan.postpone(unit)
    assert [plan.take() for _ in range(3)] == failed


def test_a_postponed_window_waits_until_all_others_have_started():
    """It goes to the back of the queue, and keeps its request id and its count."""
    plan = schedule(rule=None, windows_ahead=10)
    for profile in PROFILES[:3]:
        plan.add(profile)
    failed = plan.take()
    plan.postpone(failed)
    assert [plan.take().task.profile for _ in range(2)] == PROFILES[1:3]
    again = plan.take()
    assert again is failed
    assert again.passes == 2


def test_profiles_are_wanted_only_while_few_are_open():
    """The source is read as fast as profiles end."""
    plan = schedule(rule=None, profiles_ahead=1)
    assert plan.wants_profiles
    plan.add(PROFILES[0])
    assert not plan.wants_profiles
    assert plan.settle(plan.take(), rows()) is True
    assert plan.wants_profiles


def test_it_is_exhausted_when_everything_was_handed_out_and_nothing_will_come():
    """Not before the source is at its end."""
    plan = schedule(rule=None)
    plan.add(PROFILES[0])
    plan.settle(plan.take(), rows())
    drain(plan)
    assert not plan.exhausted
    plan.complete()
    assert plan.exhausted


@given(
    st.integers(),
    st.integers(1, 5),
    st.integers(1, 30),
    st.integers(1, 4),
    st.sampled_from([None, 1, 5, "auto"]),
    st.integers(1, len(PROFILES)),
)
def test_whatever_happens_every_window_is_handed_out_once_in_order_and_nothing_gets_stuck(
    seed, windows_ahead, bytes_ahead, profiles_ahead, rule, profiles
):
    """Any bounds, any completion order, any failures, any pace of the consumer."""
    draw = random.Random(seed)
    plan = schedule(rule=rule, windows_ahead=windows_ahead, bytes_ahead=bytes_ahead, profiles_ahead=profiles_ahead)
    waiting, flying, out = list(PROFILES[:profiles]), [], []
    while not plan.exhausted:
        while waiting and plan.wants_profiles:
            plan.add(waiting.pop())
        if not waiting:
            plan.complete()
        while (unit := plan.take()) is not None:
            flying.append(unit)
        assert len(flying) <= windows_ahead
        outcome = plan.next_ready() if not flying or draw.random() < 0.5 else None
        if outcome is not None:
            out.append(outcome)
            plan.handed_out(outcome)
        else:
            assert flying, "nothing is ready, nothing is on its way, and nothing may start"
            end(plan, flying.pop(draw.randrange(len(flying))), draw)
    for profile in PROFILES[:profiles]:
        windows = [outcome.window for outcome in out if outcome.profile == profile]
        assert windows[0].date_from == FIRST
        assert windows[-1].date_to == LAST
        assert all(after.date_from == before.date_to + dt.timedelta(days=1) for before, after in pairwise(windows))


def end(plan, unit, draw):
    """Ends a window that is on its way, one way or another."""
    match draw.choice(["rows", "failed", "postpone", "too much"]):
        case "too much" if unit.divisible:
            plan.split(unit)
        case "postpone" if unit.passes < 3:
            plan.postpone(unit)
        case "failed":
            plan.settle(unit, ConnectionFailed("x"))
        case _:
            plan.settle(unit, rows())
