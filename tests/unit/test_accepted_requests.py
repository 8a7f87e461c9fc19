"""How many requests a server let in, and the rates that are read off that."""

import pytest

from profile_history._sending.accepted_requests import AcceptedRequests


def let_in(accepted, start, seconds, rate):
    """So many per second for so long."""
    for number in range(round(seconds * rate)):
        accepted.send(start + number / rate)


def refuse(accepted, at):
    """Send a request that is refused, and return what was known at its sending."""
    count = accepted.send(at)
    accepted.refuse()
    return count


def test_what_is_let_in_between_two_refusals_is_the_rate_of_a_bucket_whatever_its_burst():
    """At both moments it is empty; that a burst came between does not matter."""
    accepted = AcceptedRequests(0)
    accepted.mark_refusal(0.0, refuse(accepted, 0.0))
    let_in(accepted, 1.0, 3.0, 10)
    let_in(accepted, 4.0, 1.0, 70)
    count = refuse(accepted, 5.0)
    assert accepted.between_refusals(5.0, count) == pytest.approx(20)
    assert accepted.mark_refusal(5.0, count)
    assert accepted.count == 100


def test_too_few_or_too_short_a_time_are_no_rate():
    """Twenty, and two seconds: servers count by whole seconds."""
    accepted = AcceptedRequests(0)
    accepted.mark_refusal(0.0, refuse(accepted, 0.0))
    let_in(accepted, 0.1, 1.0, 40)
    assert accepted.between_refusals(1.1, accepted.count) is None
    assert not accepted.mark_refusal(1.1, accepted.count)
    let_in(accepted, 10.0, 1.0, 5)
    assert accepted.since_first_refusal(11.0, accepted.count) == pytest.approx(45 / 11)
    fresh = AcceptedRequests(0)
    fresh.mark_refusal(0.0, 0)
    let_in(fresh, 0.1, 3.0, 1)
    assert fresh.since_first_refusal(4.0, fresh.count) is None


def test_what_was_let_in_recently_is_that_of_about_the_last_second():
    """Nothing, where nothing was."""
    accepted = AcceptedRequests(3)
    assert accepted.recently(1.0, accepted.count) == 0
    let_in(accepted, 0.0, 5.0, 10)
    let_in(accepted, 5.0, 3.0, 40)
    assert accepted.recently(8.0, accepted.count) == pytest.approx(40, rel=0.05)


def test_what_was_measured_across_an_outage_is_forgotten():
    """The count goes on."""
    accepted = AcceptedRequests(0)
    accepted.mark_refusal(0.0, 0)
    let_in(accepted, 0.0, 5.0, 10)
    accepted.forget()
    assert accepted.between_refusals(60.0, accepted.count) is None
    assert accepted.recently(60.0, accepted.count) == 0
    assert accepted.count == 50
