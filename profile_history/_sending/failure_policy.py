"""Decide what follows a failure: one pure function, asked by the one loop that sends. No I/O, no clock, no chance.

`decide` says what to do with the window, what that costs, what the failure says about the server, and how long the
whole client pauses. How long a single retry waits, and whether time and budget hold it, the `Retrier` says.
"""

from __future__ import annotations

from enum import Enum, auto

import attrs

from profile_history._protocol.error_rules import RETRIED_KINDS, find_page_rule
from profile_history._sending.failure_signals import (
    Signal,
    is_overload,
    is_refusal,
    is_refusing_page,
    is_retried,
    signal_of,
)
from profile_history._sending.retry_budget import THROTTLED_COST, TRANSIENT_COST
from profile_history.errors import (
    ApiError,
    AttemptTimeout,
    HistoryError,
    Kind,
    ResponseTooLarge,
    UnexpectedPage,
)
from profile_history.options import RetryPolicy

# One timeout may be an accident of the network.
TIMEOUTS_AS_EVIDENCE = 2
# Seconds; what OpenAI's and other clients wait for at most.
LONGEST_RETRY_AFTER = 120.0
# A name that was never found is looked up once more, in case the name service had a hiccup.
UNKNOWN_HOST_ATTEMPTS = 2
# More of one window, while others are served, are about that window and no longer about how much is asked for. Nobody
# says 429 of a window, but a 503 may come from what serves only this one.
THROTTLES_ABOUT_LOAD = 4
REFUSALS_ABOUT_LOAD = 1
# A 503 may be about the window all the same. Where half of all requests are refused, so many come in a row, and then
# the default policy's twelve that count, once in ten million windows.
UNCHARGED_REFUSALS = 12
# One more than a single bad day spoils: each request asks for three days besides its own (`Border.OVERLAP`).
BAD_DAYS_AFTER_HELP = 5
# At a request each, these cost as much as one day that is retried by the default policy.
BAD_DAYS_MEASURED = 12


class Step(Enum):
    """The next step of the loop with a window whose request has ended.

    Attributes:
        DONE: Nothing: the window is complete.
        RESEND: Send again as soon as there is a permit; nobody is charged.
        RENEW_TOKEN: Read the token's file once more, and send again with a newer token; without one, stop.
        RETRY: Wait, and send again in the same pass.
        REQUEUE: Wait, and go behind all other windows, for another pass.
        SPLIT: Fetch the same days in shorter windows.
        GIVE_UP: Report the window as failed; the others go on.
        STOP: End the stream, since every other window would fail likewise.
    """

    DONE = auto()
    RESEND = auto()
    RENEW_TOKEN = auto()
    RETRY = auto()
    REQUEUE = auto()
    SPLIT = auto()
    GIVE_UP = auto()
    STOP = auto()


@attrs.frozen
class Decision:
    """The consequences of one failure.

    Attributes:
        step: What happens to the window.
        signal: What the failure says about the server.
        cost: Tokens of the retry budget that a retry takes.
        pause: Seconds for which the whole client pauses, `None` if it does not.
        wait: Seconds before the window, or what it is split into, is sent again.
        new_connection: Whether it is sent on a connection that was not used before.
        is_too_long: Whether the failure is evidence that the window has too many days.
        refuting_days: How many single days in a row have to fail like this to refute that fewer days help; 0 if that
            would say nothing about it.
        asks_too_long: Whether the server asks for a pause that is longer than the client waits.
        hint: What to tell the user, `None` if there is nothing.
    """

    step: Step
    signal: Signal
    cost: int = 0
    pause: float | None = None
    wait: float = 0.0
    new_connection: bool = False
    is_too_long: bool = False
    refuting_days: int = 0
    asks_too_long: bool = False
    hint: str | None = None


