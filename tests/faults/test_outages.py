"""The promised figures on outages, partial faults, overload and fairness, over the wire and on virtual time."""

import asyncio
import random
import time
from itertools import pairwise

import attrs
import pytest
from support.outages import (
    FROM,
    LATENCY,
    OUTAGES,
    TO,
    Fetched,
    QueueingServer,
    WatchedServer,
    assert_whole,
    fetched,
    now,
    patient,
)
from support.virtual_clock import run_virtually

from profile_history import (
    ApiError,
    AttemptTimeout,
    DeadlineExceeded,
    Limits,
    Pacing,
    RateLimited,
    RetryPolicy,
    ServerUnavailable,
    Timeouts,
)
from profile_history.testing import Fault, FaultPlan

full = pytest.mark.full
CUTTING = ("503", "refused", "reset")


# 1. Total outage


async def total_outage(kind, profiles, seed, *, patience=60.0, **pacing) -> Fetched:
    random.seed(seed)
    async with WatchedServer(profiles) as server, server.down(kind):
        return await fetched(server, pacing=Pacing(**pacing), retry=RetryPolicy(patience=patience))


def most_sends(concurrency, seconds):
    """Ten failures in a row, what was on its way, and a probe for each quarter of a minute that was begun."""
    return 10 + concurrency + seconds // 15 + 1


def check_total_outage(kind, seeds, adaptive):
    for profiles in (3, 10, 100, 1000):
        for concurrency in (1, 4, 16, 64):
            sends = []
            for seed in seeds:
                result = run_virtually(
                    total_outage(kind, profiles, seed, concurrency=concurrency, adaptive=adaptive), limit=120
                )
                assert isinstance(result.error, ServerUnavailable)
                assert (result.failures, result.done) == ([], {})
                assert 60 <= result.seconds <= 65
                assert len(result.sends) <= most_sends(concurrency, result.seconds)
                assert profiles != 100 or len(result.sends) <= 1.1 * profiles
                sends.append(len(result.sends))
            print(f"{kind}, {profiles} windows, concurrency {concurrency}, adaptive {adaptive}: {sends} sends")


@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("kind", CUTTING)
def test_into_a_total_outage_hardly_anything_is_sent_and_after_a_minute_the_stream_says_so(kind, adaptive):
    """Sends are at most 10 + concurrency + 1 per begun 15 s, 1.10 x N at N = 100, and the patience is kept."""
    check_total_outage(kind, [1], adaptive)


@full
@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("kind", CUTTING)
def test_into_a_total_outage_hardly_anything_is_sent_whatever_the_seed(kind, adaptive):
    """The same, for twenty seeds."""
    check_total_outage(kind, range(2, 22), adaptive)


@pytest.mark.parametrize("concurrency", [16, pytest.param(1, marks=full), pytest.param(64, marks=full)])
def test_into_a_total_outage_not_one_request_more_is_sent_than_the_published_figure(concurrency):
    """Sends are at most 10 + concurrency + 1 per 15 s, to the letter, for thirty seeds."""
    over = []
    for seed in range(30):
        result = run_virtually(total_outage("503", 100, seed, concurrency=concurrency, adaptive=False))
        over.append(len(result.sends) - 10 - concurrency - result.seconds / 15)
    print(f"concurrency {concurrency}: {max(over):.2f} sends over, for {sum(one > 0 for one in over)} of 30 seeds")
    assert max(over) <= 0


@pytest.mark.parametrize("kind", OUTAGES)
def test_the_longer_patience_of_the_command_line_sends_no_more_than_a_request_in_fifteen_seconds(kind):
    """Over 15 minutes of outage a hundred windows cost at most 10 + concurrency + 1 per 15 s."""
    result = run_virtually(total_outage(kind, 100, 1, patience=900.0))
    print(f"{kind}: {len(result.sends)} sends in {result.seconds:.0f} s")
    assert isinstance(result.error, ServerUnavailable)
    assert result.seconds >= 900
    assert len(result.sends) <= 10 + 16 + result.seconds / 15


