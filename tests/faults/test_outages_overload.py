"""The promised figures on overload and fairness: capacity, queues, `Retry-After`, dead profiles, the rate."""

import asyncio
import random

import attrs
import pytest
from support.outages import FROM, LATENCY, TO, Fetched, QueueingServer, WatchedServer, assert_whole, fetched, now
from support.virtual_clock import run_virtually

from profile_history import ApiError, Limits, Pacing, RateLimited, RetryPolicy
from profile_history.testing import Fault, FaultPlan

full = pytest.mark.full


# A server that refuses what is too much


async def throttled(capacity, until, *, latency=LATENCY) -> WatchedServer:
    random.seed(capacity)
    profiles = int(until * capacity / latency) + 100
    async with WatchedServer(profiles, latency=latency, capacity=capacity) as server:
        result = await fetched(server, until=until, pacing=Pacing(concurrency=64))
        assert (result.error, result.failures) == (None, [])
    return server


def check_use(server, start, end, capacity, most=0.01):
    used, refused = server.used(start, end, capacity)
    print(f"capacity {capacity}: from {start} s to {end} s {used:.1%} of it used, {refused:.2%} of the answers 429")
    assert used >= 0.95
    assert refused <= most


@pytest.mark.slow
@pytest.mark.parametrize(
    ("capacity", "until"),
    [(1, 90), (8, 70), *(pytest.param(capacity, 150, marks=full) for capacity in (1, 8, 25))],
)
def test_a_servers_capacity_is_found_and_used_and_hardly_ever_exceeded(capacity, until):
    """After half a minute at least 95 % of it is used, and at most 1 % of the responses are 429."""
    check_use(run_virtually(throttled(capacity, until)), 30, until - 1, capacity)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("capacities", "latency", "phase", "most"),
    # In the few responses of the first, one refusal more is a third of a percent.
    [((4, 10, 2), 0.5, 90, 0.02), pytest.param((8, 25, 4), 0.1, 120, 0.01, marks=full)],
)
def test_a_capacity_that_changes_is_found_again_within_a_minute(capacities, latency, phase, most):
    """A minute after it has grown or shrunk, 95 % of it is used, and at most 1 % of the responses are 429."""

    async def run():
        random.seed(1)
        profiles = int(sum(capacities) * phase / latency) + 100
        async with WatchedServer(profiles, latency=latency, capacity=capacities[0]) as server:
            for number, capacity in enumerate(capacities):
                change = attrs.evolve(server.behaviour, capacity=capacity)
                asyncio.get_running_loop().call_at(number * phase, setattr, server, "behaviour", change)
            result = await fetched(server, until=3 * phase, pacing=Pacing(concurrency=64))
            assert (result.error, result.failures) == (None, [])
        return server

    server = run_virtually(run())
    for number, capacity in enumerate(capacities):
        check_use(server, number * phase + 60, (number + 1) * phase - 1, capacity, most)


@pytest.mark.parametrize("capacity", [pytest.param(1, marks=full), 8, 25])
def test_without_adaptation_a_server_that_refuses_most_requests_costs_no_window(capacity):
    """64 requests at once where a few are allowed: slow, and whole."""

    async def run():
        random.seed(1)
        async with WatchedServer(300, capacity=capacity) as server:
            result = await fetched(server, pacing=Pacing(concurrency=64, adaptive=False))
            good, refused = server.answered(0, now() + 1)
            print(f"capacity {capacity}, fixed 64: {refused} of {good + refused} answers 429, {result.seconds:.1f} s")
            print(f"{len(result.failures)} lost, the circuit opened {len(result.opened)} times")
            assert refused > 100
            assert_whole(server, result)

    run_virtually(run())


# A server that queues what is too much


async def queued(concurrency, until) -> tuple[Fetched, WatchedServer]:
    random.seed(1)
    async with QueueingServer(int(until * 80) + 200, places=8) as server:
        result = await fetched(server, until=until, pacing=Pacing(concurrency=concurrency))
    return result, server


