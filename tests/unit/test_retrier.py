"""Which failure is tried again, after how long, and how often."""

import asyncio

import pytest
import tenacity
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
from profile_history._sending.memory_budget import MemoryExceeded
from profile_history._sending.retrier import AttemptLog, Retrier
from profile_history._sending.retry_budget import RetryBudget
from profile_history.errors import AuthenticationError, Kind, ServerUnavailable, UsageError


def api_error(kind=Kind.TRANSIENT, status=500, retry_after=None):
    return ApiError(None, "", status, kind=kind, retry_after=retry_after)


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

    def __init__(self, *, uniform=upper_end, window=600.0, budget=None, **policy):
        self.budget = budget or RetryBudget()
        self.retrier = Retrier(RetryPolicy(**policy), self.budget, window=window, uniform=uniform)
        self.waits, self.told, self.sent = [], [], 0

    async def call(self, failures, log=None, *, divisible=False):
        """One pass over a window that fails in turn and then succeeds; gives the rows or the error."""
        left = iter(failures)

        async def attempt():
            self.sent += 1
            for failure in left:
                raise failure
            return "rows"

        async def sleep(seconds):
            self.waits.append(seconds)

        def tell(error, wait):
            self.told.append((error, wait, error.__traceback__))

        log = AttemptLog() if log is None else log
        try:
            return await self.retrier.call(attempt, log, divisible=divisible, sleep=sleep, before_retry=tell)
        except Exception as error:
            return error


def drained():
    """A budget that affords no retry."""
    budget = RetryBudget()
    while budget.spend(throttled=True):
        pass
    return budget


async def test_the_first_attempt_pays_nothing_for_the_retry_machinery(monkeypatch):
    """Tenacity is not touched until something fails, nor where a failure is final."""
    monkeypatch.setattr(tenacity, "AsyncRetrying", None)
    client = Client()
    assert await client.call([]) == "rows"
    assert (client.sent, client.waits) == (1, [])
    final = ResponseTooLarge("x")
    assert await client.call([final]) is final


async def test_the_waits_double_from_the_base_up_to_the_cap():
    """Full jitter draws from 0 to these upper ends."""
    client, failures = Client(attempts=8), [ConnectionFailed("x") for _ in range(7)]
    assert await client.call(failures) == "rows"
    assert client.waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 20.0]
    assert client.sent == 8


async def test_after_a_throttle_the_base_is_twice_as_long():
    """And the cap is the same; what failed last decides."""
    client = Client(attempts=8, cap=6)
    await client.call([throttle(), throttle(), ConnectionFailed("x"), throttle(), throttle()])
    assert client.waits == [1.0, 2.0, 2.0, 6.0, 6.0]


