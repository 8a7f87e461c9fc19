"""Once more? Which failure is worth another attempt, after how long, how often. The only module with tenacity."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import attrs
import tenacity

from profile_history._sending.retry_budget import RetryBudget
from profile_history.errors import ApiError, AttemptTimeout, HistoryError, Kind
from profile_history.options import RetryPolicy

T = TypeVar("T")

_THROTTLE_FACTOR = 2
_TIMEOUTS_THAT_ARE_EVIDENCE = 2
_LONGEST_RETRY_AFTER = 120.0
_MOST_DOUBLINGS = 62

# What is not written here is not repeated.
_RETRIES: dict[Kind, int | None] = {Kind.TRANSIENT: None, Kind.THROTTLED: None, Kind.AMBIGUOUS: 1}


@attrs.define
class AttemptLog:
    """What was spent on one window so far, over all its passes.

    Attributes:
        attempts: Requests sent.
        failures: Of these, those that failed and count.
        timeouts: Of these, those that timed out.
        ambiguous: Of these, those that look more like a fact than like a hiccup.
        seconds: Of attempts that count, and of the waits after them.
        price: What the last retry cost, None where there was none.
        free_retry_used: Whether the one free retry on a new connection was used.
        successes_seen: How many good answers the client had had when the window last failed.
        others_succeeded: Whether others were answered between its last two failures.
    """

    attempts: int = 0
    failures: int = 0
    timeouts: int = 0
    ambiguous: int = 0
    seconds: float = 0.0
    price: int | None = None
    free_retry_used: bool = False
    successes_seen: int | None = None
    others_succeeded: bool = False


class Retrier:
    """Repeats one request, never a stream, as its policy and the client's budget say."""

    def __init__(
        self,
        policy: RetryPolicy,
        budget: RetryBudget,
        *,
        window: float,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.policy = policy
        self.budget = budget
        self._window = window
        self._uniform = uniform

    @property
    def patience(self) -> float:
        """Seconds; how long a server that fails for everyone is waited for."""
        return self.policy.patience

    @property
    def longest_pause(self) -> float:
        """Seconds; the longest `Retry-After` that is waited for."""
        return max(_LONGEST_RETRY_AFTER, self.policy.patience)

    def seconds_left(self, log: AttemptLog) -> float:
        """How long attempts at a window may still take."""
        return self._window - log.seconds

    async def call(
        self,
        attempt: Callable[[], Awaitable[T]],
        log: AttemptLog,
        *,
        divisible: bool,
        sleep: Callable[[float], Awaitable[None]],
        before_retry: Callable[[HistoryError, float], None],
    ) -> T:
        """Makes one pass: the first attempt, and others while it fails.

        Args:
            attempt: Sends one request, and raises only failures that count.
            log: The window's count, written to.
            divisible: Whether the window can be halved, which beats repeating one that is too much.
            sleep: Waits some seconds.
            before_retry: Told about each failure that is followed by another attempt, and the wait.

        Raises:
            HistoryError: The last attempt's error.
        """
        try:
            result = await attempt()
        except HistoryError as error:
            _note(error, log)
            one_pass = _Pass(self, attempt, log, divisible, before_retry, error)
            if not one_pass.again(error):
                raise
        else:
            self.budget.succeeded(log.price)
            return result
        return await tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(one_pass.again),
            wait=one_pass.wait,
            stop=one_pass.over,
            sleep=sleep,
            before_sleep=one_pass.tell,
            reraise=True,
        )(one_pass.attempt)

    def wait_before_next_pass(self, error: HistoryError, log: AttemptLog) -> float | None:
        """Seconds after which a window whose pass has failed joins the back of the queue; None where it is given up."""
        if not _may_go_on(error, log):
            return None
        if log.failures >= self.policy.attempts * self.policy.passes:
            return None
        wait = self.wait(error, self.policy.attempts)
        charge = self.charge(error, wait, log)
        if charge > self.seconds_left(log):
            error.hint = f"the {self._window:g} s of Timeouts.window are used up"
            return None
        log.seconds += charge
        return wait

    def charge(self, error: HistoryError, wait: float, log: AttemptLog) -> float:
        """How much of a wait is the window's own time, in seconds."""
        # A pause that the server asks for is all of the client's. Where others are answered and this window is told to
        # wait again and again, that has to come to an end as well.
        if not isinstance(error, ApiError) or error.retry_after is None:
            return wait
        return min(wait, self.policy.cap) if log.others_succeeded else 0.0

    def wait(self, error: HistoryError, failures: int) -> float:
        """Seconds to wait after so many failures in one pass."""
        base = self.policy.base * (_THROTTLE_FACTOR if error.kind is Kind.THROTTLED else 1)
        drawn = self._uniform(0, min(self.policy.cap, base * 2.0 ** min(failures - 1, _MOST_DOUBLINGS)))
        asked = error.retry_after if isinstance(error, ApiError) else None
        # Its jitter is in the pause of the whole client, which ends a little later.
        return drawn if asked is None else max(drawn, asked)


