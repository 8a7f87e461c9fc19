"""What follows from a failure: the printed table, and the rules that a table does not show."""

import pytest
from support.paths import ROOT

from profile_history import (
    ApiError,
    AttemptTimeout,
    ConnectionFailed,
    DecodeError,
    RateLimited,
    ResponseTooLarge,
    RetryPolicy,
    TruncatedResponse,
)
from profile_history._sending.failure_policy import (
    BAD_DAYS_AFTER_HELP,
    BAD_DAYS_MEASURED,
    AttemptLog,
    Signal,
    Step,
    decide,
)
from profile_history._sending.policy_table import policy_table
from profile_history.errors import Kind

POLICY = RetryPolicy()


def test_the_page_on_reliability_prints_the_table_of_the_policy():
    """To renew it, put what `policy_table()` returns between the two marks."""
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    _, table, _ = page.split("<!-- failure policy -->")
    assert table.strip() == policy_table().strip()


@pytest.mark.parametrize("failure", [ConnectionFailed("x"), DecodeError("x"), AttemptTimeout("x")], ids=repr)
def test_a_window_that_fails_while_others_succeed_says_nothing_about_the_server(failure):
    """The fault lies with the window."""
    log = AttemptLog(successes_seen=3)
    log.record(failure, seconds=1.0, successes=4)
    assert decide(failure, log, POLICY).signal is Signal.NEUTRAL
    log.record(failure, seconds=1.0, successes=4)
    assert decide(failure, log, POLICY).signal is not Signal.NEUTRAL


@pytest.mark.parametrize(
    ("failure", "timeouts", "halved", "whole"),
    [
        (ApiError(None, "", 504, kind=Kind.TRANSIENT, splittable=True), 0, Signal.NEUTRAL, Signal.OVERLOADED),
        (ApiError(None, "", 524, kind=Kind.TRANSIENT, splittable=True), 0, Signal.NEUTRAL, Signal.OVERLOADED),
        (AttemptTimeout("x"), 1, Signal.NEUTRAL, Signal.OVERLOADED),
        (ResponseTooLarge("x"), 0, Signal.RESPONSIVE, Signal.RESPONSIVE),
    ],
    ids=["504", "524", "the second timeout", "too large"],
)
def test_a_window_counts_once_as_evidence_of_an_outage_however_often_it_is_halved(failure, timeouts, halved, whole):
    """Until it is a single day, or fewer days have proved to help; a server that responds works in any case."""
    log = AttemptLog(timeouts=timeouts)
    log.record(failure, seconds=1.0)
    first = decide(failure, log, POLICY, can_split=True)
    assert (first.step, first.signal) == (Step.SPLIT, whole)
    log.unproven_split = True
    decision = decide(failure, log, POLICY, can_split=True)
    assert (decision.step, decision.signal) == (Step.SPLIT, halved)
    assert decide(failure, log, POLICY, can_split=False).signal is whole


def capped():
    """Return the failure of a response with as many rows as the row cap."""
    failure = TruncatedResponse("x")
    failure.kind, failure.splittable = Kind.CALLER, True
    return failure


@pytest.mark.parametrize(
    ("failure", "timeouts", "before", "after"),
    [
        (ApiError(None, "", 504, kind=Kind.TRANSIENT, splittable=True), 0, 1, BAD_DAYS_AFTER_HELP),
        (ApiError(413, "", 200, kind=Kind.CALLER, splittable=True), 0, 1, BAD_DAYS_AFTER_HELP),
        (AttemptTimeout("x"), 2, 1, BAD_DAYS_AFTER_HELP),
        (AttemptTimeout("x"), 1, 0, 0),
        (ResponseTooLarge("x"), 0, BAD_DAYS_MEASURED, 0),
        (capped(), 0, 0, 0),
        (ApiError(None, "", 413, kind=Kind.CALLER), 0, 0, 0),
        (ConnectionFailed("x"), 0, 0, 0),
        (TruncatedResponse("x"), 0, 0, 0),
    ],
    ids=["504", "413", "timeouts", "a timeout", "too large", "row cap", "413 of a proxy", "no connection", "cut"],
)
def test_how_many_single_days_refute_a_split_depends_on_the_failure_and_on_whether_one_has_helped(
    failure, timeouts, before, after
):
    """What is said may be said to any request; a size is a fact about a day when others have less, a row cap always."""
    assert decide(failure, AttemptLog(timeouts=timeouts), POLICY).refuting_days == before
    assert decide(failure, AttemptLog(timeouts=timeouts, split_helped=True), POLICY).refuting_days == after


def test_the_first_timeout_counts_since_it_halves_nothing():
    """It is repeated, and may be an outage."""
    failure, log = AttemptTimeout("x"), AttemptLog()
    log.record(failure, seconds=1.0)
    decision = decide(failure, log, POLICY, can_split=True)
    assert (decision.step, decision.signal) == (Step.RETRY, Signal.OVERLOADED)


@pytest.mark.parametrize(("asked", "step", "pause"), [(120.0, Step.RETRY, 120.0), (121.0, Step.STOP, None)])
def test_the_whole_client_pauses_as_long_as_the_server_asks_or_stops(asked, step, pause):
    """Two minutes are waited for, or as long as patience goes."""
    failure = RateLimited(429, "", 429, kind=Kind.THROTTLED, retry_after=asked)
    log = AttemptLog()
    log.record(failure, seconds=0.0)
    decision = decide(failure, log, POLICY)
    assert (decision.step, decision.pause) == (step, pause)


def test_a_decision_changes_neither_the_failure_nor_the_log():
    """Asked twice, it says the same."""
    failure, log = DecodeError("x"), AttemptLog(ambiguous=3, failures=3, in_pass=3)
    before = (vars(failure).copy(), str(log))
    assert decide(failure, log, POLICY) == decide(failure, log, POLICY)
    assert (vars(failure), str(log)) == before