def check_queue(concurrency, until, most, longest):
    result, server = run_virtually(queued(concurrency, until))
    start = until / 2
    used, _ = server.used(start, until - 1, 8)
    mean, delay = result.mean_limit(start), result.median_delay(start)
    print(
        f"8 places, concurrency {concurrency}: mean limit {mean:.1f}, p50 {delay:.2f} s, {used:.1%} of the places used"
    )
    assert used >= 0.95
    assert mean <= most
    assert delay <= longest


@pytest.mark.slow
def test_at_the_default_concurrency_a_server_that_queues_is_used_whole_and_answers_at_most_twice_as_late():
    """Sixteen requests before eight places wait for one round, and no place lies idle."""
    check_queue(Pacing().concurrency, 20, most=16, longest=2.05 * LATENCY)


# Retry-After


def asked_to_wait(seconds, patience=60.0, profiles=200, **pacing):
    """Two streams of one client, one of whose requests is answered 429 with Retry-After.

    Returns:
        The server, the outcome of each stream, whether they hold the truth, and when the 429 was answered.
    """
    plan = FaultPlan(script=(Fault.THROTTLED_WITH_RETRY_AFTER,), profiles={60}, retry_after=seconds)

    async def run():
        random.seed(seconds)
        async with WatchedServer(profiles, faults=plan) as server:
            half = profiles // 2
            everyone, truth = server.profiles(), [server.truth(profile, FROM, TO) for profile in server.profiles()]
            async with server.client(pacing=Pacing(**pacing), retry=RetryPolicy(patience=patience)) as client:
                streams = [
                    client.histories(everyone[:half], FROM, TO),
                    client.with_options(order="newest").histories(everyone[half:], FROM, TO),
                ]
                outcomes = await asyncio.gather(*(stream.collect() for stream in streams), return_exceptions=True)
            (moment,) = [when for when, status in server.answers if status == 429]
        return server, outcomes, [sum(map(len, truth[:half])), sum(map(len, truth[half:]))], moment

    return run_virtually(run())


WAITS = pytest.mark.parametrize(("seconds", "patience"), [(30, 60.0), (120, 60.0), (400, 900.0), (600, 900.0)])


@WAITS
def test_the_window_of_a_retry_after_waits_so_long_while_the_others_go_on(seconds, patience):
    """Others are answered, so the server means that one, and no stream stands still."""
    server, outcomes, wanted, moment = asked_to_wait(seconds, patience)
    again = [entry for entry in server.log if entry.profile == 60][-1]
    waited = server.arrivals[-1] - moment
    print(f"Retry-After: {seconds}: sent again after {waited:.2f} s")
    assert server.log[-1] is again
    assert seconds <= waited <= 1.1 * seconds
    assert [len(outcome) for outcome in outcomes] == wanted
    assert len(server.arrivals) == 201
    assert server.arrivals[-2] < moment + 10


@pytest.mark.parametrize("pacing", [{"adaptive": False}, {"concurrency": 1}])
@WAITS
def test_a_retry_after_pauses_the_whole_client_where_nobody_else_is_answered(seconds, patience, pacing):
    """Nothing of any stream is sent for the seconds asked for, and work goes on within a tenth more."""
    server, outcomes, wanted, moment = asked_to_wait(seconds, patience, **pacing)
    later = [when - moment for when in server.arrivals if when > moment]
    print(f"Retry-After: {seconds}: {len(later)} requests after it, the first {later[0]:.2f} s later")
    assert len(later) > 50
    assert seconds <= later[0] <= 1.1 * seconds
    assert [type(outcome) for outcome in outcomes] == [list, list], outcomes
    assert [len(outcome) for outcome in outcomes] == wanted
    assert len(server.arrivals) == 201


