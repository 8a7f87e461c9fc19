"""The event loop on virtual time that other tests rely on."""

import asyncio
import random
import socket
import time

import aiohttp
import pytest
from support.virtual_clock import Stuck, run_virtually

from profile_history import DeadlineExceeded, Pacing
from profile_history.testing import Behaviour, HistoryServer


def waited():
    return asyncio.get_running_loop().waited


def test_a_day_takes_no_time():
    async def sleep():
        await asyncio.sleep(86400)
        return waited()

    began = time.monotonic()
    assert run_virtually(sleep()) == 86400
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("start", [0.0, 1e5, 1e9])
def test_timers_fire_in_order_at_exact_times(start):
    async def fire():
        loop, draw, fired = asyncio.get_running_loop(), random.Random(7), []
        await asyncio.sleep(start)
        due = [start + draw.random() * 10 ** draw.randint(-6, 5) for _ in range(500)]
        for when in due:
            loop.call_at(when, lambda when=when: fired.append((when, loop.time())))
        await asyncio.sleep(1e6)
        return due, fired, loop.advances

    due, fired, advances = run_virtually(fire(), limit=1e10)
    assert fired == [(when, when) for when in sorted(due)]
    assert advances <= len(due) + 2


def test_timeouts_obey():
    async def time_out():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3600.5):
                await asyncio.Event().wait()
        return waited()

    assert run_virtually(time_out()) == 3600.5


async def the_histories(behaviour, profiles, **options):
    took = []

    async def start(session, context, parameters):
        context.started = waited()

    async def end(session, context, parameters):
        took.append(waited() - context.started)

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(start)
    trace.on_request_end.append(end)
    async with (
        HistoryServer(profiles=profiles, behaviour=behaviour) as server,
        aiohttp.ClientSession(trace_configs=[trace]) as session,
        server.client(session=session, **options) as client,
    ):
        received = {profile: [] for profile in server.profiles()}
        for profile, event in await client.histories(server.profiles()).collect():
            received[profile].append(event)
        assert received == {profile: server.truth(profile) for profile in server.profiles()}
        assert len(took) == len(server.log) >= profiles
        return took, waited()


def test_200_requests_over_real_sockets_take_their_latency_each():
    took, all_in_all = run_virtually(the_histories(Behaviour(latency=3.0), 200))
    assert set(took) == {3.0}
    assert 3.0 * 200 / Pacing().concurrency <= all_in_all <= 3.0 * 200


def test_a_rate_is_kept_in_virtual_time():
    took, all_in_all = run_virtually(
        the_histories(Behaviour(latency=0.25), 41, pacing=Pacing(requests_per_second=0.125))
    )
    assert set(took) == {0.25}
    assert all_in_all == pytest.approx(8 * (len(took) - 1) + 0.25)


def test_a_deadline_is_kept_in_virtual_time():
    async def be_late():
        async with HistoryServer(profiles=1, behaviour=Behaviour(latency=100)) as server, server.client() as client:
            with pytest.raises(DeadlineExceeded):
                await client.histories(server.profiles(), deadline=50).collect()
            return waited()

    assert run_virtually(be_late()) == 50


def test_a_timeout_of_aiohttp_meets_a_server_that_stalls():
    async def stall():
        async with (
            HistoryServer(profiles=1, behaviour=Behaviour(latency=600)) as server,
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120)) as session,
        ):
            with pytest.raises(TimeoutError):
                await session.post(server.url)
            return waited()

    assert run_virtually(stall()) == 120


def test_no_timer_overtakes_bytes_that_are_on_their_way():
    size = 1_000_000

    async def answer(reader, writer):
        await reader.readline()
        writer.write(bytes(size))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def ask(port):
        async with asyncio.timeout(1e-9):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"\n")
            body = await reader.read()
            writer.close()
            await writer.wait_closed()
        return len(body)

    async def talk():
        async with await asyncio.start_server(answer, "127.0.0.1") as server:
            port = server.sockets[0].getsockname()[1]
            sizes = [size for _ in range(20) for size in await asyncio.gather(*(ask(port) for _ in range(5)))]
            return sizes, waited()

    assert run_virtually(talk()) == ([size] * 100, 0)


def test_no_timer_overtakes_a_thread():
    async def work():
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(0.001):
            await asyncio.to_thread(time.sleep, 0.05)
            await loop.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)
        loop.run_in_executor(None, time.sleep, 0.05)
        return waited()

    assert run_virtually(work()) == 0


@pytest.mark.parametrize("limit", [1800, 86400])
def test_what_never_ends_is_stuck(limit):
    async def retry_for_ever():
        while True:
            await asyncio.sleep(1000)

    with pytest.raises(Stuck, match=f"not over after {limit} virtual seconds; .*retry_for_ever"):
        run_virtually(retry_for_ever(), limit=limit)


def test_a_deadlock_is_stuck():
    with pytest.raises(Stuck, match=r"nothing came in 0\.1 real seconds, .*a deadlock; there are Event\.wait"):
        run_virtually(asyncio.Event().wait(), patience=0.1)


def test_a_thread_that_never_ends_is_stuck():
    with pytest.raises(Stuck, match="a thread was at work"):
        run_virtually(asyncio.to_thread(time.sleep, 0.5), patience=0.1)
