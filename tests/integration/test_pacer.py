"""When the next request may start: how many at once, how many in a second, and after a pause."""

import asyncio
import math
import random
from itertools import pairwise

import pytest
from support.paced_requests import Server, late_timers, most_in_a_second, now, settle, virtual

from profile_history._sending.failure_signals import Signal
from profile_history.observing import Throttled


@virtual
async def test_no_more_requests_are_on_their_way_than_allowed_and_those_waiting_go_in_turn():
    """A waiting request starts when one ends, first come first served."""
    server, order = Server(concurrency=2, adaptive=False), []

    async def one(number):
        await server.start()
        order.append(number)

    tasks = [asyncio.create_task(one(number)) for number in range(5)]
    await settle()
    assert (order, server.pacer.in_use) == ([0, 1], 2)
    for number in range(3):
        server.end()
        await settle()
        assert order == list(range(3 + number))
    server.end()
    server.end()
    await asyncio.gather(*tasks)
    server.check_idle()


@virtual
async def test_nobody_who_comes_later_overtakes_those_who_wait():
    """Not even in the moment in which a place becomes free."""
    server = Server(concurrency=1)
    await server.start()
    first = server.starting(1)
    await settle()
    server.end()
    late = server.starting(1)
    await settle()
    assert first[0].done()
    assert not late[0].done()
    server.end()
    await late[0]


@virtual
async def test_nobody_overtakes_those_whose_timer_is_late_either():
    """The newcomer lets them in, and waits behind them."""
    server, order = Server(requests_per_second=1), []

    async def come(name, moment):
        await asyncio.sleep(moment)
        await server.start()
        order.append(name)

    visits = [("first", 0), ("second", 0), ("newcomer", 1.25)]
    tasks = [asyncio.create_task(come(*visit)) for visit in visits]
    await settle()
    # Stands for a timer that is late.
    server.pacer._timer.cancel()
    await asyncio.gather(*tasks)
    assert order == ["first", "second", "newcomer"]
    assert server.starts == [0, 1.25, pytest.approx(2.25)]


@virtual
async def test_the_limit_grows_with_good_answers_and_falls_with_refusals():
    """A dead connection is no throttle, nor is an error that lies in the request."""
    server = Server(concurrency=16)
    await server.grow(9)
    assert server.pacer.successes == 5
    for signal in (Signal.FAILED, Signal.RESPONSIVE, Signal.NEUTRAL):
        await server.start()
        server.end(signal)
        assert server.pacer.limit == 9
    await server.start()
    server.end(Signal.THROTTLED)
    assert server.pacer.limit == 6
    assert server.pacer.successes == 5


@virtual
async def test_many_answers_of_a_server_that_has_too_much_to_do_lower_the_limit_and_a_few_do_not():
    """Five 503s or timeouts do; what was borne before stays borne."""
    server = Server(concurrency=16)
    await server.grow(16)
    for limit in (16, 16, 16, 16, 11):
        await server.start()
        server.end(Signal.OVERLOADED, request_id="a")
        assert server.pacer.limit == limit
    await server.grow(16)


@pytest.mark.parametrize("signal", [Signal.THROTTLED, Signal.OVERLOADED])
@virtual
async def test_one_burst_of_refusals_is_one_piece_of_news(signal):
    """Those sent before a cut are not held against the number that was found since."""
    server = Server(concurrency=16)
    await server.grow(10)
    for _ in range(10):
        await server.start()
    while server.permits:
        server.end(signal)
    assert server.pacer.limit == 7


@pytest.mark.parametrize("signal", [Signal.THROTTLED, Signal.OVERLOADED])
@virtual
async def test_nothing_lowers_the_limit_while_the_gate_is_open(signal):
    """Only one probe at a time is sent, so no response to it says that there were too many."""
    server = Server(concurrency=16)
    await server.grow(16)
    await server.start()
    await server.fail(10)
    before = server.pacer.limit
    for _ in range(6):
        waiting = server.starting(1, patience=900)
        server.end(signal, request_id="a")
        await waiting[0]
    assert server.pacer.limit == before == 16
    server.end(signal)
    server.check_idle()


@pytest.mark.parametrize("signal", [Signal.FAILED, Signal.OVERLOADED, Signal.THROTTLED])
@virtual
async def test_after_an_outage_the_limit_comes_back_as_fast_as_at_the_start(signal):
    """What the failures of the outage were has left no trace."""
    server = Server(concurrency=16)
    await server.grow(16)
    await asyncio.sleep(2)
    for number in range(99):
        if not server.pacer.circuit_open:
            await server.start()
            server.end(signal, request_id="abc"[number % 3])
    for _ in range(8):
        await server.start(patience=900)
        server.end(signal, request_id="a")
    await server.start(patience=900)
    server.end()
    assert server.pacer.limit == 1
    before = server.pacer.successes
    await server.grow(16)
    assert server.pacer.successes - before == 15


