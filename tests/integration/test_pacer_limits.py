"""The pacer before simulated servers that limit it: it finds their limit, and holds it."""

import attrs
import pytest
from support.outages import WatchedServer, assert_whole, fetched, now
from support.virtual_clock import run_virtually

from benchmarks.pacing import Change, play, used_and_refused
from benchmarks.simulated import SimulatedServer
from profile_history import Pacing
from profile_history.observing import RateLearned
from profile_history.testing import (
    Behaviour,
    ConcurrencyLimiter,
    FaultPlan,
    FixedWindow,
    HistoryServer,
    LeakyBucket,
    SlidingWindow,
    TokenBucket,
)

slow = pytest.mark.slow


def limited(limiter):
    """Return a plan in which nothing goes wrong but what a limiter refuses."""
    return FaultPlan(limiters=[limiter])


def check(limiter, permitted, *, used, refused, latency=0.05, start=20.0, end=100.0, seed=5, **settings):
    """Play with a server, and compare what was used and refused from `start` to `end` with what is wanted."""
    server = SimulatedServer(limiter, latency, seed=seed, **settings)
    play(server, end)
    got = used_and_refused(server, permitted, start, end)
    print(f"{limiter}, {latency:g} s: {got[0]:.1%} used, {got[1]:.2%} refused")
    assert got[0] >= used
    assert got[1] <= refused


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("limiter", "permitted"),
    [
        (TokenBucket(12, burst=5), 12),
        pytest.param(TokenBucket(30, burst=100), 30, marks=slow),
        pytest.param(TokenBucket(75, burst=10), 75, marks=slow),
        (SlidingWindow(12, count_refused=True), 12),
        pytest.param(SlidingWindow(30, count_refused=True), 30, marks=slow),
        (FixedWindow(12), 12),
        pytest.param(FixedWindow(40), 40, marks=slow),
        (LeakyBucket(12, queue=5), 12),
    ],
    ids=str,
)
def test_a_rate_is_found_within_twenty_seconds_and_held(limiter, permitted, status):
    """At least 85 % of it is used, and at most 2 % of the requests are refused, without any `Retry-After`.

    A 503 takes longer to be believed, which tells where a window is small.
    """
    check(attrs.evolve(limiter, status=status), permitted, used=0.65 if status == 503 else 0.85, refused=0.02)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("most", "latency"), [(1, 0.12), (3, 0.12), pytest.param(8, 0.05, marks=slow), pytest.param(25, 0.2, marks=slow)]
)
def test_a_limit_of_the_number_in_flight_is_told_from_a_rate(most, latency, status):
    """At least 95 % of it is used, and at most 1 % of the requests are refused."""
    check(ConcurrencyLimiter(most, status=status), most / latency, used=0.95, refused=0.01, latency=latency)


@slow
def test_long_round_trips_waste_little():
    """Half a second to each response."""
    check(TokenBucket(30, burst=5), 30, used=0.85, refused=0.02, latency=0.5)


@pytest.mark.parametrize(
    ("most", "start", "end", "used", "refused"),
    [(600, 60.0, 300.0, 0.85, 0.02), (60, 60.0, 300.0, 0.75, 0.08), (60, 300.0, 900.0, 0.7, 0.04)],
)
def test_the_rate_of_a_quota_of_a_minute_is_found_within_minutes(most, start, end, used, refused):
    """It lets in as many at once as the client likes, and then nothing, so it can only be asked seldom."""
    check(FixedWindow(most, seconds=60.0), most / 60, used=used, refused=refused, start=start, end=end)


@slow
@pytest.mark.parametrize("fault", [500, 503])
def test_one_fault_in_twenty_whatever_is_asked_for_does_not_hide_a_rate(fault):
    """No less than 85 % of it is used."""
    check(TokenBucket(50, burst=5), 50, used=0.85, refused=0.02, faults=0.05, fault=fault)


@slow
def test_503_that_come_whatever_is_asked_for_hold_nothing_back():
    """Where nothing is limited, one in twenty costs a tenth of the pace at most."""
    server = SimulatedServer(None, 0.05, faults=0.05, fault=503)
    play(server, 60.0, concurrency=16)
    assert used_and_refused(server, 16 / 0.05, 20.0, 60.0)[0] >= 0.85


@slow
def test_a_rate_that_changes_is_found_again():
    """20 instead of 50 per second is noticed at once, and 100 instead of 20 within a minute."""
    server = SimulatedServer(TokenBucket(50, burst=5), 0.05)

    def set_rate(rate):
        return lambda server: server.limit(TokenBucket(rate, burst=5))

    play(server, 200.0, changes=[Change(40, set_rate(20)), Change(80, set_rate(100))])
    for rate, start, end in ((50, 20, 40), (20, 45, 80), (100, 140, 200)):
        used, refused = used_and_refused(server, rate, start, end)
        print(f"{rate} per second: {used:.1%} used, {refused:.2%} refused")
        assert used >= 0.85
        assert refused <= 0.03


def test_a_rate_is_shown_while_it_holds():
    """With the reason in words."""
    seen = []
    play(SimulatedServer(TokenBucket(12, burst=5), 0.05), 40.0, watch=lambda now, state: seen.append((now, state)))
    late = [state for now, state in seen if now > 20]
    assert all(state.rate is not None for state in late)
    assert {state.reason for state in late} <= {f"held at {n} requests/s by the server" for n in range(9, 17)}


