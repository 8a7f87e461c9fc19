"""Those who wait for the right to send: cancelled, woken late or early, or told of by a hook that fails."""

import asyncio
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.paced_requests import PATIENCE, Server, cancel, late_timers, most_in_a_second, now, settle, virtual
from support.virtual_clock import run_virtually

from profile_history import Pacing, ServerUnavailable
from profile_history._sending.failure_signals import Signal
from profile_history._sending.pacer import Pacer
from profile_history.observing import CircuitClosed, CircuitOpened, Observer, Throttled


@virtual
async def test_a_probe_that_is_cancelled_gives_its_right_to_the_next_who_waits():
    """While it is in flight, and when it was let in a moment before and does not know yet; after the next wait."""
    server = Server()
    await server.fail(10)
    first, second, third = server.starting(3)
    await first
    server.end(Signal.NEUTRAL)
    await settle()
    asyncio.get_running_loop().call_at(2 + 4, second.cancel)
    await third
    assert second.cancelled()
    assert server.starts[-2:] == [2, 2 + 4 + 8]
    server.end()
    server.check_idle()


@virtual
async def test_a_probe_that_outlives_the_outage_is_an_ordinary_request():
    """The circuit was closed by another, and its end plans nothing."""
    server = Server(concurrency=16, adaptive=False)
    for _ in range(11):
        await server.start()
    for number in range(10):
        server.end(Signal.FAILED, request_id="abc"[number % 3])
    await server.start()
    server.end(Signal.SUCCESS)
    assert not server.pacer.circuit_open
    assert server.end(Signal.FAILED, request_id="a")
    await asyncio.gather(*server.starting(16))
    assert now() == 2


@virtual
async def test_a_waiter_that_is_cancelled_leaves_no_timer_and_takes_nobodys_place():
    """Whether it waits for a place, for its second, for a pause or for a probe."""
    for prepare in ("place", "second", "pause", "probe"):
        server = Server(concurrency=1, requests_per_second=0.001 if prepare == "second" else None)
        if prepare == "probe":
            await server.fail(10)
        else:
            await server.start()
        if prepare in ("second", "pause"):
            server.end(retry_after=1000 if prepare == "pause" else None)
        waiting = server.starting(3)
        await settle()
        await cancel(*waiting)
        while server.permits:
            server.end()
        server.check_idle()


@virtual
async def test_cancelling_those_in_front_lets_the_others_in_at_their_time():
    """The timer is for whoever is first now."""
    server = Server(concurrency=9, requests_per_second=1)
    waiting = server.starting(5)
    await asyncio.sleep(0.5)
    await cancel(*waiting[1:3])
    await asyncio.gather(*waiting[3:])
    assert [round(start, 6) for start in server.starts] == [0, 1, 2]


@virtual
async def test_a_request_cancelled_in_the_moment_it_was_let_in_gives_its_place_back():
    """It holds a permit, and never learns of it."""
    server = Server(concurrency=1)
    await server.start()
    first, second = server.starting(2)
    await settle()
    server.end()
    first.cancel()
    await second
    assert first.cancelled()
    server.end()
    server.check_idle()


@pytest.mark.parametrize("cancelled_first", [True, False])
@virtual
async def test_one_cancelled_in_the_moment_its_patience_ends_is_cancelled(cancelled_first):
    """Whichever comes first; and nobody is told of an exception that was never retrieved."""
    server = Server()
    await server.fail(10)
    await server.start()
    # Patience ends at a moment that is counted from this one.
    opened = server.pacer._breaker.opened_at
    [waiting] = server.starting(1)
    if not cancelled_first:
        await settle()
    asyncio.get_running_loop().call_at(opened + PATIENCE, waiting.cancel)
    [end] = await asyncio.gather(waiting, return_exceptions=True)
    assert isinstance(end, asyncio.CancelledError)
    assert now() == opened + PATIENCE
    server.end()
    server.check_idle()


