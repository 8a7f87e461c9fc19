"""Which failure is tried again, after how long, and how often."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profile_history import (
    ApiError,
    AttemptTimeout,
    ConnectionFailed,
    DecodeError,
    RateLimited,
    ResponseError,
    ResponseTooLarge,
    RetryPolicy,
    TruncatedResponse,
    UnexpectedRedirect,
    UntrustedServer,
)
from profile_history._protocol.error_rules import is_about_length
from profile_history._sending.failure_policy import AttemptLog, Step, longest_pause
from profile_history._sending.failure_signals import Signal
from profile_history._sending.retrier import Retrier
from profile_history._sending.retry_budget import RetryBudget
from profile_history.errors import AuthenticationError, Kind, ServerUnavailable, UsageError


def api_error(kind=Kind.TRANSIENT, status=500, retry_after=None):
    splittable = is_about_length(None, status, from_api=False)
    return ApiError(None, "", status, kind=kind, retry_after=retry_after, splittable=splittable)


def throttle(retry_after=None):
    return RateLimited(429, "", 429, kind=Kind.THROTTLED, retry_after=retry_after)


def unknown_host():
    error = ConnectionFailed("no such host")
    error.kind, error.fatal = Kind.AMBIGUOUS, True
    return error


def upper_end(low, high):
    return high


class Client:
    """A retrier whose waits cost nothing, with what it did."""

    def __init__(self, *, uniform=upper_end, time_budget=600.0, budget=None, **policy):
        self.budget = budget or RetryBudget()
        self.retrier = Retrier(RetryPolicy(**policy), self.budget, time_budget=time_budget, uniform=uniform)
        self.waits, self.sent, self.last = [], 0, None

    def send(self, failures, log=None, *, can_split=False, others_succeed=False):
        """One pass over a window that fails in turn and then succeeds; gives the rows or the error."""
        log = AttemptLog() if log is None else log
        for failure in failures:
            self.sent += 1
            log.record(
                failure, seconds=0.0, successes=self.sent if others_succeed else 0, recent_success=others_succeed
            )
            self.last = self.retrier.decide(failure, log, can_split=can_split)
            if self.last.step is not Step.RETRY:
                return failure
            self.retrier.charge(failure, self.last, log)
            self.waits.append(self.last.wait)
        self.sent += 1
        self.budget.succeeded(log.price)
        return "rows"

    def requeue(self, failure, log):
        """The wait before the next pass; None if the window is not sent again."""
        if self.last.step is not Step.REQUEUE:
            return None
        self.retrier.charge(failure, self.last, log)
        log.end_pass()
        return self.last.wait


def drained():
    """A budget that affords no retry."""
    budget = RetryBudget()
    budget.spend(budget.tokens)
    return budget


def test_the_waits_double_from_the_base_up_to_the_cap():
    """Full jitter draws from 0 to these upper ends."""
    client, failures = Client(attempts=8), [ConnectionFailed("x") for _ in range(7)]
    assert client.send(failures) == "rows"
    assert client.waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 20.0]
    assert client.sent == 8


def test_after_a_throttle_the_base_is_twice_as_long():
    """And the cap is the same; what failed last decides."""
    client = Client(attempts=8, cap=6)
    client.send([throttle(), throttle(), ConnectionFailed("x"), throttle(), throttle()])
    assert client.waits == [1.0, 2.0, 2.0, 6.0, 6.0]


def test_every_wait_is_drawn_evenly_from_zero_to_its_upper_end():
    """The policy asks the injected draw for (0, upper end)."""
    asked = []

    def uniform(low, high):
        asked.append((low, high))
        return low

    Client(uniform=uniform).send([ConnectionFailed("x")] * 3)
    assert asked == [(0, 0.5), (0, 1.0), (0, 2.0)]


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (ConnectionFailed("x"), 4),
        (AttemptTimeout("x"), 4),
        (TruncatedResponse("x"), 4),
        (ResponseError("x"), 4),
        (api_error(Kind.TRANSIENT), 4),
        (throttle(), 4),
        (DecodeError("x"), 4),
        (unknown_host(), 2),
        (api_error(Kind.CALLER, 400), 1),
        (api_error(Kind.UNKNOWN, 440), 1),
        (AuthenticationError(401, "", 401, kind=Kind.AUTH), 1),
        (ResponseTooLarge("x"), 1),
        (UnexpectedRedirect("x"), 1),
        (UntrustedServer("x"), 1),
        (ServerUnavailable("x"), 1),
        (UsageError("x"), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_only_what_is_listed_is_tried_again_and_the_last_error_is_raised_itself(error, attempts):
    """A positive list; nothing is wrapped."""
    client, log = Client(), AttemptLog()
    assert client.send([error] * 10, log) is error
    assert (client.sent, len(client.waits)) == (attempts, attempts - 1)
    assert log.failures == (0 if error.kind is Kind.AUTH else attempts)


def test_a_throttle_that_asks_for_too_long_ends_everything_at_once():
    """Others would be told the same; the hint says what to do."""
    error = throttle(retry_after=10_000)
    client = Client()
    assert client.send([error] * 5) is error
    assert (client.sent, client.last.step, client.last.pause) == (1, Step.STOP, None)
    assert "RetryPolicy.patience" in client.last.hint


def test_an_ambiguous_response_is_retried_like_a_transient_one_in_the_first_pass_and_once_in_each_later_one():
    """Four attempts, and one in each of two later passes; then it is a fact."""
    client, log, error = Client(), AttemptLog(), DecodeError("x")
    assert client.send([error] * 9, log) is error
    assert (client.sent, client.waits, client.budget.tokens) == (4, [0.5, 1.0, 2.0], 70)
    assert client.requeue(error, log) == 4.0
    assert client.send([error] * 9, log) is error
    assert client.sent == 5
    assert client.requeue(error, log) == 4.0
    assert client.send([error] * 9, log) is error
    assert (client.sent, client.last.step, log.ambiguous) == (6, Step.GIVE_UP, 6)


def test_ambiguous_responses_are_counted_over_other_failures():
    """A hiccup between two others does not earn one more attempt."""
    client, log = Client(), AttemptLog(passes=1, ambiguous=4)
    assert isinstance(client.send([ConnectionFailed("x"), DecodeError("fifth")], log), DecodeError)
    assert client.last.step is Step.REQUEUE
    log.end_pass()
    assert isinstance(client.send([ConnectionFailed("x"), DecodeError("sixth")], log), DecodeError)
    assert client.last.step is Step.GIVE_UP


def test_where_the_budget_is_empty_each_pass_over_an_ambiguous_response_has_one_attempt():
    """There are as many attempts in all: whoever cannot pay waits behind the others."""
    client, log, error = Client(budget=drained()), AttemptLog(), DecodeError("x")
    for attempt in range(1, 6):
        assert client.send([error] * 9, log) is error
        assert client.sent == attempt
        assert client.requeue(error, log) == 4.0
    assert client.send([error] * 9, log) is error
    assert client.last.step is Step.GIVE_UP


def test_an_unknown_host_is_looked_up_twice_even_where_the_budget_is_empty():
    """The budget guards a server that is down, and here is none; in a later pass there is no third time."""
    client, log, error = Client(budget=drained()), AttemptLog(), unknown_host()
    assert client.send([error] * 9, log) is error
    assert (client.sent, client.last.step, client.budget.tokens) == (2, Step.STOP, 0)
    client = Client(attempts=1)
    assert client.send([error] * 9) is error
    assert (client.sent, client.last.step) == (1, Step.STOP)


def test_an_ambiguous_response_is_not_repeated_beyond_the_windows_time():
    """Nor is anything else."""
    client, error = Client(time_budget=0.4), DecodeError("x")
    assert client.send([error] * 2) is error
    assert client.sent == 1


def test_a_retry_that_was_paid_for_gets_its_price_back_whatever_it_was_for():
    """The last one does."""
    client = Client()
    assert client.send([ConnectionFailed("x"), DecodeError("x")]) == "rows"
    assert client.budget.tokens == 90


def test_throttles_of_a_window_that_others_overtake_do_not_count_as_failures():
    """They only mean "not now": the attempts of all passes stay, and the window's seconds bound them."""
    client, log = Client(attempts=4, passes=1), AttemptLog(successes_seen=-1)
    for _ in range(5):
        error = client.send([throttle() for _ in range(9)], log, others_succeed=True)
        assert isinstance(error, RateLimited)
        assert log.failures == 0
        assert client.requeue(error, log) == 8.0
    assert client.sent == 20
    log.seconds = 599.9
    client.send([throttle()], log, others_succeed=True)
    assert client.last.step is Step.GIVE_UP
    assert "Timeouts.window" in client.last.hint