def test_no_rate_is_shown_while_one_is_only_tried():
    """A server that counts requests in flight is tried by pace now and then, and holds the client at their number."""
    seen = []

    async def fetch():
        plan = FaultPlan(limiters=[ConcurrencyLimiter(3)])
        async with (
            HistoryServer(profiles=500, behaviour=Behaviour(latency=0.05), faults=plan) as server,
            server.client(on_event=lambda _: seen.append(client.pacing_state)) as client,
        ):
            await client.histories(server.profiles()).collect()

    run_virtually(fetch())
    tried = [state for state in seen if state.limit == 16 and state.reason]
    assert {(state.rate, state.reason) for state in tried} == {(None, "held at 3 in flight by the server")}


def test_the_rate_of_the_user_is_never_exceeded_and_no_rate_is_shown_where_it_is_what_holds():
    """Fifty are permitted and twenty are asked for."""
    seen = []
    server = SimulatedServer(TokenBucket(50, burst=5), 0.05)
    play(server, 30.0, requests_per_second=20.0, watch=lambda now, state: seen.append(state))
    assert server.refused == []
    assert used_and_refused(server, 20.0, 5.0, 30.0)[0] == pytest.approx(1.0, abs=0.02)
    assert {state.reason for state in seen} == {""}


def test_without_adaptation_no_rate_is_learned():
    """The user has said what may be sent."""
    seen = []
    play(
        SimulatedServer(TokenBucket(12, burst=5), 0.05),
        5.0,
        concurrency=4,
        adaptive=False,
        watch=lambda now, state: seen.append(state),
    )
    assert {(state.limit, state.rate, state.reason) for state in seen} == {(4, None, "")}


@pytest.mark.parametrize("profiles", [300, pytest.param(1500, marks=slow)])
@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_answers_503_to_what_is_too_much_costs_hardly_a_request_more(status, profiles):
    """As `limit_conn` of nginx does by default: few requests besides, no window lost, and no outage seen."""

    async def main():
        async with WatchedServer(
            profiles, faults=limited(ConcurrencyLimiter(3, status=status)), latency=0.05
        ) as server:
            result = await fetched(server, pacing=Pacing(concurrency=16))
            assert_whole(server, result)
            print(f"{status}: {len(server.arrivals) / profiles:.3f} requests per window")
            return result, len(server.arrivals)

    result, requests = run_virtually(main())
    assert not result.opened
    assert requests <= 1.05 * profiles + 20


@pytest.mark.parametrize(("most", "profiles"), [(60, 150), pytest.param(600, 1500, marks=slow)])
def test_a_quota_of_a_minute_is_waited_for_and_no_window_lost(most, profiles):
    """It refuses everything for most of a minute, which is no outage."""

    async def main():
        limiter = FixedWindow(most, seconds=60.0)
        async with WatchedServer(profiles, faults=limited(limiter), latency=0.05) as server:
            result = await fetched(server, pacing=Pacing(concurrency=16))
            assert_whole(server, result)
            return result, len(server.arrivals)

    result, requests = run_virtually(main())
    assert not result.opened
    assert result.seconds <= 180
    assert requests <= profiles + 50


@pytest.mark.parametrize("profiles", [5, 50])
def test_a_client_that_begins_while_a_quota_is_used_up_waits_for_its_end(profiles):
    """Nothing was ever answered well for it, and yet that is no outage."""

    async def main():
        limits = limited(FixedWindow(60, seconds=60.0))
        async with WatchedServer(60 + profiles, faults=limits, latency=0.05) as server:
            await fetched(server, server.profiles()[:60])
            return await fetched(server, server.profiles()[60:])

    result = run_virtually(main())
    assert (result.error, result.failures, result.opened) == (None, [], [])
    assert 50 <= result.seconds <= 75


@slow
@pytest.mark.parametrize("status", [429, 503])
def test_a_stream_before_a_limited_rate_uses_it_and_loses_no_window(status):
    """As `limit_req` of nginx: 50 per second, a burst of five."""

    async def main():
        told = []
        async with WatchedServer(2000, faults=limited(TokenBucket(50, burst=6, status=status)), latency=0.07) as server:
            result = await fetched(server, hear=told.append)
            assert_whole(server, result)
            return result, len(server.arrivals), told

    result, requests, told = run_virtually(main())
    print(f"{status}: {requests / 2000:.3f} requests per window in {result.seconds:.0f} s")
    assert not result.opened
    assert requests <= 1.05 * 2000 + 50
    assert result.seconds <= 2000 / 50 / 0.85
    assert 40 <= [one for one in told if isinstance(one, RateLearned)][-1].rate <= 60


def test_copies_of_a_client_share_what_was_learned():
    """A copy begins at the rate that its original has found, and is refused no more than that."""

    async def main():
        limits = limited(TokenBucket(12, burst=6))
        async with WatchedServer(250, faults=limits, latency=0.05) as server, server.client() as client:
            async for _ in client.histories(server.profiles(), "2024-05-01", "2024-05-02"):
                pass
            found, refused = client.pacing_state, server.answered(0, now())[1]
            assert found.rate == pytest.approx(12, rel=0.3)
            copy = client.with_options(order="oldest")
            assert copy.pacing_state == found
            async for _ in copy.histories(server.profiles()[:100], "2024-05-01", "2024-05-02"):
                pass
            assert client.pacing_state == copy.pacing_state
            assert server.answered(0, now())[1] <= refused + 3

    run_virtually(main())