@virtual
async def test_a_refusal_of_a_request_sent_before_the_outage_is_old_news():
    """It comes late, and says nothing of the server that is back."""
    server = Server(concurrency=16)
    await server.grow(12)
    old = [await server.start() for _ in range(2)]
    server.permits.clear()
    await server.fail(10)
    await server.start()
    server.end()
    for permit, signal in zip(old, (Signal.THROTTLED, Signal.OVERLOADED), strict=True):
        server.pacer.release(permit, signal)
    before = server.pacer.successes
    await server.grow(9)
    assert server.pacer.successes - before == 8
    server.check_idle()


@virtual
async def test_a_throttle_is_told_of_with_what_it_changes():
    """How long all of the client pauses, and how many requests there may be afterwards."""
    server = Server(concurrency=16)
    await server.start()
    server.end(Signal.THROTTLED)
    await server.start()
    server.end(Signal.THROTTLED, retry_after=3)
    assert server.told == [Throttled(None, 2, paused=False), Throttled(3, 1)]


@pytest.mark.parametrize("rate", [0.2, 1, 2.5, 7, 10, 100])
@virtual
async def test_no_more_requests_start_in_any_second_than_the_rate_allows(rate):
    """The starts are spread evenly, and a quiet minute does not save up for a burst."""
    server = Server(concurrency=1000, adaptive=False, requests_per_second=rate)
    for _ in range(2):
        await asyncio.gather(*server.starting(150))
        await asyncio.sleep(60)
    assert most_in_a_second(server.starts) <= max(1, math.ceil(rate))
    assert server.starts[149] - server.starts[0] == pytest.approx(149 / rate)


@virtual
async def test_no_rate_is_no_wait():
    """A thousand may start at once, if so many are allowed in flight."""
    server = Server(concurrency=1000, adaptive=False)
    await asyncio.gather(*server.starting(1000))
    assert now() == 0


@virtual
async def test_requests_that_are_let_in_late_do_not_start_together():
    """The rate holds from the moments of starting, not from the moments planned."""
    draw = random.Random(1)
    late_timers(lambda: draw.choice([0, 0.01, 0.09, 0.5, 3]))
    server = Server(concurrency=99, adaptive=False, requests_per_second=10)
    await asyncio.gather(*server.starting(99))
    assert all(after - before >= 0.1 for before, after in pairwise(server.starts))
    assert most_in_a_second(server.starts) <= 10


@virtual
async def test_the_rate_holds_after_a_pause_and_after_an_outage_too():
    """Whoever waited for these is not let in at once with the others."""
    server = Server(concurrency=50, adaptive=False, requests_per_second=10)
    waiting = server.starting(30)
    await waiting[0]
    server.end(Signal.THROTTLED, retry_after=20)
    await asyncio.gather(*waiting)
    assert server.starts[1] == pytest.approx(22)
    while server.permits:
        server.end()
    await server.fail(10)
    waiting = server.starting(30)
    await waiting[0]
    server.end()
    await asyncio.gather(*waiting)
    assert most_in_a_second(server.starts) <= 10


@virtual
async def test_a_retry_after_holds_all_of_the_client():
    """For the seconds asked for, and up to a tenth more; requests in flight go on."""
    server = Server(concurrency=4, adaptive=False)
    for _ in range(3):
        await server.start()
    waiting = server.starting(2)
    server.end(Signal.THROTTLED, retry_after=30)
    server.end()
    later = server.starting(1)
    await asyncio.gather(*waiting, *later)
    assert server.starts[3:] == [33.0] * 3


@pytest.mark.parametrize("signal", [Signal.OVERLOADED, Signal.FAILED])
@virtual
async def test_any_failure_may_ask_for_a_pause(signal):
    """A 503 with a Retry-After says the same as a 429."""
    server = Server(uniform=lambda low, high: low)
    await server.start()
    server.end(signal, retry_after=7)
    await server.start()
    assert now() == 7
    server.end(signal, retry_after=0)
    await server.start()
    assert now() == 7


@virtual
async def test_of_several_pauses_the_one_that_ends_last_counts():
    """A shorter one neither shortens a longer one nor adds to it."""
    server = Server(concurrency=4, adaptive=False)
    for _ in range(3):
        await server.start()
    server.end(Signal.THROTTLED, retry_after=10)
    server.end(Signal.THROTTLED, retry_after=20)
    server.end(Signal.THROTTLED, retry_after=5)
    await server.start()
    assert now() == 22


@virtual
async def test_a_pause_that_comes_while_others_wait_for_their_second_holds_them_too():
    """Their timer is set anew."""
    server = Server(concurrency=9, adaptive=False, requests_per_second=1)
    waiting = server.starting(3)
    await asyncio.sleep(1.5)
    server.end(Signal.THROTTLED, retry_after=100)
    await asyncio.gather(*waiting)
    assert [round(start, 6) for start in server.starts] == [0, 1, 111.5]
