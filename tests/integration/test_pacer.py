"""When the next request may start: how many at once, how many in a second, after a pause, and after an outage."""

import asyncio
import functools
import math
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.virtual_clock import run_virtually

from profile_history import ConnectionFailed, Pacing, ServerUnavailable
from profile_history._sending.failure_policy import Signal
from profile_history._sending.pacer import Pacer, PacingState
from profile_history.observing import CircuitClosed, CircuitOpened, Observer, Throttled

PATIENCE = 60.0


def longest(low, high):
    """Draws the longest waits, so that each moment is known."""
    return high


def virtual(test):
    """Runs an asynchronous test on virtual time.

    A waiter that is forgotten fails it within a second, and so does an error that only the loop would tell of.
    """

    async def watched(arguments):
        complaints = []
        asyncio.get_running_loop().set_exception_handler(lambda _, complaint: complaints.append(complaint))
        await test(**arguments)
        await settle()
        assert complaints == []

    @functools.wraps(test)
    def run(**arguments):
        run_virtually(watched(arguments), limit=1e6, patience=1.0)

    return run


class Server:
    """A pacer with what it told, and what was let in by it and when."""

    def __init__(self, *, uniform=longest, **pacing):
        self.told = []
        self.pacer = Pacer(Pacing(**pacing), observer=Observer(self.told.append), uniform=uniform)
        self.starts = []
        self.permits = []

    async def start(self, patience=PATIENCE, since=None):
        """Waits for the right to send."""
        permit = await self.pacer.acquire(patience, since)
        self.starts.append(now())
        self.permits.append(permit)
        return permit

    def starting(self, count, patience=PATIENCE):
        """So many that begin to wait, in order."""
        return [asyncio.create_task(self.start(patience)) for _ in range(count)]

    def end(self, signal=Signal.SUCCESS, **more):
        """Ends the oldest request in flight, and tells whether a failure of it is charged to its window."""
        charged = not self.pacer.circuit_open
        self.pacer.release(self.permits.pop(0), signal, **more)
        return charged

    async def fail(self, times=10, signal=Signal.FAILED, **more):
        """So many failures in a row, of three windows."""
        for number in range(times):
            await self.start()
            self.end(signal, request_id="abc"[number % 3], **more)

    async def grow(self, limit):
        """Succeeds until so many may be on their way."""
        for _ in range(1000):
            if self.pacer.limit >= limit:
                return
            await self.start()
            self.end()
        pytest.fail("the limit does not grow")

    def check_idle(self):
        """Nobody is on the way, nobody waits, and no timer is left to ring."""
        assert self.pacer.in_use == 0
        assert not self.pacer._waiters
        assert self.pacer._timer is None
        scheduled = asyncio.get_running_loop()._scheduled
        assert not [timer for timer in scheduled if timer._callback == self.pacer._ring and not timer.cancelled()]


def now():
    return asyncio.get_running_loop().time()


async def settle():
    """Lets everybody go on who can, without any time passing."""
    for _ in range(5):
        await asyncio.sleep(0)


async def cancel(*tasks):
    for task in tasks:
        task.cancel()
    return await asyncio.gather(*tasks, return_exceptions=True)


def late_timers(lateness):
    """From now on every timer of the loop rings late by what this draws."""
    loop = asyncio.get_running_loop()
    call_at = loop.call_at
    loop.call_at = lambda when, *args, **options: call_at(when + lateness(), *args, **options)


def most_in_a_second(starts):
    """The most starts in any window of a second, whichever moment it begins at."""
    return max(sum(first <= start < first + 1 for start in starts) for first in starts)


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
    """Only one probe at a time is sent, so no answer to it says that there were too many."""
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
    assert server.told == [Throttled(None, 2), Throttled(3, 1)]


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
    """A thousand may start at once, if so many are allowed on their way."""
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
    """For the seconds asked for, and up to a tenth more; requests on their way go on."""
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


@pytest.mark.parametrize("signal", [Signal.FAILED, Signal.OVERLOADED])
@virtual
async def test_after_ten_failures_of_three_windows_nothing_is_sent_but_one_probe_at_a_time(signal):
    """After 2 s, 4, 8 and so on up to 30, each since the last one was sent; and the first success ends that."""
    server = Server()
    await server.fail(10, signal)
    assert server.pacer.circuit_open
    assert server.told == [CircuitOpened("10 failures in a row")]
    waiting = server.starting(8, patience=900)
    sent = now()
    for place, wait in enumerate((2, 4, 8, 16, 30, 30)):
        await waiting[place]
        assert now() == pytest.approx(sent + wait)
        sent = now()
        await asyncio.sleep(1)
        assert server.pacer.in_use == 1
        server.end(signal, request_id="a")
    await waiting[6]
    server.end(Signal.SUCCESS)
    assert not server.pacer.circuit_open
    assert server.told[1:] == [CircuitClosed(now())]
    await waiting[7]