@pytest.mark.parametrize(("error", "others_succeeded"), [(throttle(), False), (ConnectionFailed("x"), True)])
def test_other_failures_count_and_so_do_throttles_where_nobody_is_answered(error, others_succeeded):
    """Others that are answered show that the fault is the window's own."""
    client, log = Client(), AttemptLog(successes_seen=0)
    client.send([error] * 9, log, others_succeed=others_succeeded)
    assert log.failures == 4


def test_however_many_attempts_are_allowed_the_wait_is_a_number():
    """2 to the power of 2,000 is none that a computer waits for; the cap is."""
    client = Client(attempts=10**9, passes=10**9, time_budget=1e9)
    assert client.retrier.decide(throttle(), AttemptLog(in_pass=10**8), can_split=False).wait == 20.0
    patient = Client(attempts=10**9, cap=1e15, base=1.0, time_budget=1e300).retrier
    for failures, wait in ((40, 2.0**39), (10**6, 1e15)):
        assert patient.decide(ConnectionFailed("x"), AttemptLog(in_pass=failures), can_split=False).wait == wait


@pytest.mark.parametrize(("asked", "waited"), [(7, 7.0), (0, 1.0), (120, 120.0), (0.2, 1.0)])
def test_retry_after_is_a_floor_under_the_wait(asked, waited):
    """The draw here always gives the upper end; a little jitter is in the pause of the client, not here."""
    client = Client()
    client.send([throttle(retry_after=asked)])
    assert client.waits == [pytest.approx(waited)]


