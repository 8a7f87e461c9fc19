"""Which failure is tried again, after how long, and how often."""

import asyncio

import pytest
import tenacity

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
from profile_history.errors import AuthenticationError, Kind
from profile_history.retrying import Effort, Retrier, worth_another_pass


def api_error(kind, status=500, retry_after=None):
    return ApiError(None, "", status, kind=kind, retry_after=retry_after)


async def outcome(failures, *, policy=None, divisible=False, uniform=lambda low, high: high):
    """Runs attempts that fail in turn and then succeed; gives the result, the effort, the waits and what was told."""
    waits, told, effort = [], [], Effort()
    left = list(failures)

    async def sleep(seconds):
        waits.append(seconds)

    async def attempt():
        if left:
            raise left.pop(0)
        return "rows"

    retrier = Retrier(policy or RetryPolicy(), sleep=sleep, uniform=uniform)
    try:
        result = await retrier.call(attempt, effort, divisible=divisible, before_retry=told.append)
    except Exception as error:
        result = error
    return result, effort, waits, told


async def test_the_first_attempt_pays_nothing_for_the_retry_machinery(monkeypatch):
    """Tenacity is not touched until something fails."""
    monkeypatch.setattr(tenacity, "AsyncRetrying", None)
    result, effort, waits, _ = await outcome([])
    assert (result, effort.attempts, waits) == ("rows", 1, [])


async def test_the_waits_double_from_the_base_up_to_the_cap():
    """Full jitter draws from 0 to these upper ends."""
    failures = [ConnectionFailed("x") for _ in range(7)]
    result, effort, waits, told = await outcome(failures, policy=RetryPolicy(attempts=8))
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 20.0]
    assert (result, effort.attempts, told) == ("rows", 8, failures)


async def test_every_wait_is_drawn_evenly_from_zero_to_its_upper_end():
    """The policy asks the injected draw for (0, upper end)."""
    asked = []

    def uniform(low, high):
        asked.append((low, high))
        return low

    await outcome([ConnectionFailed("x")] * 3, uniform=uniform)
    assert asked == [(0, 0.5), (0, 1.0), (0, 2.0)]


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (ConnectionFailed("x"), 4),
        (AttemptTimeout("x"), 4),
        (TruncatedResponse("x"), 4),
        (ResponseError("x"), 4),
        (api_error(Kind.TRANSIENT), 4),
        (RateLimited(429, "", 429, kind=Kind.THROTTLED), 4),
        (DecodeError("x"), 2),
        (api_error(Kind.CALLER, 400), 1),
        (api_error(Kind.UNKNOWN, 440), 1),
        (AuthenticationError(401, "", 401, kind=Kind.AUTH), 1),
        (ResponseTooLarge("x"), 1),
        (UnexpectedRedirect("x"), 1),
        (UntrustedServer("x"), 1),
        (ValueError("a bug of ours"), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_only_what_is_listed_is_tried_again_and_the_last_error_is_raised_itself(error, attempts):
    """A positive list; nothing is wrapped."""
    result, effort, waits, _ = await outcome([error] * 10)
    assert result is error
    assert (effort.attempts, len(waits)) == (attempts, attempts - 1)


async def test_a_cancelled_attempt_is_not_tried_again():
    """Cancellation passes through the first attempt and through later ones."""
    for before in ([], [ConnectionFailed("x")]):
        attempts = 0

        async def attempt(before=before):
            nonlocal attempts
            attempts += 1
            if attempts <= len(before):
                raise before[attempts - 1]
            raise asyncio.CancelledError

        async def sleep(_):
            pass

        retrier = Retrier(RetryPolicy(), sleep=sleep)
        with pytest.raises(asyncio.CancelledError):
            await retrier.call(attempt, Effort(), divisible=False, before_retry=lambda _: None)
        assert attempts == len(before) + 1


@pytest.mark.parametrize(("asked", "waited"), [(7, 7 + 0.7), (0, 0.5), (120, 132), (0.2, 0.5 + 0.02)])
async def test_retry_after_is_a_floor_under_the_wait_with_a_tenth_of_jitter_on_top(asked, waited):
    """The draw here always gives the upper end."""
    _, _, waits, _ = await outcome([api_error(Kind.THROTTLED, 429, retry_after=asked)])
    assert waits == [pytest.approx(waited)]


async def test_a_retry_after_beyond_two_minutes_is_not_waited_for():
    """The error is raised, and carries what the server asked for."""
    result, effort, waits, _ = await outcome([api_error(Kind.THROTTLED, 429, retry_after=121)] * 5)
    assert (result.retry_after, effort.attempts, waits) == (121, 1, [])


@pytest.mark.parametrize(
    ("failures", "attempts"),
    [
        ([ResponseTooLarge("x")], 1),
        ([api_error(Kind.TRANSIENT, 504)], 1),
        ([AttemptTimeout("x")] * 2, 2),
        ([AttemptTimeout("x"), ConnectionFailed("x"), AttemptTimeout("x")], 3),
    ],
)
async def test_a_window_that_can_be_halved_is_not_repeated_once_it_proved_too_much(failures, attempts):
    """504, 413, too many bytes, or the second timeout: the caller halves instead."""
    result, effort, _, _ = await outcome(failures + [ConnectionFailed("never reached")] * 9, divisible=True)
    assert result is failures[-1]
    assert result.too_much
    assert effort.attempts == attempts


async def test_a_window_that_cannot_be_halved_is_repeated_to_the_end():
    """There is nothing better to do."""
    _, effort, _, _ = await outcome([api_error(Kind.TRANSIENT, 504)] * 9)
    assert effort.attempts == 4


def test_only_passing_failures_earn_another_pass():
    """The back of the queue is for what time may heal."""
    assert worth_another_pass(ConnectionFailed("x"))
    assert worth_another_pass(api_error(Kind.THROTTLED, 429))
    assert not worth_another_pass(DecodeError("x"))
    assert not worth_another_pass(api_error(Kind.UNKNOWN, 440))
    assert not worth_another_pass(api_error(Kind.THROTTLED, 429, retry_after=121))
