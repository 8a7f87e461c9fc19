"""Until when who waits for a server that is down has patience."""

import math

from profile_history._sending.circuit_breaker import IN_A_ROW, CircuitBreaker
from profile_history._sending.outage_patience import OutagePatience


def longest(low, high):
    """Draw the longest waits, so that each moment is known."""
    return high


def opened(at=100.0, **beginning):
    """Return the patience of those who wait before a circuit that has opened at a moment."""
    breaker = CircuitBreaker(longest)
    breaker.certain = True
    for _ in range(IN_A_ROW):
        breaker.failed("a", at)
    assert breaker.open
    patience = OutagePatience(breaker)
    patience.begin(**{"pause_asked_for": False, "server_wide": False, **beginning})
    return patience


def test_it_ends_for_all_who_waited_since_the_failures_began_in_the_same_moment():
    """Whenever they came."""
    patience = opened(at=100.0)
    assert {patience.end(60.0, since, probes_first=False) for since in (0.0, 100.0, 159.9)} == {160.0}


def test_who_comes_after_its_end_waits_for_the_next_probe():
    """Only one that ended after that counts."""
    patience = opened(at=100.0)
    patience.record_probe(150.0)
    assert patience.end(60.0, 170.0, probes_first=False) == math.inf
    patience.record_probe(180.0)
    assert patience.end(60.0, 170.0, probes_first=False) == 160.0


def test_a_pause_that_was_asked_for_is_waited_for_until_the_first_probe():
    """The server may be back then."""
    patience = opened(at=100.0, pause_asked_for=True)
    assert patience.end(60.0, 100.0, probes_first=False) == math.inf
    patience.record_probe(200.0)
    assert patience.end(60.0, 100.0, probes_first=False) == 160.0


def test_a_request_that_tells_an_outage_from_windows_that_fail_is_waited_for():
    """Unless the failures cannot lie in the windows."""
    patience = opened(at=100.0)
    assert patience.end(60.0, 100.0, probes_first=True) == math.inf
    patience.begin(pause_asked_for=False, server_wide=True)
    assert patience.end(60.0, 100.0, probes_first=True) == 160.0


def test_who_gives_up_is_told_since_when_and_why():
    """And that what was fetched is good."""
    error = opened(at=100.0).error(161.0, 60.0, "the door is shut")
    assert str(error).startswith("the server has failed for every request for 61 s, and RetryPolicy.patience is 60 s.")
    assert "The last failure: the door is shut" in str(error)