@given(st.floats(0, 120), st.integers(1, 8), st.floats(0, 1), st.booleans())
def test_no_wait_is_shorter_than_asked_for_nor_longer_than_the_rules_say(asked, failures, jitter, throttled):
    """Whatever the draw; the jitter on top keeps a thousand clients from coming back in the same moment."""
    retrier = Client(attempts=9, uniform=lambda low, high: low + (high - low) * jitter).retrier
    error = api_error(Kind.THROTTLED if throttled else Kind.TRANSIENT, 429, retry_after=asked)
    longest = min(20, (1.0 if throttled else 0.5) * 2 ** (failures - 1))
    wait = retrier.decide(error, AttemptLog(in_pass=failures), can_split=False).wait
    assert asked <= wait <= max(longest, asked) + asked / 10 + 1e-9


@pytest.mark.parametrize(("patience", "longest"), [(60, 120), (900, 900)])
def test_a_retry_after_of_two_minutes_is_waited_for_and_a_longer_one_as_far_as_patience_goes(patience, longest):
    """The same rule for everybody who asks."""
    assert longest_pause(RetryPolicy(patience=patience)) == longest


@pytest.mark.parametrize(
    ("failures", "attempts"),
    [
        ([ResponseTooLarge("x")], 1),
        ([api_error(Kind.TRANSIENT, 504)], 1),
        ([AttemptTimeout("x"), AttemptTimeout("x")], 2),
        ([AttemptTimeout("x"), ConnectionFailed("x"), AttemptTimeout("x")], 3),
    ],
)
def test_a_window_that_can_be_halved_is_not_repeated_once_it_proved_too_much(failures, attempts):
    """504, 413, too many bytes, or the second timeout: the caller halves instead."""
    client = Client()
    result = client.send(failures + [ConnectionFailed("never reached")] * 9, can_split=True)
    assert result is failures[-1]
    assert client.last.step is Step.SPLIT
    assert client.sent == attempts


