"""What follows from a failure: the printed table, and the rules that a table does not show."""

import attrs
import pytest
from support.paths import ROOT

from profile_history import (
    ApiError,
    AttemptTimeout,
    ConnectionFailed,
    DecodeError,
    Profile,
    RateLimited,
    ResponseTooLarge,
    RetryPolicy,
    TruncatedResponse,
    UnexpectedPage,
)
from profile_history._sending.failure_policy import (
    BAD_DAYS_AFTER_HELP,
    BAD_DAYS_MEASURED,
    UNCHARGED_REFUSALS,
    AttemptLog,
    Step,
    decide,
)
from profile_history._sending.failure_signals import Signal, is_server_wide
from profile_history._sending.page_evidence import PageEvidence
from profile_history._sending.policy_table import policy_table
from profile_history.errors import Kind

POLICY = RetryPolicy()


def test_the_page_on_reliability_prints_the_table_of_the_policy():
    """To renew it, put what `policy_table()` returns between the two marks."""
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    _, table, _ = page.split("<!-- failure policy -->")
    assert table.strip() == policy_table().strip()


@pytest.mark.parametrize("failure", [ConnectionFailed("x"), DecodeError("x")], ids=repr)
def test_a_window_that_fails_while_others_succeed_says_nothing_about_the_server(failure):
    """The fault lies with the window."""
    log = AttemptLog(successes_seen=3)
    log.record(failure, seconds=1.0, successes=4)
    assert decide(failure, log, POLICY).signal is Signal.NEUTRAL
    log.record(failure, seconds=1.0, successes=4)
    assert decide(failure, log, POLICY).signal is not Signal.NEUTRAL


def refusal(status, **more):
    """Return what a server means by "not now"."""
    make, kind = (RateLimited, Kind.THROTTLED) if status == 429 else (ApiError, Kind.TRANSIENT)
    return make(None, "", status, kind=kind, **more)


@pytest.mark.parametrize(("status", "uncharged"), [(429, 50), (503, UNCHARGED_REFUSALS)])
def test_a_refusal_while_others_succeed_is_not_charged_and_a_503_only_so_often(status, uncharged):
    """It may be about the window all the same; nobody says 429 of a window."""
    log = AttemptLog(successes_seen=0)
    for number in range(50):
        log.record(refusal(status), seconds=0.0, successes=number + 1)
    assert (log.refusals, log.failures) == (uncharged, 50 - uncharged)
    assert decide(refusal(status), log, POLICY).step is (Step.RETRY if status == 429 else Step.GIVE_UP)


@pytest.mark.parametrize(("status", "signal", "count"), [(429, Signal.THROTTLED, 4), (503, Signal.BUSY, 1)])
def test_a_refusal_says_that_less_is_to_be_asked_for_until_a_window_has_had_too_many(status, signal, count):
    """A window that is refused again and again while others are served is the only one that is meant."""
    log, signals, pauses = AttemptLog(successes_seen=0), [], []
    for number in range(6):
        failure = refusal(status)
        failure.retry_after = 5.0
        log.record(failure, seconds=0.0, successes=number + 1)
        decision = decide(failure, log, POLICY)
        signals.append(decision.signal)
        pauses.append(decision.pause)
    assert signals == [signal] * count + [Signal.NEUTRAL] * (6 - count)
    assert pauses == [5.0] * count + [None] * (6 - count)


def test_the_halves_of_a_window_wait_as_long_as_the_server_asked_for():
    """As the whole window would have."""
    failure = ApiError(None, "", 504, kind=Kind.TRANSIENT, splittable=True)
    failure.retry_after = 7.0
    log = AttemptLog()
    log.record(failure, seconds=1.0)
    decision = decide(failure, log, POLICY, can_split=True)
    assert (decision.step, decision.wait) == (Step.SPLIT, 7.0)


def test_a_connection_that_was_closed_meanwhile_is_nobodys_fault_once():
    """The server never read the request: it is sent again on a new connection, and charged to nobody."""
    log, failure = AttemptLog(), ConnectionFailed("x")
    failure.stale_connection = True
    log.record(failure, seconds=1.0)
    assert (log.charged, log.failures, log.seconds) == (False, 0, 0.0)
    decision = decide(failure, log, POLICY)
    assert (decision.step, decision.signal, decision.new_connection) == (Step.RESEND, Signal.NEUTRAL, True)
    log.free_retry_used = True
    log.record(failure, seconds=1.0)
    assert (log.charged, log.failures) == (True, 1)
    assert decide(failure, log, POLICY).step is Step.RETRY


@pytest.mark.parametrize("status", [429, 503])
def test_a_refusal_where_nobody_is_served_is_charged_and_counts(status):
    """However many there are."""
    log = AttemptLog()
    for _ in range(12):
        log.record(refusal(status), seconds=0.0)
        assert decide(refusal(status), log, POLICY).signal is not Signal.NEUTRAL
    assert decide(refusal(status), log, POLICY).step is Step.GIVE_UP


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


def test_the_halves_of_a_window_wait_as_long_as_the_whole_was_told_to():
    """They ask for the same days."""
    failure = ApiError(None, "", 504, kind=Kind.TRANSIENT, splittable=True, retry_after=30.0)
    log = AttemptLog()
    log.record(failure, seconds=1.0)
    decision = decide(failure, log, POLICY, can_split=True)
    assert (decision.step, decision.wait) == (Step.SPLIT, 30.0)


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


