"""The promised figures on outages and partial faults, over the wire and on virtual time."""

import asyncio
import random

import pytest
from support.outages import FROM, OUTAGES, SEVERAL, TO, Fetched, WatchedServer, assert_whole, fetched, now, patient
from support.virtual_clock import run_virtually

from profile_history import Pacing, RetryPolicy, ServerUnavailable, Timeouts
from profile_history.testing import Fault, FaultPlan

full = pytest.mark.full
CUTTING = ("503", "refused", "reset")


# Total outage


async def total_outage(kind, profiles, seed, *, patience=60.0, **pacing) -> Fetched:
    random.seed(seed)
    async with WatchedServer(profiles) as server, server.down(kind):
        return await fetched(server, pacing=Pacing(**pacing), retry=RetryPolicy(patience=patience))


def most_sends(concurrency, seconds):
    """Ten failures in a row, what was in flight, and a probe for each quarter of a minute that was begun."""
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


@pytest.mark.parametrize("adaptive", [True, pytest.param(False, marks=pytest.mark.slow)])
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


@pytest.mark.slow
@pytest.mark.parametrize("concurrency", [16, pytest.param(1, marks=full), pytest.param(64, marks=full)])
def test_into_a_total_outage_not_one_request_more_is_sent_than_the_published_figure(concurrency):
    """Sends are at most 10 + concurrency + 1 per 15 s, to the letter, for thirty seeds."""
    over = []
    for seed in range(30):
        result = run_virtually(total_outage("503", 100, seed, concurrency=concurrency, adaptive=False))
        over.append(len(result.sends) - 10 - concurrency - result.seconds / 15)
    print(f"concurrency {concurrency}: {max(over):.2f} sends over, for {sum(one > 0 for one in over)} of 30 seeds")
    assert max(over) <= 0


def test_an_outage_of_504s_halves_no_window_again_and_again():
    """The first of each profile counts as the failures of other outages do, and the figure is the same."""
    result = run_virtually(total_outage("504", 100, 1, concurrency=16))
    assert isinstance(result.error, ServerUnavailable)
    assert len(result.sends) <= most_sends(16, result.seconds)


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


# Partial faults


def partial_faults(rate, profiles, seed, **options):
    """Fetch from a server that fails at a rate; return the sends, and those that the plan makes necessary."""
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


@pytest.mark.slow
@pytest.mark.parametrize("rate", [pytest.param(0.05, marks=full), pytest.param(0.1, marks=full), 0.2])
def test_where_some_requests_fail_no_window_is_lost_and_no_request_is_wasted(rate):
    """Each window costs one request more than the faults that meet it, and every event is the truth."""
    partial_faults(rate, 2000, 1)


@pytest.mark.slow
def test_where_most_requests_fail_no_window_is_lost_while_a_server_still_answers():
    """Four in ten attempts fail, and a small concurrency still brings all of 300 windows."""
    partial_faults(0.4, 300, 2, pacing=Pacing(concurrency=4))


@pytest.mark.slow
def test_where_some_requests_are_answered_503_the_fetch_goes_on_about_as_fast():
    """One 503 in twenty responses, whatever the load, takes no more than twice the time of one 500 in twenty."""

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


# A five-minute outage


async def outage_in_a_fetch(kind, profiles, start, seconds=300.0, seed=1) -> tuple[Fetched, float]:
    """Fetch across an outage; return the result, and when the outage ended."""
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.parametrize("left", [3, pytest.param(5, marks=pytest.mark.slow), 20])
@pytest.mark.parametrize("kind", ["503", "refused", "reset", "page", "stall"])
def test_an_outage_when_few_windows_are_left_costs_none_of_them(kind, left):
    """Three windows are enough to tell an outage from windows that nobody can fetch."""
    run_virtually(outage_before_the_last(kind, left, 1))


@pytest.mark.parametrize("left", [1, 2])
def test_refused_connections_when_one_or_two_windows_are_left_cost_none_of_them(left):
    """A connection that is refused says nothing about the window."""
    run_virtually(outage_before_the_last("refused", left, 1))
