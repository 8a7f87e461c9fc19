"""How many requests are on their way at once, and how many start in a second."""

import asyncio
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profile_history import Pacing
from profile_history.pacing import Ceiling, Pacer


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now

    async def sleep(self, seconds):
        self.now += seconds


def pacer(clock=None, **pacing):
    clock = clock or Clock()
    return Pacer(Pacing(**pacing), clock=clock, sleep=clock.sleep)


def test_an_adaptive_ceiling_starts_at_four_and_grows_by_one_a_success_up_to_the_most():
    """Slow start, as the design says."""
    ceiling = Ceiling(16, adaptive=True)
    seen = [ceiling.limit]
    for _ in range(20):
        ceiling.succeeded(in_use=1)
        seen.append(ceiling.limit)

    assert seen[:4] == [4, 5, 6, 7]
    assert seen[-1] == 16


def test_a_small_most_is_never_exceeded_at_the_start():
    """concurrency=2 means two."""
    assert Ceiling(2, adaptive=True).limit == 2


def test_a_refusal_cuts_the_ceiling_once_for_all_requests_sent_before_the_cut():
    """Sixteen refusals of one burst are one piece of news."""
    ceiling = Ceiling(16, adaptive=True)
    for _ in range(20):
        ceiling.succeeded(in_use=16)
    for _ in range(16):
        ceiling.refused(cuts=0)

    assert ceiling.limit == 11
    ceiling.refused(cuts=ceiling.cuts)
    assert ceiling.limit == 7


def test_after_a_cut_the_ceiling_grows_by_one_a_round_and_only_while_half_of_it_is_used():
    """Additive increase, by the rule that unused room proves nothing."""
    ceiling = Ceiling(16, adaptive=True)
    ceiling.refused(cuts=0)
    before = ceiling.limit
    for _ in range(50):
        ceiling.succeeded(in_use=0)
    assert ceiling.limit == before
    for _ in range(before + 1):
        ceiling.succeeded(in_use=before)
    assert ceiling.limit == before + 1


@given(st.lists(st.booleans(), max_size=200))
def test_the_ceiling_stays_between_one_and_the_most(refusals):
    """Whatever the server answers."""
    ceiling = Ceiling(8, adaptive=True)
    for refused in refusals:
        if refused:
            ceiling.refused(ceiling.cuts)
        else:
            ceiling.succeeded(ceiling.limit)
        assert 1 <= ceiling.limit <= 8


def test_without_adaptation_the_ceiling_is_the_concurrency_whatever_happens():
    """adaptive=False is a fixed number."""
    ceiling = Ceiling(16, adaptive=False)
    ceiling.refused(0)
    ceiling.succeeded(16)
    assert ceiling.limit == 16


async def test_no_more_requests_are_on_their_way_than_allowed_and_those_waiting_go_in_turn():
    """A waiting request starts when one ends, first come first served."""
    gate = pacer(concurrency=2, adaptive=False)
    started = []

    async def one(number):
        ticket = await gate.acquire()
        started.append(number)
        return ticket

    tasks = [asyncio.create_task(one(number)) for number in range(5)]
    await asyncio.sleep(0)
    assert (started, gate.in_use) == ([0, 1], 2)
    gate.release(0, success=True)
    await asyncio.sleep(0)
    assert started == [0, 1, 2]
    for _ in range(4):
        gate.release(0, success=True)
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert (started, gate.in_use) == ([0, 1, 2, 3, 4], 0)


async def test_a_failure_that_says_nothing_about_load_leaves_the_limit_alone():
    """A dead connection is not a throttle."""
    gate = pacer(concurrency=16)
    before = gate.limit
    gate.release(await gate.acquire())
    assert gate.limit == before
    gate.release(await gate.acquire(), refused=True)
    assert gate.limit < before


async def test_cancelling_waiting_requests_at_any_moment_loses_no_place():
    """2,000 tasks, two thirds of them cancelled while they wait, run or have just been let in."""
    gate = pacer(concurrency=3, adaptive=False)
    draw = random.Random(5)

    async def one():
        ticket = await gate.acquire()
        try:
            await asyncio.sleep(0)
        finally:
            gate.release(ticket, success=True)

    tasks = [asyncio.create_task(one()) for _ in range(2000)]
    for task in draw.sample(tasks, 1300):
        if draw.random() < 0.3:
            await asyncio.sleep(0)
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert gate.in_use == 0
    tickets = [await asyncio.wait_for(gate.acquire(), 1) for _ in range(3)]
    assert len(tickets) == 3


@pytest.mark.parametrize("rate", [1, 7.5, 100])
async def test_no_more_requests_start_in_any_second_than_the_rate_allows(rate):
    """The starts are spread evenly; nothing is saved up for a burst."""
    clock = Clock()
    gate = pacer(clock, concurrency=1000, adaptive=False, requests_per_second=rate)
    starts = []
    for number in range(300):
        if number == 150:
            clock.now += 60
        await gate.acquire()
        starts.append(clock.now)

    for first in starts:
        assert sum(first <= start < first + 1 - 1e-6 for start in starts) <= max(1, -(-rate // 1))
    assert starts[149] - starts[0] == pytest.approx(149 / rate)


async def test_requests_that_wake_late_do_not_start_together():
    """The rate holds from the moments of starting, not from the moments planned."""
    clock = Clock()

    async def late(seconds):
        clock.now += seconds + 0.25

    gate = Pacer(Pacing(concurrency=9, adaptive=False, requests_per_second=10), clock=clock, sleep=late)
    starts = []

    async def start():
        await gate.acquire()
        starts.append(clock.now)

    await asyncio.gather(*(start() for _ in range(9)))
    assert all(after - before >= 0.1 - 1e-9 for before, after in pairwise(starts))


async def test_a_request_cancelled_while_it_waits_for_its_second_gives_its_place_back():
    """The place is not lost with the request."""
    gate = Pacer(Pacing(concurrency=1, requests_per_second=0.001), clock=Clock())
    await gate.acquire()
    gate.release(0, success=True)
    waiting = asyncio.create_task(gate.acquire())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert gate.in_use == 0