LATE = [
    *(ApiError(None, "", number, kind=Kind.TRANSIENT, splittable=True) for number in (504, 524)),
    AttemptTimeout("x"),
]


@pytest.mark.parametrize("failure", LATE, ids=["504", "524", "a timeout"])
@pytest.mark.parametrize(
    ("log", "first", "charged"),
    [
        (AttemptLog(), Step.RETRY, 1),
        (AttemptLog(unproven_split=True), Step.SPLIT, 2),
        (AttemptLog(split_helped=True), Step.SPLIT, 2),
    ],
    ids=["whole", "made by a split", "of a profile that was split"],
)
def test_a_late_response_may_have_waited_in_a_queue_while_others_are_served(failure, log, first, charged):
    """The first of a window that was never halved is not charged; all lower the concurrency, and the second halves."""
    log, steps = attrs.evolve(log), []
    for successes in (10, 20):
        log.record(failure, seconds=1.0, successes=successes, recent_success=True)
        decision = decide(failure, log, RetryPolicy(), can_split=True)
        steps.append(decision.step)
        assert decision.signal is Signal.QUEUED
    first = Step.RETRY if isinstance(failure, AttemptTimeout) else first
    assert (steps, log.failures) == ([first, Step.SPLIT], charged)


@pytest.mark.parametrize("failure", LATE[:2], ids=["504", "524"])
@pytest.mark.parametrize("circumstances", [{}, {"recent_success": True, "alone": True}], ids=["nobody served", "alone"])
def test_a_gateway_that_waited_for_too_long_halves_a_window_at_once_where_it_is_no_queue(failure, circumstances):
    """Where nobody is served, or nothing else is in flight."""
    log = AttemptLog()
    log.record(failure, seconds=1.0, **circumstances)
    assert decide(failure, log, RetryPolicy(), can_split=True).step is Step.SPLIT


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


@pytest.mark.parametrize(("status", "profiles"), [(401, 1), (403, 1), (451, 1), (511, 1), (404, 5), (413, 5), (418, 5)])
def test_a_page_ends_the_stream_when_enough_profiles_have_met_one_and_nothing_has_succeeded(status, profiles):
    """Else its window fails at once; in both cases it counts only in a row with others."""
    failure = UnexpectedPage("x", status)
    for met, step in [(0, Step.GIVE_UP), (profiles - 1, Step.GIVE_UP), (profiles, Step.STOP)]:
        log = AttemptLog()
        log.record(failure, seconds=1.0, refused_profiles=met)
        decision = decide(failure, log, POLICY)
        assert (decision.step, decision.signal) == (step, Signal.PAGE)


@pytest.mark.parametrize("met", [0, 5])
def test_a_page_that_comes_during_an_outage_is_held_and_not_charged(met):
    """Patience decides how long."""
    failure, log = UnexpectedPage("x", 403), AttemptLog()
    log.record(failure, seconds=1.0, circuit_open=True, refused_profiles=met)
    assert (decide(failure, log, POLICY).step, log.failures, log.seconds) == (Step.RESEND, 0, 0.0)


def lost():
    """Return the failure of a connection that was lost."""
    failure = ConnectionFailed("x")
    failure.connected = True
    return failure


@pytest.mark.parametrize(
    ("failure", "server_wide"),
    [
        (ConnectionFailed("x"), True),
        (lost(), False),
        (ApiError(None, "", 503), True),
        (ApiError(503, "", 200), True),
        (ApiError(None, "", 522), True),
        (ApiError(None, "", 500), False),
        (ApiError(None, "", 502), False),
        (ApiError(None, "", 504), False),
        (AttemptTimeout("x"), False),
        (TruncatedResponse("x"), False),
        (UnexpectedPage("x", 403), False),
    ],
    ids=["no connection", "lost", "503", "error 503", "522", "500", "502", "504", "a timeout", "cut", "a page"],
)
def test_a_failure_that_cannot_lie_in_the_request_is_server_wide(failure, server_wide):
    """So that one window is enough to tell an outage."""
    assert is_server_wide(failure) is server_wide


def test_page_evidence_counts_profiles_until_anything_succeeds():
    """Each once, and only those that met a page that is not retried."""
    evidence = PageEvidence()
    page, maintenance = UnexpectedPage("x", 404), UnexpectedPage("x", 200)
    maintenance.kind = Kind.TRANSIENT
    profiles = [Profile.email(f"user{number}@example.com") for number in range(9)]
    assert [evidence.observe(page, profiles[number], 0) for number in (0, 0, 1, 0, 2)] == [1, 1, 2, 2, 3]
    assert evidence.observe(maintenance, profiles[3], 0) == 0
    assert evidence.observe(ConnectionFailed("x"), profiles[3], 0) == 0
    assert evidence.observe(page, profiles[3], 1) == 0
    assert [evidence.observe(page, profile, 0) for profile in profiles[3:]] == [4, 5, 5, 5, 5, 5]


def test_a_decision_changes_neither_the_failure_nor_the_log():
    """Asked twice, it says the same."""
    failure, log = DecodeError("x"), AttemptLog(ambiguous=3, failures=3, in_pass=3)
    before = (vars(failure).copy(), str(log))
    assert decide(failure, log, POLICY) == decide(failure, log, POLICY)
    assert (vars(failure), str(log)) == before
