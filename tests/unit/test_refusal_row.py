"""Pauses after refusals in a row, and those that the server asks for."""

import pytest

from profile_history._sending.refusal_row import RefusalRow


def longest(low, high):
    """Draw the longest waits, so that each moment is known."""
    return high


def test_a_pause_is_twice_as_long_with_each_refusal_up_to_a_quarter_of_a_minute():
    """And never so short that it means nothing."""
    row, pauses = RefusalRow(longest), []
    for row.length in range(12):
        pauses.append(row.pause(0.0, 0.0) / 1.1)
    assert pauses[:3] == pytest.approx([0.02, 0.04, 0.08])
    assert pauses[-1] == pytest.approx(15.0)
    assert row.paused_until == pytest.approx(15.0 * 1.1)


def test_a_pause_that_the_server_asks_for_is_not_lengthened_by_one_of_our_own():
    """It knows best."""
    row = RefusalRow(longest)
    row.length = 10
    row.ask(0.0, 2.0)
    assert row.pause(1.0, 1.0) == 0.0
    assert row.paused_until == pytest.approx(2.2)
    assert row.pause(3.0, 1.0) == pytest.approx(15.0 * 1.1)


def test_a_good_response_lifts_what_the_server_asked_for_and_how_long_it_lasted_is_told_once():
    """The longest of them is told once as well."""
    row = RefusalRow(longest)
    assert row.wake(0.0) == 0.0
    row.ask(1.0, 10.0)
    row.ask(2.0, 4.0)
    assert row.paused_until == pytest.approx(12.0)
    row.lift()
    assert row.paused_until < 0
    assert (row.wake(5.0), row.wake(6.0)) == (4.0, 0.0)
    assert (row.take_longest(), row.take_longest()) == (11.0, 0.0)
