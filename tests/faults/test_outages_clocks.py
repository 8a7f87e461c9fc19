"""Clocks that jump, over the wire and on virtual time: the promised figures hold all the same."""

import asyncio
import random
import time
from itertools import pairwise

import attrs
import pytest
from support.outages import FROM, OUTAGES, SEVERAL, TO, WatchedServer, assert_whole, fetched, patient
from support.virtual_clock import run_virtually

from profile_history import AttemptTimeout, DeadlineExceeded, Pacing, RetryPolicy, Timeouts
from profile_history.testing import Fault, FaultPlan


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
            # Without adaptation a pause holds the whole client, and is seen between the arrivals.
            result = await fetched(server, pacing=Pacing(requests_per_second=20, adaptive=False))
            assert outage.done()
            assert_whole(server, result)
            pauses = [later - earlier for earlier, later in pairwise(server.arrivals) if later - earlier > 1]
            return result.stats.attempts, result.seconds, pauses

    return run_virtually(run())


@pytest.mark.slow
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