@virtual
async def test_one_timer_is_enough_for_all_who_wait_and_it_rings_only_when_there_is_something_to_do():
    """A hundred who wait for an hour cost a handful of wake-ups."""
    server, loop = Server(concurrency=1), asyncio.get_running_loop()
    await server.fail(10)
    waiting = server.starting(100, patience=3600)
    before = loop.advances
    await waiting[0]
    await asyncio.gather(*waiting[1:], return_exceptions=True)
    assert now() == 3600
    assert loop.advances - before <= 2
    server.end()
    server.check_idle()


@pytest.mark.parametrize("obstacle", ["rate", "pause", "probe", "patience"])
@virtual
async def test_a_timer_that_rings_early_is_wound_up_a_few_times_and_not_for_ever(obstacle):
    """Timers of uvloop, which rounds to milliseconds, may ring early; nobody is let in early by that."""
    server, loop, rings = Server(requests_per_second=1 if obstacle == "rate" else None), asyncio.get_running_loop(), 0
    await server.start()
    due = 1.0
    if obstacle in ("probe", "patience"):
        server.end()
        await server.fail(10)
        due = 2.0
    elif obstacle == "pause":
        server.end(Signal.FAILED, retry_after=10)
        due = 11.0
    if obstacle == "patience":
        await server.start()
        due = PATIENCE
    call_at = loop.call_at

    def early(when, *more, **options):
        nonlocal rings
        rings += 1
        assert rings < 10, "it rings again and again"
        return call_at(when - 0.0005, *more, **options)

    loop.call_at = early
    [waiting] = server.starting(1)
    [end] = await asyncio.gather(waiting, return_exceptions=True)
    assert isinstance(end, ServerUnavailable) is (obstacle == "patience")
    assert due <= now() <= due + 0.002
    assert rings >= 2


@pytest.mark.parametrize("step", ["throttled", "opened", "closed"])
@virtual
async def test_a_hook_that_ends_the_program_leaves_the_pacer_in_order(step):
    """It is told after all else is done: nobody waits for ever, and no place is lost."""
    told = []

    def hook(observation):
        told.append(observation)
        if isinstance(observation, {"throttled": Throttled, "opened": CircuitOpened, "closed": CircuitClosed}[step]):
            raise asyncio.CancelledError

    server = Server(concurrency=1)
    # The hook needs the server, which is made with a hook of its own.
    server.pacer._observer = Observer(hook)
    if step != "throttled":
        await server.fail(9)
    await server.start()
    if step == "closed":
        server.end(Signal.FAILED)
        await server.start()
    waiting = server.starting(1)
    await settle()
    signal = {"throttled": Signal.THROTTLED, "opened": Signal.FAILED, "closed": Signal.SUCCESS}[step]
    with pytest.raises(asyncio.CancelledError):
        server.end(signal)
    await waiting[0]
    assert server.pacer.in_use == 1
    assert len(told) == (2 if step == "closed" else 1)
    server.end(Signal.NEUTRAL)
    server.check_idle()


@virtual
async def test_a_hook_may_look_at_the_pacer_and_finds_what_it_is_told():
    """The limit that a throttle left, the circuit as it is now, and the place of who was let in."""
    server, seen = Server(concurrency=16), []
    pacer = server.pacer
    # The hook needs the pacer, which is made with a hook of its own.
    pacer._observer = Observer(lambda told: seen.append((type(told), pacer.limit, pacer.circuit_open, pacer.in_use)))
    waiting = server.starting(6)
    await settle()
    server.end(Signal.THROTTLED)
    while server.permits:
        server.end(Signal.NEUTRAL)
    await settle()
    while server.permits:
        server.end(Signal.NEUTRAL)
    await server.fail(10)
    await server.start()
    waiting += server.starting(3)
    server.end()
    assert seen == [(Throttled, 2, False, 3), (CircuitOpened, 2, True, 0), (CircuitClosed, 1, False, 0)]
    await waiting[-3]
    await cancel(*waiting[-2:])