@attrs.define
class _Pass(Generic[T]):
    """One pass over a window, as tenacity's questions and their answers."""

    retrier: Retrier
    send: Callable[[], Awaitable[T]]
    log: AttemptLog
    divisible: bool
    before_retry: Callable[[HistoryError, float], None]
    first_failure: HistoryError | None

    async def attempt(self) -> T:
        if self.first_failure is not None:
            error, self.first_failure = self.first_failure, None
            raise error
        try:
            result = await self.send()
        except HistoryError as error:
            _note(error, self.log)
            raise
        self.retrier.budget.succeeded(self.log.price)
        return result

    def again(self, error: BaseException) -> bool:
        return isinstance(error, HistoryError) and _worthwhile(error, self.log, divisible=self.divisible)

    def wait(self, state: tenacity.RetryCallState) -> float:
        return self.retrier.wait(_failure(state), state.attempt_number)

    def over(self, state: tenacity.RetryCallState) -> bool:
        error, log, retrier = _failure(state), self.log, self.retrier
        if state.attempt_number >= retrier.policy.attempts:
            return True
        if retrier.charge(error, state.upcoming_sleep, log) > retrier.seconds_left(log):
            return True
        if error.kind is Kind.AMBIGUOUS:
            log.price = log.price or 0
            return False
        price = retrier.budget.spend(throttled=error.kind is Kind.THROTTLED)
        if price is not None:
            log.price = price
        return price is None

    def tell(self, state: tenacity.RetryCallState) -> None:
        error = _failure(state)
        # Its frames hold the answer, and it is kept while the window waits.
        error.forget_frames()
        self.log.seconds += self.retrier.charge(error, state.upcoming_sleep, self.log)
        self.before_retry(error, state.upcoming_sleep)


def _failure(state: tenacity.RetryCallState) -> HistoryError:
    assert state.outcome is not None
    error = state.outcome.exception()
    assert isinstance(error, HistoryError)
    return error


def _note(error: HistoryError, log: AttemptLog) -> None:
    # Where others are answered meanwhile, a throttle only means "not now"; the window's seconds bound it.
    log.failures += not (error.kind is Kind.THROTTLED and log.others_succeeded)
    log.ambiguous += error.kind is Kind.AMBIGUOUS
    if isinstance(error, AttemptTimeout):
        log.timeouts += 1
        error.splittable = log.timeouts >= _TIMEOUTS_THAT_ARE_EVIDENCE


def _worthwhile(error: HistoryError, log: AttemptLog, *, divisible: bool) -> bool:
    if (error.fatal and error.kind is not Kind.AMBIGUOUS) or (divisible and error.splittable):
        return False
    return _may_go_on(error, log)


def _may_go_on(error: HistoryError, log: AttemptLog) -> bool:
    if error.kind not in _RETRIES:
        return False
    limit = _RETRIES[error.kind]
    return limit is None or log.ambiguous <= limit