@virtual
async def test_a_display_can_ask_how_requests_are_sent_just_now():
    """How many are on their way, how many may be, and when a server that is down is tried again."""
    server = Server()
    assert server.pacer.state == PacingState(in_flight=0, limit=server.pacer.limit, next_probe=None)
    await server.fail(10)
    waiting = server.starting(1, patience=900)
    await asyncio.sleep(0.5)
    assert server.pacer.state == PacingState(in_flight=0, limit=1, next_probe=pytest.approx(1.5))
    await waiting[0]
    assert server.pacer.state == PacingState(in_flight=1, limit=1, next_probe=0.0)
    server.end(Signal.SUCCESS)
    assert server.pacer.state.next_probe is None


@virtual
async def test_a_probe_that_hangs_for_long_is_followed_by_the_next_at_once():
    """Its wait has passed meanwhile; so an outage of silence is noticed to be over as soon as any other."""
    server = Server()
    await server.fail(10)
    waiting = server.starting(3, patience=900)
    await waiting[0]
    await asyncio.sleep(120)
    assert server.pacer.in_use == 1
    server.end(Signal.OVERLOADED, request_id="a")
    await waiting[1]
    assert now() == 122
    server.end(Signal.FAILED, request_id="a")
    await waiting[2]
    assert now() == 130
    server.end()


@virtual
async def test_after_an_outage_the_work_begins_again_with_one_request_at_once():
    """And grows from there with every success."""
    server = Server()
    await server.grow(12)
    await server.fail(10)
    waiting = server.starting(30)
    await waiting[0]
    server.end()
    seen = []
    while len(seen) < 6:
        await settle()
        seen.append(server.pacer.in_use)
        server.end()
    assert seen == [1, 2, 3, 4, 5, 6]
    await cancel(*waiting)