def test_the_end_after_an_outage_says_how_long_it_was_and_what_to_do():
    """`ServerUnavailable` names the seconds, the setting that decides, and the window, and tells that all is good."""
    error = run_virtually(total_outage("503", 100, 1, patience=90.0)).error
    print(error)
    assert isinstance(error, ServerUnavailable)
    for part in ("for 90 s", "RetryPolicy.patience is 90 s", "what was fetched is good", "try again later"):
        assert part.lower() in str(error).lower()
    assert error.fatal
    assert (error.profile, error.window) != (None, None)


@pytest.mark.parametrize(("kind", "words"), [("503", "HTTP 503"), ("refused", "no connection to 127.0.0.1")])
def test_the_end_after_an_outage_says_what_the_server_did(kind, words):
    """Whether no connection was made or HTTP 503 was answered is what the user must act on."""
    assert words in str(run_virtually(total_outage(kind, 100, 1)).error)


@pytest.mark.parametrize("slow", [0.0, 0.5])
@pytest.mark.parametrize("kind", CUTTING)
def test_an_outage_that_outlasts_the_patience_loses_nothing_that_was_answered(kind, slow):
    """All that the server answered well is handed out before the error, also to a reader who is slow."""

    async def run():
        random.seed(1)
        async with WatchedServer(300) as server:
            outage = asyncio.create_task(server.fails(kind, 1.0, 1e5))
            result = await fetched(server, slow=slow)
            outage.cancel()
            await asyncio.wait([outage])
            answered = {server.profile(entry.profile) for entry in server.log if entry.status == 200}
            return result, answered, {profile: server.truth(profile, FROM, TO) for profile in answered}

    result, answered, truth = run_virtually(run())
    print(f"{kind}, reader takes {slow} s: {len(answered)} answered, {len(result.done)} handed out")
    assert isinstance(result.error, ServerUnavailable)
    assert 50 < len(answered) < 300
    assert result.events == truth
    assert not result.failures


# 2. Partial faults

SEVERAL = (Fault.ERROR_500, Fault.RESET_BEFORE_RESPONSE, Fault.TRUNCATED_BODY)


def partial_faults(rate, profiles, seed, **options):
    """Fetches from a server that fails at a rate; gives the sends, and those that the plan makes necessary."""
    plan = FaultPlan(seed=seed, rates=dict.fromkeys(SEVERAL, rate / len(SEVERAL)), streak=None)

    async def run():
        random.seed(seed)
        async with WatchedServer(profiles, faults=plan) as server:
            result = await fetched(server, **options)
            assert_whole(server, result)
            window = f"{server.log[0].date_from}..{server.log[0].date_to}"
            assert sum(server.injected.values()) == len(server.arrivals) - profiles
            assert set(server.injected) == set(SEVERAL)
            return result, window

    result, window = run_virtually(run())
    needed = sum(
        next(attempt for attempt in range(100) if plan.draw(number, window, attempt) is None) + 1
        for number in range(profiles)
    )
    sends = result.stats.attempts
    print(
        f"p = {rate}, {profiles} windows: {sends / profiles:.4f} sends a window, {sends / profiles * (1 - rate):.4f} x "
        f"1/(1-p), {sends - needed} wasted, {len(result.opened)} times gated, {result.seconds:.0f} s"
    )
    assert sends == len(result.sends) == needed
    assert not result.opened
    return sends


@pytest.mark.parametrize("rate", [pytest.param(0.05, marks=full), pytest.param(0.1, marks=full), 0.2])
def test_where_some_requests_fail_no_window_is_lost_and_no_request_is_wasted(rate):
    """Each window costs one request more than the faults that meet it, and every event is the truth."""
    partial_faults(rate, 2000, 1)


def test_where_most_requests_fail_no_window_is_lost_while_a_server_still_answers():
    """Four in ten attempts fail, and a small concurrency still brings all of 300 windows."""
    partial_faults(0.4, 300, 2, pacing=Pacing(concurrency=4))


