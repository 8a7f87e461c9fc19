"""How long a window may take, and what is taken from its time."""

import asyncio
import itertools

import pytest
from support.by_profile import GOOD, ONE, client_of, failing, now
from support.scripts import Script, drip, silence
from support.virtual_clock import run_virtually

from profile_history import ApiError, AttemptTimeout, Pacing, RetryPolicy, ServerUnavailable, Timeouts


def late(seconds, answer):
    """A response after some seconds."""

    async def turn(reader, writer):
        await asyncio.sleep(seconds)
        writer.write(answer)
        await writer.drain()

    return turn


# ---- How long a window may take --------------------------------------------------------------------------------------


def test_the_attempts_at_a_window_share_its_time():
    """The last is cut to what the others left; the error says which limit was reached."""

    async def main():
        policy = RetryPolicy(attempts=50, base=0.001)
        async with (
            Script(rest=late(30, failing(500))) as server,
            client_of(server, retry=policy, timeouts=Timeouts(read=60, window=100)) as client,
        ):
            with pytest.raises(AttemptTimeout, match=r"the 100 s of Timeouts\.window are used up") as caught:
                await client.history(ONE).collect()
            return caught.value, server.times, now()

    error, times, end = run_virtually(main())
    assert error.attempts == 4
    assert times == pytest.approx([0, 30, 60, 90], abs=0.5)
    assert 99 <= end <= 101
    left = float(str(error).partition("silence or ")[2].partition(" s")[0])
    assert left == pytest.approx(10, abs=0.5)


def test_a_window_that_only_times_out_says_that_its_time_is_used_up():
    """Whatever else may be tried."""

    async def main():
        async with (
            Script(rest=silence) as server,
            client_of(server, timeouts=Timeouts(read=30, window=100)) as client,
        ):
            with pytest.raises(AttemptTimeout, match=r"Timeouts\.window"):
                await client.history(ONE).collect()

    run_virtually(main())


def test_a_wait_that_the_windows_time_does_not_hold_is_not_begun():
    """The window is given up then, and not after the wait."""

    async def main():
        async with (
            Script(rest=failing(500)) as server,
            client_of(server, retry=RetryPolicy(base=90, cap=90), timeouts=Timeouts(window=80)) as client,
        ):
            # The longest wait, instead of one by chance.
            client._core.fetcher.retrier._uniform = lambda least, most: most
            with pytest.raises(ApiError, match=r"the 80 s of Timeouts\.window are used up") as caught:
                await client.history(ONE).collect()
            return caught.value.attempts, now()

    assert run_virtually(main()) == (1, pytest.approx(0, abs=0.1))


def test_waits_for_a_retry_are_taken_from_the_windows_time():
    """However they are drawn, the window is given up within its time, and says so."""

    async def main():
        policy = RetryPolicy(attempts=60, base=20, cap=20)
        async with (
            Script(rest=failing(500)) as server,
            client_of(server, retry=policy, timeouts=Timeouts(window=60)) as client,
        ):
            with pytest.raises(ApiError, match=r"Timeouts\.window"):
                await client.history(ONE).collect()
            return len(server.requests), now()

    requests, end = run_virtually(main())
    assert requests >= 3
    assert 0 < end <= 60


def test_a_pause_that_the_server_asks_for_is_not_taken_from_the_windows_time():
    """All of the client waits then; a window of 80 s may be paused for 90 s as often as any other failure."""

    async def main():
        async with (
            Script(rest=failing(503, "Retry-After: 90")) as server,
            client_of(server, timeouts=Timeouts(window=80), retry=RetryPolicy(patience=600)) as client,
        ):
            with pytest.raises(ServerUnavailable) as caught:
                await client.history(ONE).collect()
            return caught.value.attempts, server.times

    attempts, times = run_virtually(main())
    assert attempts * 90 > 600
    assert all(90 <= after - before <= 110 for before, after in itertools.pairwise(times))


def test_waiting_for_a_turn_to_send_is_not_taken_from_the_windows_time():
    """A client that may send one request in 100 s tries a window of 50 s as often as any other."""

    async def main():
        pacing = Pacing(concurrency=1, adaptive=False, requests_per_second=0.01)
        async with (
            Script(failing(500), failing(500), failing(500), rest=GOOD) as server,
            client_of(server, pacing=pacing, timeouts=Timeouts(window=50)) as client,
        ):
            assert len(await client.history(ONE).collect()) == 1
            return server.times

    assert run_virtually(main()) == pytest.approx([0, 100, 200, 300], abs=1)


def test_an_attempt_takes_no_longer_than_the_window_may():
    """Where the limits contradict each other, the shorter one holds from the first attempt on."""

    async def main():
        async with (
            Script(rest=drip(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", b" ")) as server,
            client_of(server, timeouts=Timeouts(attempt=120, window=20)) as client,
        ):
            with pytest.raises(AttemptTimeout) as caught:
                await client.history(ONE).collect()
            return caught.value.attempts, now()

    attempts, end = run_virtually(main())
    assert 20 <= end <= 22
    assert attempts <= 2


@pytest.mark.parametrize(
    "turn",
    [drip(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", b" "), drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n")],
    ids=["a byte each 0.3 s", "endless 100 Continue"],
)
def test_a_server_that_never_comes_to_an_end_costs_the_attempts_total(turn):
    """And then the window is asked for again."""

    async def main():
        async with Script(turn, rest=GOOD) as server, client_of(server, timeouts=Timeouts(attempt=60)) as client:
            assert len(await client.history(ONE).collect()) == 1
            return server.times

    assert run_virtually(main()) == pytest.approx([0, 60], abs=1.1)
