"""When requests may start during an outage and after it: the circuit breaker, its probes, and patience."""

import asyncio

import pytest
from support.paced_requests import PATIENCE, Server, cancel, now, settle, virtual

from profile_history import ConnectionFailed, ServerUnavailable
from profile_history._sending.failure_signals import Signal
from profile_history._sending.pacing_state import PacingState
from profile_history.observing import CircuitClosed, CircuitOpened


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
    """How many are in flight, how many may be, and when a server that is down is tried again."""
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


@pytest.mark.parametrize("signal", [Signal.THROTTLED, Signal.BUSY])
@virtual
async def test_refusals_are_an_outage_only_when_nobody_was_answered_for_two_seconds(signal):
    """However many there are in a row, and however fast they come; a good response begins the count anew."""
    server = Server(concurrency=16, adaptive=False)
    await server.start()
    server.end()
    for number in range(100):
        await server.start()
        server.end(signal, request_id="abc"[number % 3])
    await asyncio.sleep(1.9)
    await server.start()
    server.end()
    await server.fail(10, signal)
    assert not server.pacer.circuit_open
    await asyncio.sleep(2)
    await server.fail(1, signal)
    assert server.told[-1 if signal is Signal.BUSY else -2 :][-1] == CircuitOpened("11 failures in a row")


@virtual
async def test_throttles_of_a_client_that_does_not_adapt_are_an_outage_after_half_a_second():
    """It goes on with as many at once as before, so that only probes, one at a time, get through."""
    server = Server(concurrency=16, adaptive=False)
    await server.start()
    server.end()
    await server.fail(10, Signal.THROTTLED)
    await asyncio.sleep(0.4)
    await server.fail(1, Signal.THROTTLED)
    assert not server.pacer.circuit_open
    await asyncio.sleep(0.2)
    await server.fail(1, Signal.THROTTLED)
    assert server.pacer.circuit_open


@pytest.mark.parametrize("signal", [Signal.BUSY, Signal.QUEUED, Signal.OVERLOADED])
@virtual
async def test_where_responses_take_long_it_is_an_outage_only_after_five_round_trips_without_one(signal):
    """A server of few places that lets requests wait is at work, though nobody is served for a while."""
    server = Server(concurrency=16)
    await server.start()
    await asyncio.sleep(10)
    server.end(first_byte=10.0)
    for _ in range(30):
        await server.fail(1, signal, seconds=1.0)
        await asyncio.sleep(1)
        if now() < 60:
            assert not server.pacer.circuit_open
    await asyncio.sleep(30)
    await server.fail(1, signal, seconds=1.0)
    assert server.pacer.circuit_open


@virtual
async def test_two_late_responses_in_a_row_lower_the_number_in_flight_where_that_is_how_a_queue_looks():
    """Not if a time limit is far longer than responses take, since such a request may be stuck for any reason."""
    for seconds, lowered in ((9.0, True), (11.0, False)):
        server = Server(concurrency=16)
        for _ in range(8):
            await server.start()
            server.end(first_byte=2.0)
        limit = server.pacer.limit
        held = server.starting(8)
        await settle()
        for _ in range(2):
            server.end(Signal.QUEUED, request_id="a", seconds=seconds)
        assert (server.pacer.limit < limit) is lowered
        for _ in held[2:]:
            server.end()


@pytest.mark.parametrize(("silence", "opens"), [(80.0, False), (91.0, True)])
@virtual
async def test_throttles_of_a_client_that_adapts_are_an_outage_only_after_more_than_a_minute(silence, opens):
    """A quota of a minute that is used up refuses everything until its end."""
    server = Server(concurrency=16)
    await server.start()
    server.end()
    burst = server.starting(4)
    await settle()
    for _ in burst:
        server.end(Signal.THROTTLED, request_id="a")
    began = now()
    while now() < began + silence - 16:
        await server.fail(1, Signal.THROTTLED)
    assert not server.pacer.circuit_open
    await asyncio.sleep(began + silence - now())
    await server.fail(1, Signal.THROTTLED)
    assert server.pacer.circuit_open is opens


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
    """A stream begun long after an outage gets the probe's response and no error of hours ago."""
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
async def test_who_is_alone_and_sends_probes_that_take_long_gives_up_as_well():
    """Each is due when the last one ends, so that it never has to wait; its patience ends all the same."""
    server = Server()
    await server.fail(10)
    since = now()
    with pytest.raises(ServerUnavailable):
        for _ in range(10):
            await server.start(since=since)
            await asyncio.sleep(45)
            server.end(Signal.FAILED)
    assert PATIENCE <= now() - since <= PATIENCE + 45


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
    """A pause that was asked for before the circuit opened, or in that moment, is waited for once, beyond patience."""
    server = Server(**pacing)
    for _ in range(min(10, server.pacer.limit)):
        await server.start()
    while server.permits:
        server.end(Signal.THROTTLED, request_id="abc"[len(server.permits) % 3], retry_after=60)
    if not server.pacer.circuit_open:
        await server.fail(9, Signal.THROTTLED, retry_after=60)
    ends = now() + 66
    probing, waiting = server.starting(2)
    await probing
    assert now() == ends
    server.end(Signal.THROTTLED, retry_after=60)
    with pytest.raises(ServerUnavailable):
        await waiting
    assert now() == ends
    server.check_idle()


@virtual
async def test_a_pause_that_is_asked_for_during_an_outage_does_not_lengthen_patience():
    """A server that answers each probe so would be waited for without end."""
    server = Server()
    await server.fail(10)
    await server.start()
    server.end(Signal.OVERLOADED, retry_after=50)
    waiting = server.starting(3)
    await waiting[0]
    assert now() == 2 + 55
    server.end(Signal.OVERLOADED, retry_after=50)
    for late in waiting[1:]:
        with pytest.raises(ServerUnavailable):
            await late
    assert now() == PATIENCE


@virtual
async def test_patience_is_not_used_up_where_the_gate_is_closed():
    """Waiting for a place, for a second or after a Retry-After is no outage."""
    server = Server(concurrency=1)
    await server.start()
    waiting = server.starting(1, patience=1)
    await asyncio.sleep(1000)
    server.end(Signal.FAILED, retry_after=100)
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