def test_where_some_requests_are_answered_503_the_fetch_goes_on_about_as_fast():
    """One 503 in twenty answers, whatever the load, takes no more than twice the time of one 500 in twenty."""

    async def run(fault):
        random.seed(1)
        async with WatchedServer(600, faults=FaultPlan(seed=1, rates={fault: 0.05}, streak=None)) as server:
            result = await fetched(server)
            assert_whole(server, result)
            return result

    failing, unavailable = run_virtually(run(Fault.ERROR_500)), run_virtually(run(Fault.ERROR_503))
    limits = failing.mean_limit(0), unavailable.mean_limit(0)
    print(f"5 % of 500: {failing.seconds:.1f} s at {limits[0]:.1f} requests at once")
    print(f"5 % of 503: {unavailable.seconds:.1f} s at {limits[1]:.1f} requests at once")
    assert unavailable.seconds <= 2 * failing.seconds


@full
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("rate", [0.05, 0.1, 0.2])
def test_where_some_requests_fail_the_sends_are_within_two_percent_of_what_must_be(rate, seed):
    """Over 8,000 windows the sends are 1/(1-p) for each, give or take 2 %."""
    assert abs(partial_faults(rate, 8000, seed) / 8000 * (1 - rate) - 1) <= 0.02


# 3. A five-minute outage


async def outage_in_a_fetch(kind, profiles, start, seconds=300.0, seed=1) -> tuple[Fetched, float]:
    """Fetches across an outage; gives the result, and when the outage ended."""
    random.seed(seed)
    async with WatchedServer(profiles) as server:
        outage = asyncio.create_task(server.fails(kind, start, seconds))
        # A fetch that begins with the outage is not to be faster than it.
        await asyncio.sleep(0.01)
        result = await fetched(server, **patient())
        assert outage.done(), "the fetch was over before the outage was"
        assert_whole(server, result)
    return result, start + seconds


def check_ride(kind, profiles, start, longest=30.0, seed=1):
    result, end = run_virtually(outage_in_a_fetch(kind, profiles, start, seed=seed))
    sends, first = result.sent(end - 300, end), result.first_good(end)
    print(
        f"{kind} from {start} s of {profiles} windows: {sends} sends into it, first success {first:.1f} s after it, "
        f"all over {result.seconds - end:.1f} s after it"
    )
    # What is reset on a kept connection is sent once more for free.
    free = 16 if kind == "reset" else 0
    assert sends <= 10 + 16 + free + 300 / 15
    assert first <= longest


@pytest.mark.parametrize(
    "kind", ["503", "refused", pytest.param("reset", marks=full), pytest.param("page", marks=full)]
)
def test_a_five_minute_outage_costs_no_window_and_is_noticed_to_be_over_in_thirty_seconds(kind):
    """0 windows lost, first success within 30 s of recovery, a few dozen requests into the outage."""
    check_ride(kind, 3000 if kind == "503" else 1000, 2.0)


@full
@pytest.mark.parametrize("kind", ["503", "refused", "reset", "page"])
def test_a_five_minute_outage_over_thirty_thousand_windows_costs_none(kind):
    """The same, at the size that was promised."""
    check_ride(kind, 30_000, 60.0)


@pytest.mark.parametrize("profiles", [1000, pytest.param(30_000, marks=full)])
def test_five_minutes_of_silence_cost_no_window(profiles):
    """A server that takes requests and says nothing is noticed to be back a read timeout and a probe's wait later."""
    check_ride("stall", profiles, 2.0, longest=Timeouts().read + 30)


def test_after_five_minutes_of_silence_the_first_success_comes_within_thirty_seconds():
    """The figure for all outages, for six seeds."""
    firsts = []
    for seed in range(6):
        result, end = run_virtually(outage_in_a_fetch("stall", 120, 0.5, seed=seed))
        firsts.append(result.first_good(end))
    print(f"first successes {[round(first, 1) for first in firsts]} s after the recovery")
    assert max(firsts) <= 30