@attrs.define
class AttemptLog:
    """The attempts and seconds spent on one window so far, over all its passes.

    Attributes:
        attempts: Requests sent.
        failures: Of these, those that failed and count.
        in_pass: Failures of the pass that goes on, also those that do not count.
        passes: Passes that have ended.
        refusals: Failures that did not count, since the server only said "not now" while it served others.
        timeouts: Failures that are timeouts, also of a gateway.
        ambiguous: Failures that may be a fact as well as a hiccup.
        seconds: Of attempts that are charged, and of the waits after them.
        price: What the last retry cost, `None` if there was none.
        free_retry_used: Whether the one free retry on a new connection was used.
        charged: Whether the last failure is charged to the window.
        successes_seen: How many requests of the client had succeeded when the window last failed.
        others_succeeded: Whether others succeeded between its last two failures, or a moment ago if it was refused.
        served: Whether others are in flight, and one succeeded a moment ago or since its last failure.
        unproven_split: Whether the window was made by a split, and none so short has succeeded yet.
        split_helped: Whether a window of the profile has succeeded that was made by a split.
        refused_profiles: For how many profiles a page responded, if nothing was ever responded to well, else 0.
        refuting_days: How many single days in a row have to fail as this one did, at any of its attempts, to refute
            that fewer days help; 0 if none of its failures says anything about that.
    """

    attempts: int = 0
    failures: int = 0
    in_pass: int = 0
    passes: int = 0
    refusals: int = 0
    timeouts: int = 0
    ambiguous: int = 0
    seconds: float = 0.0
    price: int | None = None
    free_retry_used: bool = False
    charged: bool = True
    successes_seen: int | None = None
    others_succeeded: bool = False
    served: bool = False
    unproven_split: bool = False
    split_helped: bool = False
    refused_profiles: int = 0
    refuting_days: int = 0

    def record(
        self,
        failure: HistoryError,
        *,
        seconds: float,
        circuit_open: bool = False,
        successes: int = 0,
        recent_success: bool = False,
        alone: bool = False,
        refused_profiles: int = 0,
    ) -> None:
        """Record a failure of the window.

        Args:
            failure: Why the request failed.
            seconds: How long it took.
            circuit_open: Whether the server fails for everyone just now.
            successes: How many requests of the client have succeeded so far.
            recent_success: Whether one of them did a moment ago.
            alone: Whether no other request is in flight.
            refused_profiles: For how many profiles a page responded, if none has succeeded, else 0.
        """
        if _is_free(failure, self):
            self.charged = False
            return
        self.refused_profiles = refused_profiles
        self.others_succeeded = self.successes_seen is not None and self.successes_seen < successes
        refused = is_refusal(failure)
        self.served = not alone and (self.others_succeeded or recent_success)
        if refused:
            self.others_succeeded = self.others_succeeded or recent_success
        self.successes_seen = successes
        self.charged = failure.kind is not Kind.AUTH and not (circuit_open and _is_held(failure))
        if self.charged:
            self.seconds += seconds
            self.in_pass += 1
            self.timeouts += is_overload(failure)
            # While others succeed, a refusal only means "not now"; the window's seconds bound it.
            first_late = _may_be_queue(failure, self) and self.timeouts < TIMEOUTS_AS_EVIDENCE
            only_later = (refused and self.others_succeeded) or first_late
            if failure.kind is not Kind.THROTTLED and self.refusals >= UNCHARGED_REFUSALS:
                only_later = False
            self.refusals += only_later
            self.failures += not only_later
            self.ambiguous += failure.kind is Kind.AMBIGUOUS
            # What fails for good may fail in other ways in between, and last: a gateway says 502 beside 504.
            self.refuting_days = _count_refuting_days(failure, self) or self.refuting_days

    def end_pass(self) -> None:
        """Record that the window goes to the back of the queue."""
        self.passes += 1
        self.in_pass = 0


def decide(failure: HistoryError, attempts: AttemptLog, policy: RetryPolicy, *, can_split: bool = False) -> Decision:
    """Decide what follows from a failure.

    Args:
        failure: Why the last request for a window failed.
        attempts: What was spent on the window, this failure included.
        policy: How often the user lets a window be sent.
        can_split: Whether the window can be halved.
    """
    if _is_free(failure, attempts):
        return Decision(Step.RESEND, Signal.NEUTRAL, new_connection=True)
    step = _choose_step(failure, attempts, policy, can_split=can_split)
    is_too_long = _is_too_long(failure, attempts)
    decision = Decision(
        step,
        _signal_of(failure, attempts, can_split=can_split),
        is_too_long=is_too_long,
        refuting_days=_count_refuting_days(failure, attempts) if is_too_long else attempts.refuting_days,
    )
    if (asked := _asked_pause(failure, step)) is not None:
        if asked > longest_pause(policy):
            hint = f"the server asks to wait for {asked:g} s; do so, or raise RetryPolicy.patience (--patience)"
            return attrs.evolve(decision, step=Step.STOP, asks_too_long=True, hint=hint)
        if step is Step.SPLIT:
            decision = attrs.evolve(decision, wait=asked)
        if not _is_about_window(failure, attempts):
            decision = attrs.evolve(decision, pause=asked)
    if decision.step is Step.RETRY:
        return attrs.evolve(decision, cost=_cost_of(failure))
    if decision.step is Step.STOP and attempts.refused_profiles > 1:
        met = f"{attempts.refused_profiles} profiles have met a page, and nothing was ever responded to well"
        return attrs.evolve(decision, hint=f"{met}; {failure.hint}")
    return decision


def longest_pause(policy: RetryPolicy) -> float:
    """Return the seconds of the longest `Retry-After` that is waited for."""
    return max(LONGEST_RETRY_AFTER, policy.patience)