async def test_every_wait_is_drawn_evenly_from_zero_to_its_upper_end():
    """The policy asks the injected draw for (0, upper end)."""
    asked = []

    def uniform(low, high):
        asked.append((low, high))
        return low

    await Client(uniform=uniform).call([ConnectionFailed("x")] * 3)
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
        (DecodeError("x"), 2),
        (unknown_host(), 2),
        (api_error(Kind.CALLER, 400), 1),
        (api_error(Kind.UNKNOWN, 440), 1),
        (AuthenticationError(401, "", 401, kind=Kind.AUTH), 1),
        (ResponseTooLarge("x"), 1),
        (UnexpectedRedirect("x"), 1),
        (UntrustedServer("x"), 1),
        (ServerUnavailable("x"), 1),
        (UsageError("x"), 1),
        (ValueError("a bug of ours"), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_only_what_is_listed_is_tried_again_and_the_last_error_is_raised_itself(error, attempts):
    """A positive list; nothing is wrapped."""
    client, log = Client(), AttemptLog()
    assert await client.call([error] * 10, log) is error
    assert (client.sent, len(client.waits)) == (attempts, attempts - 1)
    assert log.failures == (0 if isinstance(error, ValueError) else attempts)


async def test_a_throttle_that_asks_for_too_long_ends_everything_at_once():
    """The fetching marks it as fatal; a throttle is repeated otherwise."""
    error = throttle(retry_after=10_000)
    error.fatal = True
    client = Client()
    assert await client.call([error] * 5) is error
    assert client.sent == 1


async def test_what_may_be_a_fact_is_repeated_once_in_all_passes_together():
    """A hiccup between two others does not earn it a third try, nor does a new pass."""
    client, log = Client(), AttemptLog()
    failures = [DecodeError("x"), ConnectionFailed("x"), DecodeError("y"), ConnectionFailed("never reached")]
    assert await client.call(failures, log) is failures[2]
    assert (client.sent, log.ambiguous) == (3, 2)
    again = DecodeError("z")
    assert await client.call([again] * 3, log) is again
    assert client.sent == 4


async def test_what_may_be_a_fact_is_repeated_once_even_where_the_budget_is_empty():
    """The budget guards a server that is down for all, and nothing says so here; nothing is paid or earned back."""
    client, log = Client(budget=drained()), AttemptLog()
    error = DecodeError("x")
    assert await client.call([error] * 9, log) is error
    assert (client.sent, log.failures, client.budget.tokens) == (2, 2, 0)
    assert client.retrier.wait_before_next_pass(error, log) is None


async def test_the_one_repetition_of_what_may_be_a_fact_may_come_in_another_pass():
    """Where the pass has no attempt left, or another failure came between."""
    client, log = Client(attempts=1), AttemptLog()
    error = DecodeError("x")
    assert await client.call([error], log) is error
    assert client.retrier.wait_before_next_pass(error, log) is not None
    assert await client.call([ConnectionFailed("x")], log)
    assert await client.call([error], log) is error
    assert client.retrier.wait_before_next_pass(error, log) is None
    assert (client.sent, log.ambiguous, client.budget.tokens) == (3, 2, 100)


async def test_what_may_be_a_fact_is_not_repeated_beyond_the_windows_time():
    """Only the budget is not asked."""
    client, log = Client(window=0.4), AttemptLog()
    error = DecodeError("x")
    assert await client.call([error] * 2, log) is error
    assert client.sent == 1


async def test_a_retry_that_was_paid_for_gets_its_price_back_after_a_free_one_as_well():
    """The repetition of what may be a fact lies between."""
    client = Client()
    assert await client.call([ConnectionFailed("x"), DecodeError("x")]) == "rows"
    assert client.budget.tokens == 100


async def test_throttles_of_a_window_that_others_overtake_do_not_count_as_failures():
    """They only mean "not now": the attempts of all passes stay, and the window's seconds bound them."""
    client, log = Client(attempts=4, passes=1), AttemptLog(others_succeeded=True)
    for _ in range(5):
        error = await client.call([throttle() for _ in range(9)], log)
        assert isinstance(error, RateLimited)
        assert log.failures == 0
        assert client.retrier.wait_before_next_pass(error, log) == 8.0
    assert client.sent == 20
    log.seconds = 599.0
    assert client.retrier.wait_before_next_pass(error, log) is None
    assert "Timeouts.window" in error.hint


@pytest.mark.parametrize(
    ("error", "others_succeeded"), [(throttle(), False), (ConnectionFailed("x"), True), (AttemptTimeout("x"), True)]
)
async def test_other_failures_count_and_so_do_throttles_where_nobody_is_answered(error, others_succeeded):
    """Others that are answered show that the fault is the window's own."""
    client, log = Client(), AttemptLog(others_succeeded=others_succeeded)
    await client.call([error] * 9, log)
    assert log.failures == 4


def test_however_many_attempts_are_allowed_the_wait_is_a_number():
    """2 to the power of 2,000 is none that a computer waits for; the cap is."""
    client = Client(attempts=10**9, passes=10**9, window=1e9)
    assert client.retrier.wait_before_next_pass(ConnectionFailed("x"), AttemptLog(failures=1)) == 20.0
    assert client.retrier.wait(throttle(), 10**12) == 20.0
    patient = Client(cap=1e15, base=1.0).retrier
    assert patient.wait(ConnectionFailed("x"), 40) == 2.0**39
    assert patient.wait(ConnectionFailed("x"), 10**6) == 1e15


@pytest.mark.parametrize("failures", [[], [ConnectionFailed("x")], [ConnectionFailed("x")] * 2])
@pytest.mark.parametrize("end", [asyncio.CancelledError, KeyboardInterrupt, MemoryExceeded])
async def test_what_is_no_failure_of_the_request_passes_through_at_any_attempt(failures, end):
    """Cancellation, Ctrl-C and an answer without room are neither counted nor repeated."""
    client, log, left = Client(), AttemptLog(), list(failures)

    async def attempt():
        client.sent += 1
        raise left.pop() if left else end

    async def sleep(_): ...

    with pytest.raises(end):
        await client.retrier.call(attempt, log, divisible=False, sleep=sleep, before_retry=lambda *_: None)
    assert client.sent == len(failures) + 1
    assert log.failures == len(failures)


async def test_a_wait_that_is_cancelled_ends_the_pass():
    """The stream was closed meanwhile; nothing more is sent."""
    client = Client()

    async def attempt():
        client.sent += 1
        raise ConnectionFailed("x")

    async def sleep(_):
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await client.retrier.call(attempt, AttemptLog(), divisible=False, sleep=sleep, before_retry=lambda *_: None)
    assert client.sent == 1


@pytest.mark.parametrize(("asked", "waited"), [(7, 7.0), (0, 1.0), (120, 120.0), (0.2, 1.0)])
async def test_retry_after_is_a_floor_under_the_wait(asked, waited):
    """The draw here always gives the upper end; a little jitter is in the pause of the client, not here."""
    client = Client()
    await client.call([throttle(retry_after=asked)])
    assert client.waits == [pytest.approx(waited)]


@given(st.floats(0, 120), st.integers(1, 8), st.floats(0, 1), st.booleans())
def test_no_wait_is_shorter_than_asked_for_nor_longer_than_the_rules_say(asked, failures, jitter, throttled):
    """Whatever the draw; the jitter on top keeps a thousand clients from coming back in the same moment."""
    retrier = Client(uniform=lambda low, high: low + (high - low) * jitter).retrier
    error = api_error(Kind.THROTTLED if throttled else Kind.TRANSIENT, 429, retry_after=asked)
    longest = min(20, (1.0 if throttled else 0.5) * 2 ** (failures - 1))
    assert asked <= retrier.wait(error, failures) <= max(longest, asked) + asked / 10 + 1e-9


@pytest.mark.parametrize(("patience", "longest"), [(60, 120), (900, 900)])
def test_a_retry_after_of_two_minutes_is_waited_for_and_a_longer_one_as_far_as_patience_goes(patience, longest):
    """The same rule for everybody who asks."""
    retrier = Client(patience=patience).retrier
    assert (retrier.patience, retrier.longest_pause) == (patience, longest)


@pytest.mark.parametrize(
    ("failures", "attempts"),
    [
        ([ResponseTooLarge("x")], 1),
        ([api_error(Kind.TRANSIENT, 504)], 1),
        ([AttemptTimeout("x"), AttemptTimeout("x")], 2),
        ([AttemptTimeout("x"), ConnectionFailed("x"), AttemptTimeout("x")], 3),
    ],
)
async def test_a_window_that_can_be_halved_is_not_repeated_once_it_proved_too_much(failures, attempts):
    """504, 413, too many bytes, or the second timeout: the caller halves instead."""
    client = Client()
    result = await client.call(failures + [ConnectionFailed("never reached")] * 9, divisible=True)
    assert result is failures[-1]
    assert result.splittable
    assert client.sent == attempts


async def test_one_timeout_alone_is_no_evidence_that_a_window_is_too_much():
    """Two are, in different passes as well."""
    client, log = Client(attempts=1), AttemptLog()
    first = await client.call([AttemptTimeout("x")], log, divisible=True)
    assert not first.splittable
    second = await client.call([AttemptTimeout("x")], log, divisible=True)
    assert second.splittable
    assert log.timeouts == 2


async def test_a_window_that_cannot_be_halved_is_repeated_to_the_end():
    """There is nothing better to do."""
    client = Client()
    await client.call([api_error(Kind.TRANSIENT, 504)] * 9)
    assert client.sent == 4


async def test_each_failure_that_is_followed_by_another_attempt_is_told_of_with_its_wait():
    """Before the wait, and the last one not."""
    client, failures = Client(), [ConnectionFailed(str(number)) for number in range(4)]
    assert await client.call(failures) is failures[-1]
    assert [(error, wait) for error, wait, _ in client.told] == list(zip(failures, client.waits, strict=False))
    assert len(client.told) == 3


async def test_a_failure_that_is_kept_while_the_window_waits_holds_no_frames():
    """They may hold a whole answer."""
    client = Client()
    await client.call([ConnectionFailed("x") for _ in range(4)])
    assert [trace for _, _, trace in client.told] == [None] * 3


async def test_a_retry_costs_ten_tokens_and_half_of_that_after_a_throttle():
    """The failure before it says which."""
    client = Client()
    await client.call([ConnectionFailed("x"), throttle(), ConnectionFailed("x"), ConnectionFailed("x")])
    assert client.budget.tokens == 100 - 10 - 5 - 10


async def test_a_retry_that_succeeds_gets_back_what_it_cost():
    """And not what the ones before it cost."""
    client = Client()
    await client.call([ConnectionFailed("x"), throttle()])
    assert client.budget.tokens == 100 - 10 - 5 + 5


async def test_a_first_try_that_succeeds_earns_one_token():
    """A retry earns none."""
    client = Client(budget=drained())
    await client.call([])
    assert client.budget.tokens == 1


async def test_ten_retries_are_made_in_an_outage_however_many_windows_fail():
    """Then each window costs one request a pass, and waits behind the others for the next."""
    client, logs = Client(), [AttemptLog() for _ in range(100)]
    failures = [await client.call([ConnectionFailed("x") for _ in range(9)], log) for log in logs]
    assert client.sent == 110
    assert all(isinstance(failure, ConnectionFailed) for failure in failures)
    assert client.retrier.wait_before_next_pass(failures[-1], logs[-1]) == 4.0


async def test_where_the_budget_is_empty_the_pass_ends_without_a_wait():
    """The failure itself comes out, nobody is told of a retry, and nothing is charged."""
    client, error = Client(budget=drained()), throttle()
    assert await client.call([error], log := AttemptLog()) is error
    assert (client.sent, client.waits, client.told, client.budget.tokens) == (1, [], [], 0)
    assert (log.price, log.seconds) == (None, 0)


async def test_a_retry_that_is_not_made_for_lack_of_time_costs_nothing():
    """The last attempt of a pass is not paid for twice either."""
    client = Client(window=0.4)
    await client.call([ConnectionFailed("x")] * 2)
    assert (client.sent, client.budget.tokens) == (1, 100)
    client = Client(attempts=1)
    await client.call([ConnectionFailed("x")] * 2)
    assert (client.sent, client.budget.tokens) == (1, 100)


async def test_waits_count_into_the_seconds_of_the_window_and_end_its_pass_when_they_do_not_fit():
    """0.5 + 1 + 2 seconds fit into 3.5, and a little more does not."""
    for window, waits in ((3.5, [0.5, 1.0, 2.0]), (3.4, [0.5, 1.0])):
        client, log = Client(window=window), AttemptLog()
        assert isinstance(await client.call([ConnectionFailed("x")] * 4, log), ConnectionFailed)
        assert client.waits == waits
        assert log.seconds == sum(waits)
        assert client.retrier.seconds_left(log) == window - sum(waits)


@pytest.mark.parametrize("error", [throttle(retry_after=100), api_error(Kind.TRANSIENT, 503, retry_after=100)])
async def test_a_pause_that_the_server_asks_for_is_not_the_windows_time(error):
    """All of the client waits meanwhile; however long the pauses are, they neither end a pass nor the window."""
    client, log = Client(window=5), AttemptLog(seconds=4.9)
    assert await client.call([error] * 3, log) == "rows"
    assert client.waits == [pytest.approx(100)] * 3
    assert log.seconds == 4.9
    assert client.retrier.wait_before_next_pass(error, log) == pytest.approx(100)
    assert (log.seconds, error.hint) == (4.9, None)


async def test_a_pause_of_no_seconds_that_the_server_asks_for_is_one_too():
    """Its wait is the drawn one, and the window is not charged for that either."""
    client, log = Client(window=5), AttemptLog(seconds=4.9)
    assert await client.call([throttle(retry_after=0)], log) == "rows"
    assert (client.waits, log.seconds) == ([1.0], 4.9)


async def test_what_the_attempts_took_leaves_less_for_waits():
    """Whoever makes the attempts adds their seconds."""
    client, log = Client(window=600), AttemptLog(seconds=599.8)
    await client.call([ConnectionFailed("x")] * 4, log)
    assert client.waits == []


def test_a_window_whose_pass_has_failed_joins_the_back_of_the_queue_after_the_wait_of_its_last_attempt():
    """Up to 4 s where four attempts are a pass; this counts into its seconds as well, a pause asked for does not."""
    client, log = Client(), AttemptLog(failures=4)
    assert client.retrier.wait_before_next_pass(ConnectionFailed("x"), log) == 4.0
    assert client.retrier.wait_before_next_pass(throttle(), log) == 8.0
    assert log.seconds == 12.0
    assert client.retrier.wait_before_next_pass(throttle(retry_after=30), log) == 30.0
    assert log.seconds == 12.0


def test_only_passing_failures_earn_another_pass():
    """The back of the queue is for what time may heal."""
    retrier = Client().retrier
    for error in (api_error(Kind.UNKNOWN, 440), api_error(Kind.CALLER, 400), ResponseTooLarge("x")):
        assert retrier.wait_before_next_pass(error, AttemptLog(failures=1)) is None
    twice = AttemptLog(failures=2, ambiguous=2)
    assert retrier.wait_before_next_pass(DecodeError("x"), twice) is None


def test_twelve_failures_are_enough_for_a_window_in_however_many_passes():
    """Three passes of four, or more and shorter ones where the budget ended them."""
    retrier = Client().retrier
    assert retrier.wait_before_next_pass(ConnectionFailed("x"), AttemptLog(failures=11)) is not None
    assert retrier.wait_before_next_pass(ConnectionFailed("x"), AttemptLog(failures=12)) is None


def test_a_window_whose_time_is_used_up_is_given_up_with_a_hint():
    """It says which option to raise; one that failed too often says nothing of the kind."""
    client, error, log = Client(window=10.0), ConnectionFailed("x"), AttemptLog(failures=4, seconds=6.5)
    assert client.retrier.wait_before_next_pass(error, log) is None
    assert error.hint == "the 10 s of Timeouts.window are used up"
    assert log.seconds == 6.5
    often = ConnectionFailed("x")
    assert client.retrier.wait_before_next_pass(often, AttemptLog(failures=12)) is None
    assert often.hint is None
