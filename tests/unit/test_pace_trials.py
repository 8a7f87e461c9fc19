"""When it is tried whether a server limits the rate, and what makes such a trial convincing."""

import math
from itertools import pairwise

import pytest

from profile_history._sending.accepted_requests import AcceptedRequests
from profile_history._sending.concurrency_limit import ConcurrencyLimit
from profile_history._sending.pace_trials import PaceTrials

FOUND = 5


class Resting:
    """A concurrency limit that was found, and goes through rest after rest at so many responses per second."""

    def __init__(self, rate):
        self.concurrency = ConcurrencyLimit(16, adaptive=True)
        self.accepted = AcceptedRequests(0)
        self.trials = PaceTrials()
        self.gap = 1 / rate
        self.now = 0.0
        self.accepted.mark_refusal(0.0, 0)
        self.concurrency.settle(FOUND)

    def respond(self, count):
        """Go on until a trial is proposed; return its rate, or `None` if none is for so many responses."""
        for _ in range(count):
            self.now += self.gap
            self.accepted.send(self.now)
            was_trying = self.concurrency.trying
            self.concurrency.succeeded(FOUND, 0.05)
            rate = self.trials.propose(self.now, 0.0, self.concurrency, self.accepted, was_trying=was_trying)
            if rate is not None:
                return rate
        return None

    def fail(self):
        """End the trial as a limit of requests in flight would."""
        limit = self.trials.end(0.0, FOUND + 1)
        assert limit == FOUND
        self.trials.forget()
        self.concurrency.settle(limit)


def test_the_first_trial_comes_after_forty_responses_and_at_the_rate_so_far():
    """And two seconds."""
    resting = Resting(10)
    assert resting.respond(39) is None
    assert resting.respond(3) == pytest.approx(10, rel=0.05)
    assert resting.trials.current.limit == FOUND


def test_a_rest_that_passes_within_one_moment_of_the_clock_is_too_fast_to_space_out():
    """A server in the same process responds to hundreds of requests in one turn of the event loop."""
    resting = Resting(math.inf)
    assert resting.respond(1000) is None


def test_trials_that_fail_become_rare():
    """The rest is 200 responses, and each failure doubles the rests that pass without a trial."""
    resting = Resting(100)
    lengths = []
    for _ in range(4):
        start = resting.now
        while resting.respond(1) is None:
            if resting.concurrency.limit > FOUND:
                resting.concurrency.settle(FOUND)
        lengths.append(round((resting.now - start) * 100))
        resting.fail()
    assert lengths[0] <= 205
    for shorter, longer in pairwise(lengths):
        assert longer > 1.5 * shorter


def test_above_250_per_second_timers_are_too_coarse_for_a_trial():
    """The concurrency limit tries one more itself."""
    assert Resting(400).respond(2000) is None


@pytest.mark.parametrize(
    ("good", "rate", "in_flight", "convincing"),
    [(20, 11.0, 8, True), (20, 10.2, 8, False), (4, 11.0, 8, False), (1, 11.0, 3, False)],
)
def test_a_trial_convinces_if_more_is_let_in_beyond_the_old_limit(good, rate, in_flight, convincing):
    """At least five responses to requests beyond it, and 5 % more in all."""
    resting = Resting(10)
    resting.respond(100)
    resting.trials.current.good = good
    assert (resting.trials.end(rate, in_flight) is None) is convincing
    assert resting.trials.current is None


def test_a_rate_that_brings_less_than_the_old_limit_did_leads_back_to_it():
    """Three percent less are tolerated."""
    resting = Resting(10)
    resting.respond(100)
    resting.trials.current.good = 20
    assert resting.trials.end(11.0, 8) is None
    assert resting.trials.compare(9.9) is None
    assert resting.trials.compare(9.0) == FOUND