def _choose_step(failure: HistoryError, attempts: AttemptLog, policy: RetryPolicy, *, can_split: bool) -> Step:
    if not attempts.charged and _is_held(failure):
        return Step.RESEND
    if failure.kind is Kind.AUTH:
        return Step.RENEW_TOKEN
    if failure.fatal and (failure.kind is not Kind.AMBIGUOUS or attempts.ambiguous >= UNKNOWN_HOST_ATTEMPTS):
        return Step.STOP
    if _is_same_for_all(failure, attempts):
        return Step.STOP
    if can_split and _is_too_long(failure, attempts):
        return Step.SPLIT
    if failure.kind not in RETRIED_KINDS or attempts.failures >= policy.attempts * policy.passes:
        return Step.GIVE_UP
    if failure.kind is Kind.AMBIGUOUS and not failure.fatal:
        # It may well be a fact, so only the first pass tries hard.
        if attempts.ambiguous >= policy.attempts + policy.passes - 1:
            return Step.GIVE_UP
        if attempts.passes:
            return Step.REQUEUE
    return Step.RETRY


def _is_same_for_all(failure: HistoryError, attempts: AttemptLog) -> bool:
    rule = find_page_rule(failure.http_status) if isinstance(failure, UnexpectedPage) else None
    return rule is not None and is_refusing_page(failure) and attempts.refused_profiles >= rule.profiles


def _cost_of(failure: HistoryError) -> int:
    if failure.fatal:
        # The budget guards a server that is down, and an unknown host has none.
        return 0
    return THROTTLED_COST if is_refusal(failure) else TRANSIENT_COST


def _signal_of(failure: HistoryError, attempts: AttemptLog, *, can_split: bool) -> Signal:
    if _is_own_refusal(failure, attempts):
        return Signal.NEUTRAL
    signal = signal_of(failure)
    if signal not in (Signal.FAILED, Signal.OVERLOADED):
        return signal
    if is_overload(failure) and attempts.served:
        return Signal.QUEUED
    # The server served others since this window last failed: the fault lies with the window, and is no outage. Nor does
    # one window count again for each of its halvings; if it is an outage all the same, others fail as well.
    again = attempts.unproven_split and can_split and failure.splittable
    return Signal.NEUTRAL if attempts.others_succeeded or again else signal


def _is_about_window(failure: HistoryError, attempts: AttemptLog) -> bool:
    return _is_own_refusal(failure, attempts) if is_refusal(failure) else attempts.others_succeeded


def _is_own_refusal(failure: HistoryError, attempts: AttemptLog) -> bool:
    about_load = THROTTLES_ABOUT_LOAD if failure.kind is Kind.THROTTLED else REFUSALS_ABOUT_LOAD
    return attempts.others_succeeded and attempts.refusals > about_load and is_refusal(failure)


def _is_too_long(failure: HistoryError, attempts: AttemptLog) -> bool:
    if isinstance(failure, AttemptTimeout) or _may_be_queue(failure, attempts):
        return attempts.timeouts >= TIMEOUTS_AS_EVIDENCE
    return failure.splittable


def _may_be_queue(failure: HistoryError, attempts: AttemptLog) -> bool:
    # While others are served, a response that took too long may have waited for a place and not for the days, and
    # halves would be the more requests. Of a profile that was split once, that is no more the question.
    if attempts.unproven_split or attempts.split_helped:
        return False
    return is_overload(failure) and attempts.served


def _count_refuting_days(failure: HistoryError, attempts: AttemptLog) -> int:
    if not _is_too_long(failure, attempts):
        return 0
    # What the server says, or fails to, may happen to any request. How large a response is was measured: a fact about
    # these days as soon as others are smaller. A number of rows at which the user says that responses are cut is always
    # one about these days.
    if isinstance(failure, (ApiError, AttemptTimeout)):
        return BAD_DAYS_AFTER_HELP if attempts.split_helped else 1
    return BAD_DAYS_MEASURED if isinstance(failure, ResponseTooLarge) and not attempts.split_helped else 0


def _is_free(failure: HistoryError, attempts: AttemptLog) -> bool:
    # RFC 9112, 9.3.1: a kept-alive connection may be closed at any moment. The server never read this request, so
    # sending it once more is not a second attempt at anything.
    return failure.stale_connection and not attempts.free_retry_used


def _is_held(failure: HistoryError) -> bool:
    # While the server fails for everyone, so does a page in its place.
    return is_retried(failure) or is_refusing_page(failure)


def _asked_pause(failure: HistoryError, step: Step) -> float | None:
    return failure.retry_after if is_retried(failure) or step is Step.SPLIT else None
