"""Once more? Which failure is worth another attempt, after how long, how often. The only module with tenacity."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import attrs
import tenacity

from profile_history.errors import ApiError, AttemptTimeout, HistoryError, Kind
from profile_history.options import RetryPolicy

T = TypeVar("T")

# A server that asks for a longer pause than this is not waited for inside a request.
_LONGEST_RETRY_AFTER = 120.0
_RETRY_AFTER_JITTER = 0.1
_TIMEOUTS_THAT_ARE_EVIDENCE = 2

# What is not written here is not repeated. A malformed answer may be a passing hiccup of a proxy; twice is a fact.
_RETRIES: dict[Kind, int | None] = {Kind.TRANSIENT: None, Kind.THROTTLED: None, Kind.MALFORMED: 1}


@attrs.define
class Effort:
    """What was spent on one window so far, over all its passes."""

    attempts: int = 0
    timeouts: int = 0
    malformed: int = 0


class Retrier:
    """Repeats one request, never a stream, as its policy says."""

    def __init__(
        self,
        policy: RetryPolicy,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._policy = policy
        self._sleep = sleep
        self._uniform = uniform

    @property
    def passes(self) -> int:
        """How often a window may be tried anew from the back of the queue."""
        return self._policy.passes

    async def call(
        self,
        attempt: Callable[[], Awaitable[T]],
        effort: Effort,
        *,
        divisible: bool,
        before_retry: Callable[[HistoryError], None],
    ) -> T:
        """Makes the first attempt, and the others if it fails.

        Args:
            attempt: Sends one request.
            effort: The window's count, written to.
            divisible: Whether the window can be halved, which beats repeating one that is too much.
            before_retry: Told about each failure that is followed by another attempt.

        Raises:
            HistoryError: The last attempt's error.
        """
        failures: list[HistoryError] = []

        async def counted() -> T:
            effort.attempts += 1
            try:
                return await attempt()
            except HistoryError as error:
                _note(error, effort)
                raise

        async def after_the_first() -> T:
            if failures:
                raise failures.pop()
            return await counted()

        def again(error: BaseException) -> bool:
            return isinstance(error, HistoryError) and _worthwhile(error, effort, divisible=divisible)

        try:
            return await counted()
        except HistoryError as error:
            if not again(error):
                raise
            failures.append(error)

        def tell(state: tenacity.RetryCallState) -> None:
            before_retry(_failure(state))

        return await tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(again),
            wait=self._wait,
            stop=tenacity.stop_after_attempt(self._policy.attempts),
            sleep=self._sleep,
            before_sleep=tell,
            reraise=True,
        )(after_the_first)

    def _wait(self, state: tenacity.RetryCallState) -> float:
        error = _failure(state)
        drawn = self._uniform(0, min(self._policy.cap, self._policy.base * 2.0 ** (state.attempt_number - 1)))
        asked = error.retry_after if isinstance(error, ApiError) else None
        if asked is None:
            return drawn
        return max(drawn, asked) + self._uniform(0, _RETRY_AFTER_JITTER * asked)


def _failure(state: tenacity.RetryCallState) -> HistoryError:
    assert state.outcome is not None
    error = state.outcome.exception()
    assert isinstance(error, HistoryError)
    return error


def _note(error: HistoryError, effort: Effort) -> None:
    effort.malformed += error.kind is Kind.MALFORMED
    if isinstance(error, AttemptTimeout):
        effort.timeouts += 1
        error.too_much = effort.timeouts >= _TIMEOUTS_THAT_ARE_EVIDENCE


def _worthwhile(error: HistoryError, effort: Effort, *, divisible: bool) -> bool:
    if error.kind not in _RETRIES or (divisible and error.too_much):
        return False
    if _asks_for_too_long(error):
        return False
    limit = _RETRIES[error.kind]
    return limit is None or effort.malformed <= limit


def worth_another_pass(error: HistoryError) -> bool:
    """Whether a window that used up its attempts should be tried again later."""
    return error.kind in (Kind.TRANSIENT, Kind.THROTTLED) and not _asks_for_too_long(error)


def _asks_for_too_long(error: HistoryError) -> bool:
    return isinstance(error, ApiError) and (error.retry_after or 0) > _LONGEST_RETRY_AFTER