def test_one_timeout_alone_is_no_evidence_that_a_window_is_too_long():
    """Two are, in different passes as well."""
    client, log = Client(attempts=1), AttemptLog()
    client.send([error := AttemptTimeout("x")], log, can_split=True)
    assert not client.last.is_too_long
    assert client.requeue(error, log) is not None
    client.send([AttemptTimeout("x")], log, can_split=True)
    assert (client.last.is_too_long, client.last.step, log.timeouts) == (True, Step.SPLIT, 2)


def test_a_window_that_cannot_be_halved_is_repeated_to_the_end():
    """There is nothing better to do."""
    client = Client()
    client.send([api_error(Kind.TRANSIENT, 504)] * 9)
    assert client.sent == 4


def test_a_retry_costs_ten_tokens_and_half_of_that_after_a_throttle():
    """The failure before it says which."""
    client = Client()
    client.send([ConnectionFailed("x"), throttle(), ConnectionFailed("x"), ConnectionFailed("x")])
    assert client.budget.tokens == 100 - 10 - 5 - 10


def test_a_retry_that_succeeds_gets_back_what_it_cost():
    """And not what the ones before it cost."""
    client = Client()
    client.send([ConnectionFailed("x"), throttle()])
    assert client.budget.tokens == 100 - 10 - 5 + 5


def test_a_first_try_that_succeeds_earns_one_token():
    """A retry earns none."""
    client = Client(budget=drained())
    client.send([])
    assert client.budget.tokens == 1


def test_ten_retries_are_made_in_an_outage_however_many_windows_fail():
    """Then each window costs one request a pass, and waits behind the others for the next."""
    client, logs = Client(), [AttemptLog() for _ in range(100)]
    failures = [client.send([ConnectionFailed("x") for _ in range(9)], log) for log in logs]
    assert client.sent == 110
    assert all(isinstance(failure, ConnectionFailed) for failure in failures)
    assert client.requeue(failures[-1], logs[-1]) == 4.0


def test_where_the_budget_is_empty_the_pass_ends_without_a_wait():
    """Nothing is charged."""
    client, error = Client(budget=drained()), throttle()
    assert client.send([error], log := AttemptLog()) is error
    assert (client.sent, client.waits, client.budget.tokens, client.last.step) == (1, [], 0, Step.REQUEUE)
    assert (log.price, log.seconds) == (None, 0)


def test_a_retry_that_is_not_made_for_lack_of_time_costs_nothing():
    """The last attempt of a pass is not paid for twice either."""
    client = Client(time_budget=0.4)
    client.send([ConnectionFailed("x")] * 2)
    assert (client.sent, client.budget.tokens) == (1, 100)
    client = Client(attempts=1)
    client.send([ConnectionFailed("x")] * 2)
    assert (client.sent, client.budget.tokens) == (1, 100)


def test_waits_count_into_the_seconds_of_the_window_and_end_its_pass_when_they_do_not_fit():
    """0.5 + 1 + 2 seconds fit into 3.5, and a little more does not."""
    for seconds, waits in ((3.5, [0.5, 1.0, 2.0]), (3.4, [0.5, 1.0])):
        client, log = Client(time_budget=seconds), AttemptLog()
        assert isinstance(client.send([ConnectionFailed("x")] * 4, log), ConnectionFailed)
        assert client.waits == waits
        assert log.seconds == sum(waits)
        assert client.retrier.seconds_left(log) == seconds - sum(waits)


@pytest.mark.parametrize("error", [throttle(retry_after=100), api_error(Kind.TRANSIENT, 503, retry_after=100)])
def test_a_pause_that_the_server_asks_for_is_not_the_windows_time(error):
    """All of the client waits meanwhile; however long the pauses are, they neither end a pass nor the window."""
    client, log = Client(time_budget=5), AttemptLog(seconds=4.9)
    assert client.send([error] * 3, log) == "rows"
    assert client.waits == [pytest.approx(100)] * 3
    assert log.seconds == 4.9
    assert (log.seconds, client.last.hint, client.last.pause) == (4.9, None, 100)