@pytest.mark.parametrize("kind", ["503", "refused", "reset", "page"])
def test_an_outage_at_the_very_start_costs_no_window(kind):
    """A fetch that begins five minutes before the server is there brings all that it has."""
    check_ride(kind, 100, 0.0)


async def outage_before_the_last(kind, left, seed):
    random.seed(seed)
    async with WatchedServer(100 + left) as server:

        async def source():
            for number in range(100 + left):
                if number == 100:
                    await asyncio.sleep(10 - now())
                yield server.profile(number)

        outage = asyncio.create_task(server.fails(kind, 5.0, 300.0))
        result = await fetched(server, source(), **patient())
        outage.cancel()
        await asyncio.wait([outage])
        print(
            f"{kind}, {left} left: {len(result.failures)} lost, {result.stats.attempts} sends, {result.seconds:.1f} s"
        )
        assert_whole(server, result)


@pytest.mark.parametrize("left", [3, 5, 20])
@pytest.mark.parametrize("kind", ["503", "refused", "reset", "page", "stall"])
def test_an_outage_when_few_windows_are_left_costs_none_of_them(kind, left):
    """Three windows are enough to tell an outage from windows that nobody can fetch."""
    run_virtually(outage_before_the_last(kind, left, 1))


@pytest.mark.parametrize("left", [1, 2])
def test_refused_connections_when_one_or_two_windows_are_left_cost_none_of_them(left):
    """A connection that is refused says nothing about the window."""
    run_virtually(outage_before_the_last("refused", left, 1))


# 4. A server that refuses what is too much


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


@pytest.mark.parametrize(
    ("capacity", "until"),
    [(1, 90), (8, 42), *(pytest.param(capacity, 150, marks=full) for capacity in (1, 8, 25))],
)
def test_a_servers_capacity_is_found_and_used_and_hardly_ever_exceeded(capacity, until):
    """After half a minute at least 95 % of it is used, and at most 1 % of the answers are 429."""
    check_use(run_virtually(throttled(capacity, until)), 30, until - 1, capacity)


@pytest.mark.parametrize(
    ("capacities", "latency", "phase", "most"),
    # In the few answers of the first, one refusal more is a third of a percent.
    [((4, 10, 2), 0.5, 90, 0.02), pytest.param((8, 25, 4), 0.1, 120, 0.01, marks=full)],
)
def test_a_capacity_that_changes_is_found_again_within_a_minute(capacities, latency, phase, most):
    """A minute after it has grown or shrunk, 95 % of it is used, and at most 1 % of the answers are 429."""

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


# 5. A server that queues what is too much


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


def test_at_the_default_concurrency_a_server_that_queues_is_used_whole_and_answers_at_most_twice_as_late():
    """Sixteen requests before eight places wait for one round, and no place lies idle."""
    check_queue(Pacing().concurrency, 20, most=16, longest=2.05 * LATENCY)


# 6. Retry-After


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


@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize(("seconds", "patience"), [(30, 60.0), (120, 60.0), (400, 900.0), (600, 900.0)])
def test_a_retry_after_pauses_the_whole_client_for_so_long_and_costs_no_window(seconds, patience, adaptive):
    """Nothing of any stream is sent for the seconds asked for, and work goes on within a tenth more."""
    server, outcomes, wanted, moment = asked_to_wait(seconds, patience, adaptive=adaptive)
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


# 7. Fairness


def with_dead(dead, profiles=200, fault=Fault.ERROR_500, **options) -> tuple[Fetched, float, float]:
    """Fetches all profiles, some of which always fail.

    Returns:
        The result, when the last healthy one was done, and when it is without the dead.
    """

    async def run():
        random.seed(1)
        async with WatchedServer(profiles) as server:
            healthy = [server.profile(number) for number in range(profiles) if number not in dead]
            without = (await fetched(server, healthy, **options)).seconds
            server.faults, began = FaultPlan.always(fault, profiles=dead), now()
            result = await fetched(server, **options)
            last = max((result.done.get(profile, now()) for profile in healthy), default=began) - began
            print(
                f"{len(dead)} of {profiles} dead: last healthy {last:.1f} s, without the dead {without:.1f} s; "
                f"all over {result.seconds:.1f} s, {len(result.sends)} sends, {result.error!r}"
            )
            assert result.error is None
            assert result.failed == {server.profile(number) for number in dead}
            assert len(result.failures) == len(dead)
            assert all(type(failure.error) is ApiError for failure in result.failures)
            assert result.events == {profile: server.truth(profile, FROM, TO) for profile in healthy}
            return result, last, without

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
    _, last, without = with_dead(range(3, 163, 5), fault=fault)
    assert last <= max(1.1 * without, without + 1)