@pytest.mark.parametrize(("seconds", "patience"), [(100_000, 60.0), (121, 60.0), (901, 900.0)])
def test_a_retry_after_beyond_the_patience_ends_the_stream_at_once(seconds, patience):
    """`RateLimited` carries the seconds and what to do, and nothing is sent to wait for them."""
    server, (error, other), (_, wanted), moment = asked_to_wait(seconds, patience)
    print(error)
    assert isinstance(error, RateLimited)
    assert error.retry_after == seconds
    assert f"{seconds:g} s; do so, or raise RetryPolicy.patience" in str(error)
    assert error.profile == server.profile(60)
    # The other stream has no part in it.
    assert len(other) == wanted
    assert max(server.arrivals) <= moment + 10


# Fairness


def with_dead(dead, profiles=200, fault=Fault.ERROR_500) -> float:
    """Fetch all profiles, some of which always fail; return when the last healthy one was done."""

    async def run():
        random.seed(1)
        async with WatchedServer(profiles) as server:
            healthy = [server.profile(number) for number in range(profiles) if number not in dead]
            server.faults, began = FaultPlan.always(fault, profiles=dead), now()
            result = await fetched(server)
            last = max((result.done.get(profile, now()) for profile in healthy), default=began) - began
            print(
                f"{len(dead)} of {profiles} dead: last healthy {last:.1f} s, all over {result.seconds:.1f} s, "
                f"{len(result.sends)} sends, {result.error!r}"
            )
            assert result.error is None
            assert result.failed == {server.profile(number) for number in dead}
            assert len(result.failures) == len(dead)
            assert all(type(failure.error) is ApiError for failure in result.failures)
            assert result.events == {profile: server.truth(profile, FROM, TO) for profile in healthy}
            return last

    return run_virtually(run())


def without_dead(dead, profiles=200) -> float:
    """Fetch the profiles but for those; return how long it takes."""

    async def run():
        random.seed(1)
        async with WatchedServer(profiles) as server:
            healthy = [server.profile(number) for number in range(profiles) if number not in dead]
            return (await fetched(server, healthy)).seconds

    return run_virtually(run())


@pytest.mark.parametrize(
    "fault",
    [
        Fault.ERROR_500,
        Fault.ERROR_503,
    ],
)
def test_dead_profiles_among_others_fail_alone_and_delay_nobody(fault):
    """32 dead ones among 200 cost the others at most 10 % or a second, and are the only failures."""
    last, without = with_dead(range(3, 163, 5), fault=fault), without_dead(range(3, 163, 5))
    assert last <= max(1.1 * without, without + 1) + 1e-9


@pytest.mark.parametrize("dead", [range(1), range(2), range(197, 200), range(199, 200)])
def test_very_few_dead_profiles_alone_or_at_the_end_fail_with_their_own_error(dead):
    """One or two dead profiles alone are no outage, and neither are three at the end of a list."""
    with_dead(dead, profiles=max(dead) + 1)


@pytest.mark.parametrize("dead", [range(190, 200), pytest.param(range(168, 200), marks=pytest.mark.slow)])
def test_many_dead_profiles_at_the_end_of_the_list_fail_with_their_own_error(dead):
    """A server that answered all others moments ago is not unavailable."""
    with_dead(dead)


def test_a_dozen_dead_profiles_at_the_start_of_the_list_do_not_hide_that_the_others_can_be_had():
    """The first probe already asks for one of the others."""
    with_dead(range(12))


@full
def test_many_dead_profiles_among_many_others_cost_these_hardly_more_than_their_first_tries():
    """250 dead ones spread over 1,000 delay the others by 10 % beyond what trying each dead one once takes."""
    dead = range(0, 1000, 4)
    last, without = with_dead(dead, profiles=1000), without_dead(dead, profiles=1000)
    assert last <= 1.1 * without * 1000 / 750