@virtual
async def test_cancelling_waiting_requests_at_any_moment_loses_no_place():
    """2,000 tasks, two thirds of them cancelled while they wait, run or have just been let in."""
    server, draw = Server(concurrency=3, adaptive=False), random.Random(5)

    async def one():
        permit = await server.pacer.acquire(PATIENCE)
        try:
            await asyncio.sleep(0)
        finally:
            server.pacer.release(permit, Signal.SUCCESS)

    tasks = [asyncio.create_task(one()) for _ in range(2000)]
    for task in draw.sample(tasks, 1300):
        if draw.random() < 0.3:
            await asyncio.sleep(0)
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    server.check_idle()
    await asyncio.gather(*server.starting(3))


VISITS = st.tuples(
    st.sampled_from([0.0, 0.0, 0.1, 1.0, 7.0, 40.0]),
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.05, 0.3, 5.0]),
            st.sampled_from(Signal),
            st.sampled_from([None, None, None, 0, 2, 50]),
        ),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from([None, None, None, 0.0, 0.05, 0.1, 2.0, 8.0, 61.0]),
)


@given(
    pacing=st.builds(
        Pacing,
        concurrency=st.integers(1, 6),
        adaptive=st.booleans(),
        requests_per_second=st.sampled_from([None, None, 0.4, 3.0, 20.0]),
    ),
    visits=st.lists(VISITS, min_size=1, max_size=25),
    outage=st.booleans(),
    jitter=st.floats(0, 1),
    late=st.sampled_from([0.0, 0.0, 0.03, 0.6]),
)
def test_whatever_happens_everybody_is_let_in_or_told_and_no_rule_is_broken(pacing, visits, outage, jitter, late):
    """Any arrivals, verdicts, pauses, cancellations and late timers; nobody waits for ever and nothing is left over."""
    starts, on_their_way, probes = [], 0, 0
    told = []
    observer = Observer(told.append)
    pacer = Pacer(pacing, observer=observer, uniform=lambda low, high: low + (high - low) * jitter)

    async def visit(number, arrival, requests):
        nonlocal on_their_way, probes
        await asyncio.sleep(arrival)
        for seconds, signal, retry_after in requests:
            permit = await pacer.acquire(PATIENCE)
            starts.append(now())
            on_their_way += 1
            probes += permit.probe
            ended, pause = Signal.NEUTRAL, None
            try:
                assert on_their_way <= pacing.concurrency
                assert probes <= 1
                # One that was let in in the very moment of the opening learns it too late.
                assert permit.probe or not pacer.circuit_open or now() == pacer._breaker.opened_at
                await asyncio.sleep(seconds)
                ended, pause = (Signal.FAILED, None) if outage and now() < 30 else (signal, retry_after)
            finally:
                on_their_way -= 1
                probes -= permit.probe
                was_open, limit = pacer.circuit_open, pacer.limit
                charged = pacer.release(permit, ended, request_id=str(number), retry_after=pause)
                assert charged is not was_open
                assert pacer.limit >= limit or not was_open or not pacer.circuit_open

    async def work():
        if late:
            late_timers(lambda: late)
        tasks = []
        for number, (arrival, requests, patience) in enumerate(visits):
            task = asyncio.create_task(visit(number, arrival, requests))
            tasks.append(task)
            if patience is not None:
                asyncio.get_running_loop().call_later(patience, task.cancel)
        for end in await asyncio.gather(*tasks, return_exceptions=True):
            assert end is None or isinstance(end, (asyncio.CancelledError, ServerUnavailable))
            assert pacer.circuit_open or not isinstance(end, ServerUnavailable) or CircuitClosed in map(type, told)

    run_virtually(work(), limit=1e5, patience=1.0)
    # A waiter or a timer that is forgotten is seen by nobody.
    assert (pacer.in_use, list(pacer._waiters), pacer._timer) == (0, [], None)
    rate = pacing.requests_per_second
    if rate is not None and starts:
        assert most_in_a_second(starts) <= max(1, math.ceil(rate))
    kinds = [type(one) for one in told if not isinstance(one, Throttled)]
    assert kinds == [CircuitOpened, CircuitClosed] * (len(kinds) // 2) + [CircuitOpened] * (len(kinds) % 2)
