"""Compute how long a retry waits, and whether the window's time and the client's budget allow it, by tenacity."""

from __future__ import annotations

import random
from collections.abc import Callable

import attrs
import tenacity

from profile_history._sending.failure_policy import AttemptLog, Decision, Step, decide
from profile_history._sending.retry_budget import RetryBudget
from profile_history.errors import HistoryError, Kind
from profile_history.options import RetryPolicy

# What the AWS SDKs do: a server that says "too many" is left alone for longer than one that stumbled.
_THROTTLE_FACTOR = 2


class Retrier:
    """The strategies of a client's retries: full jitter under an exponential bound, within the limits of its policy."""

    def __init__(
        self,
        policy: RetryPolicy,
        budget: RetryBudget,
        *,
        time_budget: float,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Make the strategies.

        Args:
            policy: How often a window is sent, and how long it waits.
            budget: What all retries of the client may cost.
            time_budget: Seconds that attempts at one window, and the waits between, may take.
            uniform: Draws evenly between two numbers.
        """
        self.policy = policy
        self.budget = budget
        self._time_budget = time_budget
        self._uniform = uniform
        # As a float, its powers overflow to the cap instead of taking gigabytes.
        bound = {"max": policy.cap, "exp_base": 2.0}
        self._bound = tenacity.wait_exponential(multiplier=policy.base, **bound)
        self._bound_of_throttles = tenacity.wait_exponential(multiplier=policy.base * _THROTTLE_FACTOR, **bound)
        self._calls = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(policy.attempts), wait=self._draw_wait, reraise=True
        )

    def seconds_left(self, log: AttemptLog) -> float:
        """Return how many seconds attempts at a window may still take."""
        return self._time_budget - log.seconds

    def decide(self, failure: HistoryError, log: AttemptLog, *, can_split: bool) -> Decision:
        """Decide what follows from a failure, with the wait; a retry that does not fit becomes the next best thing.

        Args:
            failure: Why the last request for the window failed.
            log: What was spent on the window, this failure included.
            can_split: Whether the window can be halved.
        """
        decision = decide(failure, log, self.policy, can_split=can_split)
        if decision.step is Step.RETRY:
            call = self._call(failure, log.in_pass)
            wait = self._calls.wait(call)
            over = self._calls.stop(call) or not self._holds(failure, wait, log)
            if not over and self.budget.affords(decision.cost):
                return attrs.evolve(decision, wait=wait)
            decision = attrs.evolve(decision, cost=0, step=Step.STOP if failure.fatal else Step.REQUEUE)
        if decision.step is Step.REQUEUE:
            wait = self._calls.wait(self._call(failure, self.policy.attempts))
            if self._holds(failure, wait, log):
                return attrs.evolve(decision, wait=wait)
            hint = f"the {self._time_budget:g} s of Timeouts.window are used up"
            return attrs.evolve(decision, step=Step.GIVE_UP, hint=hint)
        return decision

    def charge(self, failure: HistoryError, decision: Decision, log: AttemptLog) -> None:
        """Pay for a retry or another pass: tokens of the budget, and seconds of the window.

        Args:
            failure: Why the last request failed.
            decision: What follows from it.
            log: What was spent on the window, written to.
        """
        if decision.step is Step.RETRY:
            self.budget.spend(decision.cost)
            log.price = decision.cost
        log.seconds += self._own_share(failure, decision.wait, log)

    def _holds(self, failure: HistoryError, wait: float, log: AttemptLog) -> bool:
        return self._own_share(failure, wait, log) <= self.seconds_left(log)

    def _own_share(self, failure: HistoryError, wait: float, log: AttemptLog) -> float:
        # A pause that the server asks for is all of the client's. While others succeed and this window is told to wait
        # again and again, that has to come to an end as well.
        if failure.retry_after is None:
            return wait
        return min(wait, self.policy.cap) if log.others_succeeded else 0.0

    def _call(self, failure: HistoryError, attempt: int) -> tenacity.RetryCallState:
        call = tenacity.RetryCallState(self._calls, None, (), {})
        call.attempt_number = attempt
        call.set_exception((type(failure), failure, None))
        return call

    def _draw_wait(self, call: tenacity.RetryCallState) -> float:
        assert call.outcome is not None
        failure = call.outcome.exception()
        throttled = isinstance(failure, HistoryError) and failure.kind is Kind.THROTTLED
        drawn = self._uniform(0, (self._bound_of_throttles if throttled else self._bound)(call))
        asked = failure.retry_after if isinstance(failure, HistoryError) else None
        # Its jitter is in the pause of the whole client, which ends a little later.
        return drawn if asked is None else max(drawn, asked)