def test_a_pause_of_no_seconds_that_the_server_asks_for_is_one_too():
    """Its wait is the drawn one, and the window is not charged for that either."""
    client, log = Client(time_budget=5), AttemptLog(seconds=4.9)
    assert client.send([throttle(retry_after=0)], log) == "rows"
    assert (client.waits, log.seconds) == ([1.0], 4.9)


def test_what_the_attempts_took_leaves_less_for_waits():
    """Whoever makes the attempts adds their seconds."""
    client, log = Client(time_budget=600), AttemptLog(seconds=599.8)
    client.send([ConnectionFailed("x")] * 4, log)
    assert client.waits == []


def test_a_window_whose_pass_has_failed_joins_the_back_of_the_queue_after_the_wait_of_its_last_attempt():
    """Up to 4 s where four attempts are a pass; this counts into its seconds as well, a pause asked for does not."""
    client, log = Client(budget=drained()), AttemptLog()
    for error, wait, seconds in (
        (ConnectionFailed("x"), 4.0, 4.0),
        (throttle(), 8.0, 12.0),
        (throttle(retry_after=30), 30.0, 12.0),
    ):
        client.send([error], log)
        assert client.requeue(error, log) == wait
        assert log.seconds == seconds


@pytest.mark.parametrize(
    "error", [api_error(Kind.UNKNOWN, 440), api_error(Kind.CALLER, 400), ResponseTooLarge("x")], ids=repr
)
def test_only_passing_failures_earn_another_pass(error):
    """The back of the queue is for what may pass with time."""
    client = Client()
    client.send([error])
    assert client.last.step is Step.GIVE_UP


@pytest.mark.parametrize("budget", [RetryBudget, drained])
def test_twelve_failures_are_enough_for_a_window_in_however_many_passes(budget):
    """Three passes of four, or more and shorter ones where the budget ended them."""
    client, log, error = Client(budget=budget()), AttemptLog(), ConnectionFailed("x")
    while client.last is None or client.requeue(error, log) is not None:
        client.send([error] * 9, log)
    assert (client.sent, log.failures, client.last.hint) == (12, 12, None)


def test_a_window_whose_time_is_used_up_is_given_up_with_a_hint():
    """It says which option to raise."""
    client, error, log = Client(time_budget=10.0, budget=drained()), ConnectionFailed("x"), AttemptLog(seconds=6.5)
    client.send([error], log)
    assert (client.last.step, client.last.hint) == (Step.GIVE_UP, "the 10 s of Timeouts.window are used up")
    assert log.seconds == 6.5


def test_what_is_not_charged_is_sent_again_at_once_and_costs_nothing():
    """While the server fails for everyone no window pays for it; a fact that it states counts all the same."""
    log = AttemptLog()
    for error, step in (
        (ConnectionFailed("x"), Step.RESEND),
        (throttle(), Step.RESEND),
        (api_error(Kind.CALLER, 400), Step.GIVE_UP),
    ):
        log.record(error, seconds=1.0, circuit_open=True)
        assert Client().retrier.decide(error, log, can_split=False).step is step
    assert (log.failures, log.seconds) == (1, 1.0)


def test_one_kept_connection_that_dies_is_free_and_the_next_one_is_not():
    """It goes out once more on a new connection, and says nothing about the server."""
    log, error = AttemptLog(), ConnectionFailed("x")
    error.stale_connection = True
    log.record(error, seconds=1.0)
    decision = Client().retrier.decide(error, log, can_split=False)
    assert (decision.step, decision.signal, decision.new_connection) == (Step.RESEND, Signal.NEUTRAL, True)
    assert log == AttemptLog(charged=False)
    log.free_retry_used = True
    log.record(error, seconds=1.0)
    assert Client().retrier.decide(error, log, can_split=False).step is Step.RETRY
