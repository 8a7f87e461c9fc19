"""What limiters let in: never more than they permit, in whatever rhythm the requests come."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profile_history.errors import ConfigurationError
from profile_history.testing import (
    Behaviour,
    ConcurrencyLimiter,
    Fault,
    FaultPlan,
    FixedWindow,
    LeakyBucket,
    SlidingWindow,
    TokenBucket,
)
from profile_history.testing.limiter_chain import LimiterChain, make_refusal

# Gaps between requests that come one by one, in bursts, and after rests; half a million seconds is the age of a clock.
GAPS = st.lists(st.sampled_from([0.0, 0.0, 0.001, 0.01, 0.02, 0.1, 0.5, 1.0, 3.7]), min_size=1, max_size=120)
STARTS = st.sampled_from([0.0, 17.3, 500_000.0])
COUNTS = st.integers(1, 12)
RATES = st.sampled_from([0.7, 5.0, 50.0, 333.3])
# Of a sum of many floats.
ROUNDING = 1e-6


def arrivals(start, gaps):
    """When requests come."""
    moments = []
    for gap in gaps:
        start += gap
        moments.append(start)
    return moments


def serve(limiter, moments):
    """What a limiter decides on each request."""
    state = limiter.start()
    return [state.admit(moment) for moment in moments]


def let_in(limiter, moments):
    """When the requests that were let in are passed on."""
    decided = zip(moments, serve(limiter, moments), strict=True)
    return [moment + admission.wait for moment, admission in decided if admission.granted]


def most_within(starts, seconds):
    """The most starts in any window of some seconds, which includes its beginning and not its end."""
    return max(sum(first <= start < first + seconds - ROUNDING for start in starts) for first in starts)


@given(start=STARTS, gaps=GAPS, rate=RATES, burst=COUNTS)
def test_a_token_bucket_never_lets_in_more_than_the_burst_and_the_rate_permit(start, gaps, rate, burst):
    """From any request let in to any later one there are at most `burst`, and `rate` for each second between them."""
    starts = let_in(TokenBucket(rate, burst=burst), arrivals(start, gaps))
    for place, first in enumerate(starts):
        for count, last in enumerate(starts[place:], 1):
            assert count <= burst + rate * (last - first) + ROUNDING


@given(start=STARTS, gaps=GAPS, rate=RATES, queue=st.integers(0, 12))
def test_a_leaky_bucket_passes_requests_on_one_by_one_and_lets_no_more_wait_than_its_queue(start, gaps, rate, queue):
    """The gaps behind it are never less than 1 / rate, and nobody waits for longer than a full queue takes."""
    moments = arrivals(start, gaps)
    starts = let_in(LeakyBucket(rate, queue=queue), moments)
    assert all(later - earlier >= 1 / rate - ROUNDING for earlier, later in itertools.pairwise(starts))
    decided = serve(LeakyBucket(rate, queue=queue), moments)
    assert all(admission.wait <= queue / rate + ROUNDING for admission in decided if admission.granted)


@given(start=STARTS, gaps=GAPS, most=COUNTS, seconds=st.sampled_from([0.1, 1.0, 3.0]), count_refused=st.booleans())
def test_a_sliding_window_never_lets_in_more_within_its_seconds_at_any_moment(
    start, gaps, most, seconds, count_refused
):
    """Wherever the window begins, and whether or not refused requests count."""
    limiter = SlidingWindow(most, seconds=seconds, count_refused=count_refused)
    starts = let_in(limiter, arrivals(start, gaps))
    assert most_within(starts, seconds) <= most


@given(start=STARTS, gaps=GAPS, most=COUNTS, seconds=st.sampled_from([0.1, 1.0, 3.0]))
def test_a_sliding_window_that_counts_refused_requests_is_never_more_generous(start, gaps, most, seconds):
    """At the end of any series it has let in at most as many as the one that forgets them."""
    moments = arrivals(start, gaps)
    strict = let_in(SlidingWindow(most, seconds=seconds, count_refused=True), moments)
    assert len(strict) <= len(let_in(SlidingWindow(most, seconds=seconds), moments))


@given(start=STARTS, gaps=GAPS, most=COUNTS, seconds=st.sampled_from([0.1, 1.0, 3.0]))
def test_a_fixed_window_lets_in_at_most_twice_its_number_within_its_seconds(start, gaps, most, seconds):
    """Once at the end of a window, and once at the beginning of the next."""
    assert most_within(let_in(FixedWindow(most, seconds=seconds), arrivals(start, gaps)), seconds) <= 2 * most


@given(most=COUNTS, ends=st.lists(st.booleans(), max_size=120))
def test_a_concurrency_limiter_never_has_more_in_flight_than_it_permits_and_never_refuses_below(most, ends):
    """Whatever the order in which requests come and end."""
    state, in_flight = ConcurrencyLimiter(most).start(), 0
    for end in ends:
        if end and in_flight:
            state.release()
            in_flight -= 1
        else:
            assert state.admit(now=0.0).granted is (in_flight < most)
            in_flight = min(most, in_flight + 1)


@pytest.mark.parametrize(
    "limiter",
    [
        TokenBucket(7, burst=3),
        LeakyBucket(7, queue=3),
        SlidingWindow(5),
        SlidingWindow(5, count_refused=True),
        FixedWindow(5),
    ],
    ids=lambda limiter: type(limiter).__name__,
)
@given(start=STARTS, gaps=GAPS)
def test_who_waits_as_long_as_a_refusal_says_is_let_in(limiter, start, gaps):
    """And not one who comes a little earlier: the time that an exact `Retry-After` tells is true."""
    moments = arrivals(start, gaps)
    decided = serve(limiter, moments)
    for place, (moment, admission) in enumerate(zip(moments, decided, strict=True)):
        if not admission.granted:
            before = moments[: place + 1]
            assert serve(limiter, [*before, moment + admission.wait + ROUNDING])[-1].granted
            assert not serve(limiter, [*before, moment + admission.wait * 0.99 - ROUNDING])[-1].granted


def test_a_token_bucket_rests_to_its_burst_and_goes_on_at_its_rate():
    """A `burst=5` of nginx at 50 per second is a burst of 6: six at once, then one every 20 ms."""
    moments = [100.0] * 10 + [100.02] * 2 + [200.0] * 10
    decided = [admission.granted for admission in serve(TokenBucket(50, burst=6), moments)]
    assert decided == [True] * 6 + [False] * 4 + [True, False] + [True] * 6 + [False] * 4


def test_who_goes_on_too_fast_is_refused_for_ever_where_refused_requests_count():
    """HAProxy's window lets in the first thirty of a flood and then nobody, until there is a pause."""
    flood = [number / 100 for number in range(1000)]
    assert len(let_in(SlidingWindow(30, count_refused=True), flood)) == 30
    assert len(let_in(SlidingWindow(30), flood)) == 300
    assert serve(SlidingWindow(30, count_refused=True), [*flood, 11.0])[-1].granted