@pytest.mark.slow
def test_a_huge_profile_delays_nobody():
    """One profile that takes a hundred windows comes first, and the others are done as if it were not there."""

    async def run():
        async with WatchedServer(400) as server:
            sizes = [len(server.truth(profile)) for profile in server.profiles()]
            huge = server.profile(max(range(400), key=sizes.__getitem__))
            others = [server.profile(number) for number in range(400) if sizes[number] < 200]
            server.behaviour = attrs.evolve(server.behaviour, row_cap=200)
            limits = Limits(row_cap=200)
            async with server.client(limits=limits) as client:
                taken = {}
                for name, profiles in (("without", others), ("with", [huge, *others])):
                    began, last, counts = now(), 0.0, dict.fromkeys(profiles, 0)
                    async for result in client.histories(profiles).windows():
                        assert result.error is None
                        counts[result.profile] += 1
                        last = last if result.profile == huge else now() - began
                    taken[name] = last
            print(f"{counts[huge]} windows of a huge profile: the others take {taken} s, all {now() - began:.1f} s")
            assert counts[huge] > 20
            assert {counts[profile] for profile in others} == {1}
            assert taken["with"] <= max(1.1 * taken["without"], taken["without"] + 1)

    run_virtually(run())


# Requests per second


def most_in_a_second(moments):
    """The most of the moments that lie within one second, its end left out."""
    moments = sorted(moments)
    first, most = 0, 0
    for place, moment in enumerate(moments):
        while moments[first] <= moment - 1:
            first += 1
        most = max(most, place - first + 1)
    return most


def check_rate(plan=FaultPlan(), *, outage=None, idle=0.0, profiles=150):
    async def run():
        random.seed(1)
        async with WatchedServer(profiles, faults=plan) as server:

            async def source():
                for number in range(profiles):
                    if number == profiles // 2:
                        await asyncio.sleep(idle)
                    yield server.profile(number)

            outages = [asyncio.create_task(server.fails(outage, 5.0, 40.0))] if outage else []
            result = await fetched(server, source(), pacing=Pacing(concurrency=64, requests_per_second=10))
            assert all(task.done() for task in outages)
            assert_whole(server, result)
            return server.arrivals, result

    arrivals, result = run_virtually(run())
    most, client_most = most_in_a_second(arrivals), most_in_a_second(result.sends)
    print(f"{len(arrivals)} requests in {result.seconds:.1f} s, at most {most} in a second ({client_most} as sent)")
    return most, result


def test_no_more_requests_arrive_in_any_second_than_asked_for_and_no_fewer():
    """10 a second: never 11 within any second, and 300 in half a minute."""
    most, result = check_rate(profiles=300)
    assert most == 10
    assert 29.9 <= result.seconds <= 30.2


@pytest.mark.parametrize("kind", ["503", "refused", "page"])
def test_no_more_requests_arrive_in_any_second_right_after_an_outage(kind):
    """The waiting windows do not all start when the server is back."""
    assert check_rate(outage=kind)[0] == 10


def test_no_more_requests_arrive_in_any_second_after_an_idle_time_or_a_pause_the_server_asked_for():
    """Seconds in which nothing was sent are not saved up."""
    assert check_rate(idle=30.0)[0] == 10
    pause = FaultPlan(script=(Fault.THROTTLED_WITH_RETRY_AFTER,), profiles={40, 100}, retry_after=20)
    assert check_rate(pause)[0] == 10


def test_no_more_requests_arrive_in_any_second_while_many_are_repeated():
    """A retry takes its turn as every request does."""
    assert check_rate(FaultPlan(rates={Fault.ERROR_500: 0.3}))[0] == 10


@pytest.mark.parametrize("fault", [Fault.STALE_CONNECTION, Fault.RESET_BEFORE_RESPONSE])
def test_no_more_requests_arrive_in_any_second_where_kept_connections_die(fault):
    """A free retry takes its turn as well."""
    assert check_rate(FaultPlan(rates={fault: 0.3}))[0] <= 10