@pytest.mark.parametrize("dead", [range(1), range(2), range(197, 200), range(199, 200)])
def test_very_few_dead_profiles_alone_or_at_the_end_fail_with_their_own_error(dead):
    """One or two dead profiles alone are no outage, and neither are three at the end of a list."""
    with_dead(dead, profiles=max(dead) + 1)


@pytest.mark.parametrize("dead", [range(190, 200), range(168, 200)])
def test_many_dead_profiles_at_the_end_of_the_list_fail_with_their_own_error(dead):
    """A server that answered all others moments ago is not unavailable."""
    with_dead(dead)


def test_a_dozen_dead_profiles_at_the_start_of_the_list_do_not_hide_that_the_others_can_be_had():
    """The first probe already asks for one of the others."""
    with_dead(range(12))


@full
def test_many_dead_profiles_among_many_others_cost_these_hardly_more_than_their_first_tries():
    """250 dead ones spread over 1,000 delay the others by 10 % beyond what trying each dead one once takes."""
    _, last, without = with_dead(range(0, 1000, 4), profiles=1000)
    assert last <= 1.1 * without * 1000 / 750


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


# 8. Requests per second


def most_in_a_second(moments):
    """The most of the moments that lie within one second, its end left out."""
    moments = sorted(moments)
    first, most = 0, 0
    for place, moment in enumerate(moments):
        while moments[first] <= moment - 1:
            first += 1
        most = max(most, place - first + 1)
    return most


def check_rate(plan=FaultPlan(), *, outage=None, idle=0.0, profiles=300):
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
    most, result = check_rate()
    assert most == 10
    assert 29.9 <= result.seconds <= 30.2


@pytest.mark.parametrize("kind", ["503", "refused", "page"])
def test_no_more_requests_arrive_in_any_second_right_after_an_outage(kind):
    """The waiting windows do not all start when the server is back."""
    assert check_rate(outage=kind)[0] == 10


def test_no_more_requests_arrive_in_any_second_after_an_idle_time_or_a_pause_the_server_asked_for():
    """Seconds in which nothing was sent are not saved up."""
    assert check_rate(idle=30.0)[0] == 10
    pause = FaultPlan(script=(Fault.THROTTLED_WITH_RETRY_AFTER,), profiles={50, 200}, retry_after=20)
    assert check_rate(pause)[0] == 10


def test_no_more_requests_arrive_in_any_second_while_many_are_repeated():
    """A retry takes its turn as every request does."""
    assert check_rate(FaultPlan(rates={Fault.ERROR_500: 0.3}))[0] == 10


@pytest.mark.parametrize("fault", [Fault.STALE_CONNECTION, Fault.RESET_BEFORE_RESPONSE])
def test_no_more_requests_arrive_in_any_second_where_kept_connections_die(fault):
    """A free retry takes its turn as well."""
    assert check_rate(FaultPlan(rates={fault: 0.3}))[0] <= 10


# 9. Clocks


@pytest.fixture
def jumping(monkeypatch):
    """A wall clock that jumps by hours, back and forth, whenever it is read; gives how often it was."""
    real, draw, reads = time.time, random.Random(7), []

    def jump():
        reads.append(None)
        return real() + draw.uniform(-12, 12) * 3600

    monkeypatch.setattr(time, "time", jump)
    return reads