@pytest.mark.parametrize(
    ("limiter", "wait", "text"),
    [
        (TokenBucket(5), 0.2, None),
        (TokenBucket(5, retry_after=1), 0.2, "1"),
        (TokenBucket(5, retry_after=0.5), 0.2, "0.5"),
        (TokenBucket(5, retry_after=1_234_567.0), 0.2, "1234567"),
        (TokenBucket(5, retry_after="exact"), 0.2, "1"),
        (FixedWindow(5, seconds=60, retry_after="exact"), 31.2, "32"),
    ],
)
def test_a_refusal_says_how_long_to_wait_as_its_limiter_is_told(limiter, wait, text):
    """Nothing, the same seconds always, or those that are left, rounded up."""
    assert make_refusal(Behaviour(), limiter, wait).headers.get("Retry-After") == text


def test_a_refusal_is_a_page_or_an_error_of_the_api():
    """With the limiter's status in both cases."""
    page = make_refusal(Behaviour(), ConcurrencyLimiter(1, status=503), 0.0)
    error = make_refusal(Behaviour(), ConcurrencyLimiter(1, envelope=True), 0.0)
    assert (page.status, page.content_type, page.body[:6]) == (503, "text/html", b"<html>")
    assert (error.status, error.content_type, b'"error": 429' in error.body) == (429, "application/json", True)


def test_limiters_stand_one_behind_the_other():
    """The inner one does not see what the outer one refused, and who waits in a queue reaches it later."""
    outer, inner = LeakyBucket(10, queue=1), FixedWindow(2, seconds=1000)
    chain = LimiterChain([outer, inner])
    passages = [chain.admit(5.0), chain.admit(5.0), chain.admit(5.0), chain.admit(6.0)]
    assert [passage.refused_by for passage in passages] == [None, None, outer, inner]
    assert [round(passage.wait, 6) for passage in passages] == [0.0, 0.1, 0.1, 999.0]


def test_a_request_that_an_inner_limiter_refuses_gives_its_place_back():
    """Otherwise refusals would fill the outer one."""
    chain = LimiterChain([ConcurrencyLimiter(1), FixedWindow(1, seconds=1)])
    for moment in (0.0, 0.1, 0.2, 1.0):
        passage = chain.admit(moment)
        assert (passage.refused_by is None) is (moment in (0.0, 1.0))
        passage.release()


def test_joined_plans_have_the_limiters_of_both():
    """From left to right, beside the faults of both."""
    first, second = ConcurrencyLimiter(3), TokenBucket(50)
    plan = FaultPlan(limiters=[first]) | FaultPlan.always(Fault.ERROR_500) | FaultPlan(limiters=[second])
    assert plan.all_limiters == (first, second)
    assert plan.draw(0, "", 0) is Fault.ERROR_500


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ConcurrencyLimiter(0), r"ConcurrencyLimiter\(most=...\) takes a whole number of requests, 1 or more"),
        (lambda: ConcurrencyLimiter(2, retry_after="exact"), "takes seconds or None"),
        (lambda: TokenBucket(0), r"TokenBucket\(rate=...\) takes a positive number of requests per second, not 0"),
        (lambda: TokenBucket(5, burst=0), r"TokenBucket\(burst=...\) takes a whole number of requests, 1 or more"),
        (lambda: TokenBucket(5, status=500), r"TokenBucket\(status=...\) is 429 or 503, not 500"),
        (lambda: TokenBucket(5, retry_after="soon"), 'takes a positive number of seconds, "exact" or None, not'),
        (lambda: TokenBucket(5, envelope="no"), "takes True or False, not 'no'"),
        (lambda: LeakyBucket(5, queue=-1), r"LeakyBucket\(queue=...\) takes a whole number of requests, 0 or more"),
        (lambda: SlidingWindow(5, seconds=0), r"SlidingWindow\(seconds=...\) takes a positive number of seconds"),
        (lambda: TokenBucket(5, status=429.0), r"TokenBucket\(status=...\) is 429 or 503, not 429\.0"),
        (lambda: FaultPlan(limiters=TokenBucket(5)), r"is a list of limiters, not TokenBucket\("),
        (lambda: FaultPlan(limiters=[Fault.THROTTLED]), "each is a Limiter, not"),
        (lambda: FaultPlan(limiters=[TokenBucket(5)], profiles=[3]), "a plan without profiles, and join both with"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(make, message):
    """Before any server starts."""
    with pytest.raises(ConfigurationError, match=message):
        make()