@virtual
async def test_half_of_twenty_results_is_an_outage_as_well():
    """It need not be all of them."""
    server = Server()
    for number in range(20):
        await server.start()
        server.end(Signal.FAILED if number % 2 else Signal.SUCCESS, request_id="abc"[number // 2 % 3])
    assert server.told == [CircuitOpened("10 failures in 20 results within 30 s")]


@virtual
async def test_once_somebody_was_answered_one_window_is_enough_to_see_an_outage():
    """Perhaps only one is left; a probe then repeats what was answered, so an ill window opens it for no long."""
    server = Server()
    await server.start()
    server.end(Signal.SUCCESS)
    for _ in range(10):
        assert not server.pacer.circuit_open
        await server.start()
        server.end(Signal.FAILED, request_id="a")
    assert server.pacer.circuit_open


@virtual
async def test_an_error_that_lies_in_the_request_is_no_answer_to_probe_with():
    """Until a good one, a window that fails for ever is no outage."""
    server = Server()
    for signal in [Signal.RESPONSIVE] + [Signal.FAILED] * 30:
        await server.start()
        server.end(signal, request_id="a")
    assert not server.pacer.circuit_open


@virtual
async def test_a_window_that_nobody_can_fetch_is_no_outage_where_nobody_was_answered_yet():
    """However often it is tried."""
    server = Server()
    for _ in range(100):
        await server.start()
        assert server.end(Signal.FAILED, request_id="a")
    assert not server.pacer.circuit_open


@virtual
async def test_a_failure_while_the_gate_is_open_is_not_charged_to_its_window():
    """That of a probe, and that of a request sent before; the one that opened it is."""
    server = Server(concurrency=16, adaptive=False)
    for _ in range(12):
        await server.start()
    charged = [server.end(Signal.FAILED, request_id="abc"[number % 3]) for number in range(12)]
    assert charged == [True] * 10 + [False] * 2
    await server.start()
    assert server.end(Signal.FAILED, request_id="a") is False
    await server.start()
    assert server.end(Signal.SUCCESS) is False
    await server.start()
    assert server.end(Signal.FAILED, request_id="a") is True


@pytest.mark.parametrize("signal", [Signal.SUCCESS, Signal.RESPONSIVE])
@virtual
async def test_any_answer_closes_the_gate_that_of_a_request_sent_before_as_well(signal):
    """An error that lies in the request shows the server at work; those who wait go on at once."""
    server = Server(concurrency=16, adaptive=False)
    for _ in range(11):
        await server.start()
    for number in range(10):
        server.end(Signal.FAILED, request_id="abc"[number % 3])
    waiting = server.starting(3)
    await asyncio.sleep(1)
    server.end(signal)
    await asyncio.gather(*waiting)
    assert now() == 1
    assert server.told[1:] == [CircuitClosed(1.0)]
    assert server.pacer.successes == (signal is Signal.SUCCESS)


@virtual
async def test_a_request_that_says_nothing_neither_opens_nor_closes_the_gate():
    """One that was cancelled, or that failed again while others are answered."""
    server = Server()
    for _ in range(50):
        await server.start()
        server.end(Signal.NEUTRAL, request_id="abc"[_ % 3])
    assert not server.pacer.circuit_open
    await server.fail(10)
    await server.start()
    server.end(Signal.NEUTRAL)
    assert server.pacer.circuit_open
    await server.start()
    assert now() == 6


@virtual
async def test_throttles_are_an_outage_only_when_fewer_requests_cannot_be_tried():
    """At the bottom of the ceiling, and with nobody answered for two seconds; before that they make it lower."""
    server = Server(concurrency=64)
    await server.grow(64)
    throttles = 0
    await asyncio.sleep(2)
    while not server.pacer.circuit_open:
        await server.start()
        server.end(Signal.THROTTLED, request_id="abc"[throttles % 3])
        throttles += 1
        assert server.pacer.limit == 1 or not server.pacer.circuit_open
    # 64 becomes 44, 31, 21, 15, 10, 7, 5, 3, 2 and 1, and the tenth there opens it.
    assert throttles == 10 + 9


@virtual
async def test_throttles_of_a_client_that_does_not_adapt_are_an_outage():
    """It cannot try fewer."""
    server = Server(concurrency=4, adaptive=False)
    await server.fail(10, Signal.THROTTLED)
    assert server.pacer.circuit_open


@virtual
async def test_patience_ends_so_many_seconds_after_the_opening_for_all_who_wait():
    """Each for their own; what came later has waited less and gives up in the same moment."""
    server, ends = Server(), {}

    async def wait(name, patience):
        with pytest.raises(ServerUnavailable, match=f"RetryPolicy.patience is {patience} s") as caught:
            await server.pacer.acquire(patience)
        ends[name] = now()
        assert caught.value.fatal
        assert f"for every request for {patience} s" in str(caught.value)
        assert "The last failure: the door is shut" in str(caught.value)

    await server.fail(10, failure=ConnectionFailed("the door is shut"))
    probe = server.starting(1)
    await probe[0]
    tasks = [asyncio.create_task(wait("short", 10)), asyncio.create_task(wait("long", 60))]
    await asyncio.sleep(3)
    tasks.append(asyncio.create_task(wait("late", 60)))
    await asyncio.gather(*tasks)
    assert ends == {"short": 10, "long": 60, "late": 60}
    server.end(Signal.FAILED)
    server.check_idle()


@virtual
async def test_probes_go_on_until_patience_ends():
    """Those at 2, 6, 14 and 30 s have failed; the next would come at 60 s and no sooner."""
    server, probes = Server(), []

    async def work():
        while True:
            await server.start(since=0)
            probes.append(now())
            server.end(Signal.FAILED)

    await server.fail(10)
    with pytest.raises(ServerUnavailable):
        await asyncio.gather(work())
    assert probes[:4] == [2, 6, 14, 30]
    assert now() == 60
    server.check_idle()


@virtual
async def test_who_comes_after_patience_has_passed_waits_for_the_probe_that_is_on_its_way():
    """A stream begun long after an outage gets the probe's answer and no error of hours ago."""
    server = Server()
    await server.fail(10)
    await asyncio.sleep(600)
    probe, *others = server.starting(5)
    await probe
    assert now() == 600
    await asyncio.sleep(0.3)
    assert not any(task.done() for task in others)
    server.end(Signal.SUCCESS)
    for task in others:
        await task
        server.end()
    assert now() == 600.3
    server.check_idle()


@virtual
async def test_who_comes_late_fails_with_the_probe_that_fails():
    """Who comes after it waits for the next one, which it may send; nothing is left waiting."""
    server = Server()
    await server.fail(10, failure=ConnectionFailed("the door is shut"))
    await asyncio.sleep(600)
    probe, *others = server.starting(3)
    await probe
    await asyncio.sleep(1)
    server.end(Signal.FAILED, failure=ConnectionFailed("the door is still shut"))
    for task in others:
        with pytest.raises(ServerUnavailable, match=r"for 601 s, and .* the door is still shut"):
            await task
    assert now() == 601
    await server.start()
    assert now() == 604
    server.end(Signal.FAILED)
    with pytest.raises(ServerUnavailable):
        await server.start(since=0)
    assert now() == 604
    server.check_idle()


@virtual
async def test_who_comes_late_behind_a_probe_that_took_long_sends_the_next():
    """It is due in the moment in which the first one ends; the others have waited for one probe and give up."""
    server = Server()
    await server.fail(10)
    await asyncio.sleep(600)
    probe, second, third = server.starting(3)
    await probe
    await asyncio.sleep(120)
    server.end(Signal.FAILED)
    await second
    with pytest.raises(ServerUnavailable):
        await third
    server.end()
    assert now() == 720


@virtual
async def test_who_waited_since_before_patience_ended_does_not_wait_for_a_probe_beyond_it():
    """Only who comes later does; and one who comes in the very moment is late."""
    server = Server()
    await server.fail(10)
    await server.start()
    early = server.starting(1)
    await asyncio.sleep(PATIENCE - 2)
    with pytest.raises(ServerUnavailable):
        await early[0]
    assert now() == PATIENCE
    late = server.starting(1)
    await asyncio.sleep(100)
    assert not late[0].done()
    server.end()
    await late[0]


@pytest.mark.parametrize("pacing", [{"adaptive": False}, {"concurrency": 1}])
@virtual
async def test_a_server_that_asks_for_a_minute_is_asked_again_after_it(pacing):
    """Patience counts from the end of a pause that was asked for before the circuit opened, or in that moment."""
    server = Server(**pacing)
    for _ in range(min(10, server.pacer.limit)):
        await server.start()
    while server.permits:
        server.end(Signal.THROTTLED, request_id="abc"[len(server.permits) % 3], retry_after=60)
    if not server.pacer.circuit_open:
        await server.fail(9, Signal.THROTTLED, retry_after=60)
    ends = now() + 66
    hanging, waiting = server.starting(2)
    await hanging
    assert now() == ends
    with pytest.raises(ServerUnavailable):
        await waiting
    assert now() == ends + PATIENCE
    server.end()
    server.check_idle()


@virtual
async def test_a_pause_that_is_asked_for_during_an_outage_lengthens_patience_once():
    """A server that answers each probe so would be waited for without end."""
    server = Server()
    await server.fail(10)
    await server.start()
    server.end(Signal.OVERLOADED, retry_after=50)
    waiting = server.starting(3)
    for probe, moment in zip(waiting[:2], (2 + 55, 2 + 55 + 55), strict=True):
        await probe
        assert now() == moment
        server.end(Signal.OVERLOADED, retry_after=50)
    with pytest.raises(ServerUnavailable):
        await waiting[2]
    assert now() == 2 + 55 + PATIENCE


@virtual
async def test_patience_is_not_used_up_where_the_gate_is_closed():
    """Waiting for a place, for a second or after a Retry-After is no outage."""
    server = Server(concurrency=1)
    await server.start()
    waiting = server.starting(1, patience=1)
    await asyncio.sleep(1000)
    server.end(retry_after=100)
    await waiting[0]
    assert now() == 1110


@virtual
async def test_a_second_outage_is_waited_for_as_long_as_the_first():
    """Patience counts from the opening at hand."""
    server = Server()
    for _ in range(3):
        await server.fail(10)
        opened = now()
        await asyncio.sleep(50)
        await server.start()
        server.end()
        assert now() == opened + 50
    assert [type(one) for one in server.told] == [CircuitOpened, CircuitClosed] * 3


@virtual
async def test_a_probe_that_is_cancelled_gives_its_right_to_the_next_who_waits():
    """While it is on its way, and when it was let in a moment before and does not know yet; after the next wait."""
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
        server.end(retry_after=10)
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
    assert (pacer.in_use, list(pacer._waiters), pacer._timer) == (0, [], None)
    rate = pacing.requests_per_second
    if rate is not None and starts:
        assert most_in_a_second(starts) <= max(1, math.ceil(rate))
    kinds = [type(one) for one in told if not isinstance(one, Throttled)]
    assert kinds == [CircuitOpened, CircuitClosed] * (len(kinds) // 2) + [CircuitOpened] * (len(kinds) % 2)