def across_everything():
    """A fetch with faults, pauses and an outage."""
    pause = FaultPlan(script=(Fault.RETRY_AFTER_DATE,), profiles={91}, retry_after=20)
    plan = pause | FaultPlan(seed=3, rates=dict.fromkeys(SEVERAL, 0.05))

    async def run():
        random.seed(1)
        async with WatchedServer(600, faults=plan) as server:
            outage = asyncio.create_task(server.fails("refused", 32.0, 30.0))
            result = await fetched(server, pacing=Pacing(requests_per_second=20))
            assert outage.done()
            assert_whole(server, result)
            pauses = [later - earlier for earlier, later in pairwise(server.arrivals) if later - earlier > 1]
            return result.stats.attempts, result.seconds, pauses

    return run_virtually(run())


def test_a_wall_clock_that_jumps_by_hours_changes_nothing(request):
    """Faults, a pause asked for by a date, a rate and an outage go by as on a clock that is right."""
    steady = across_everything()
    reads = request.getfixturevalue("jumping")
    jumped = across_everything()
    print(f"attempts, seconds and pauses: {steady} and {jumped}, {len(reads)} readings of the clock")
    assert reads
    assert jumped[1] == pytest.approx(steady[1], rel=0.1)
    assert len(jumped[2]) == len(steady[2]) == 2
    assert abs(jumped[0] - steady[0]) <= 5


def test_a_deadline_obeys_the_clock_of_the_loop(jumping):
    """It ends the stream at its second, whatever the wall clock says, and what came before was handed out."""

    async def run():
        async with WatchedServer(1000, latency=1.0) as server:
            result = await fetched(server, deadline=7.5)
            assert result.events == {profile: server.truth(profile, FROM, TO) for profile in result.done}
            return result

    result = run_virtually(run())
    print(f"deadline=7.5: {result.error} after {result.seconds} s, {len(result.done)} windows before")
    assert isinstance(result.error, DeadlineExceeded)
    assert result.seconds == pytest.approx(7.5, abs=0.01)
    assert len(result.done) > 20


def test_a_deadline_ends_a_stream_that_waits_for_a_server_or_for_a_pause(jumping):
    """Neither an outage nor a Retry-After is waited for beyond it."""

    async def run(plan):
        async with WatchedServer(100, faults=plan) as server:
            return await fetched(server, deadline=12.5, **patient())

    for plan in (OUTAGES["503"], OUTAGES["stall"], FaultPlan.always(Fault.THROTTLED_WITH_RETRY_AFTER)):
        result = run_virtually(run(attrs.evolve(plan, retry_after=100)))
        assert isinstance(result.error, DeadlineExceeded)
        assert result.seconds == pytest.approx(12.5, abs=0.01)


def test_the_time_of_an_attempt_and_of_a_window_obeys_the_clock_of_the_loop(jumping):
    """Each attempt ends after `Timeouts.attempt`, and the window is given up before `Timeouts.window` is over."""

    async def run():
        random.seed(1)
        timeouts = Timeouts(attempt=4.0, window=30.0)
        async with WatchedServer(1, faults=OUTAGES["stall"]) as server:
            return await fetched(server, timeouts=timeouts, window=None, retry=RetryPolicy(attempts=50))

    result = run_virtually(run())
    (failure,) = result.failures
    print(f"attempts of {result.bad} s, given up after {result.seconds:.1f} s: {failure.error}")
    assert type(failure.error) is AttemptTimeout
    assert result.bad[:-1] == pytest.approx([4.0] * (len(result.bad) - 1), abs=0.01)
    assert len(result.bad) >= 3
    assert 15 <= result.seconds <= 30.01


def test_the_time_of_a_window_does_not_run_while_the_server_is_down_for_everyone():
    """Five minutes of outage use up nothing of a `Timeouts.window` of one minute."""

    async def run():
        random.seed(1)
        async with WatchedServer(200) as server:
            outage = asyncio.create_task(server.fails("503", 0.5, 300.0))
            result = await fetched(server, timeouts=Timeouts(window=60.0), **patient())
            assert outage.done()
            assert_whole(server, result)

    run_virtually(run())
