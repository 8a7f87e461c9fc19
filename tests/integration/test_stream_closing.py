"""A stream that is left, closed or cancelled, by whomever, leaves nothing and never looks complete."""

import asyncio
import gc
import itertools

import pytest
from support.streams import FIRST, LAST, busiest

from profile_history import (
    AttemptTimeout,
    HistoryError,
    Pacing,
    RetryPolicy,
    UsageError,
)
from profile_history._sending.transport import Transport
from profile_history.testing import Fault, FaultPlan


def tasks():
    return asyncio.all_tasks() - {asyncio.current_task()}


def ours():
    return [task for task in tasks() if "profile_history/_scheduling" in task.get_coro().cr_code.co_filename]


async def test_a_break_in_an_async_with_leaves_no_task(server):
    """The work is cancelled and awaited before the block ends."""
    async with server.client() as client:
        async with client.histories(server.profiles()) as stream:
            async for _ in stream:
                assert ours() != []
                break
        assert ours() == []


async def test_an_error_in_the_consumer_leaves_no_task(server):
    """Likewise, and the error is the consumer's own."""
    async with server.client() as client:
        with pytest.raises(ZeroDivisionError):
            async with client.histories(server.profiles()) as stream:
                async for _ in stream:
                    raise ZeroDivisionError
        assert ours() == []


async def test_a_break_in_a_bare_loop_cleans_up_when_the_stream_is_dropped(server):
    """By the event loop's own hook, without the garbage collector."""
    async with server.client() as client:
        gc.disable()
        try:
            async for _ in client.histories(server.profiles()):
                break
            for _ in range(20):
                await asyncio.sleep(0)
            assert ours() == []
        finally:
            gc.enable()


async def test_a_stream_that_was_left_by_break_does_not_hold_up_the_next_start(server):
    """Fifty times at once with one request at a time: each new stream is served at once, and the last is whole."""
    profile = busiest(server)[0]
    async with server.client(pacing=Pacing(concurrency=1), window=30) as client:
        for _ in range(50):
            async for _ in client.history(profile, FIRST, LAST):
                break
        assert await client.history(profile, FIRST, LAST).collect()
        assert ours() == []
    assert len(server.log) < 300


async def test_a_cancelled_consumer_leaves_no_task(server):
    """The cancellation arrives, and the work is gone when it does."""
    server.faults = FaultPlan.always(Fault.STALL)
    async with server.client() as client:

        async def consume():
            return await client.histories(server.profiles()).collect()

        consumer = asyncio.create_task(consume())
        while not server.log:
            await asyncio.sleep(0.001)
        consumer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await consumer
        assert ours() == []


async def test_a_cancellation_that_is_swallowed_on_its_way_does_not_keep_the_stream_from_closing(server, monkeypatch):
    """As happens where it meets a timeout of the HTTP library's own."""
    server.faults = FaultPlan.always(Fault.STALL)
    send = Transport.send

    async def swallowing(self, *arguments, **options):
        try:
            return await send(self, *arguments, **options)
        except asyncio.CancelledError:
            raise AttemptTimeout("it seemed so") from None

    monkeypatch.setattr(Transport, "send", swallowing)
    async with server.client(retry=RetryPolicy(attempts=1, passes=1)) as client:
        stream = client.histories(server.profiles(), on_error="collect")
        reading = asyncio.create_task(anext(stream))
        while not server.log:
            await asyncio.sleep(0.001)
        sent = len(server.log)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(reading, 10)
        assert ours() == []
        assert len(server.log) <= sent + 4


async def test_a_second_cancellation_during_the_clean_up_is_not_lost_either(server):
    """It is raised once everything has ended."""
    async with server.client() as client:
        stream = client.histories(server.profiles())
        await anext(stream)
        closing = asyncio.create_task(stream.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert ours() == []


async def test_closing_a_stream_twice_is_harmless_and_reading_it_after_is_refused(server):
    """With a word on what to do."""
    async with server.client() as client:
        stream = client.history(server.profile(1))
        await stream.aclose()
        await stream.aclose()
        with pytest.raises(UsageError, match="ask the client for a new one"):
            await stream.collect()
        read = client.history(server.profile(1))
        await read.collect()
        with pytest.raises(UsageError, match="read to its end or closed"):
            await read.collect()
        with pytest.raises(UsageError, match="this stream is closed"):
            await anext(read.windows())


async def test_a_stream_closed_by_another_task_ends_its_reader_with_an_error(server):
    """A cut history never looks complete."""
    server.faults = FaultPlan.always(Fault.STALL)
    async with server.client() as client:
        stream = client.histories(server.profiles())

        async def consume():
            return [item async for item in stream]

        reader = asyncio.create_task(consume())
        while not server.log:
            await asyncio.sleep(0.001)
        await stream.aclose()
        with pytest.raises(UsageError, match="closed while it was being read"):
            await reader


async def test_a_stream_closed_between_two_steps_by_another_task_does_not_look_complete(server):
    """What was verified and begun is handed out, and then comes an error, not an end."""
    async with server.client() as client:
        stream = client.histories(server.profiles())
        await anext(stream)
        await asyncio.create_task(stream.aclose())
        with pytest.raises(UsageError, match="closed while it was being read"):
            while True:
                await anext(stream)
        with pytest.raises(UsageError, match="closed before its end"):
            await anext(stream)


async def test_a_stream_read_to_its_end_ends_for_anext_too(server):
    """As every asynchronous iterator does."""
    async with server.client() as client:
        stream = client.histories([])
        for _ in range(2):
            with pytest.raises(StopAsyncIteration):
                await anext(stream)


async def test_events_and_windows_of_one_stream_are_not_read_both(server):
    """They would take each other's windows away."""
    async with server.client() as client, client.histories(server.profiles()) as stream:
        await anext(stream)
        with pytest.raises(UsageError, match="read its events or its windows"):
            await anext(stream.windows())


async def test_a_source_that_cancels_itself_ends_the_stream_with_an_error(server):
    """Nobody waits for profiles that will not come."""

    async def broken():
        yield server.profile(1)
        raise asyncio.CancelledError

    async with server.client() as client:
        with pytest.raises(HistoryError, match="something cancelled the work"):
            await asyncio.wait_for(client.histories(broken()).collect(), 10)


async def test_a_source_cannot_close_the_stream_or_the_client_that_reads_it(server):
    """It would wait for itself."""
    async with server.client() as client:
        for closed in ("stream", "client"):
            held = []

            async def closing(closed=closed, held=held):
                yield server.profile(1)
                await (held[0] if closed == "stream" else client).aclose()

            stream = client.histories(closing())
            held.append(stream)
            with pytest.raises(UsageError, match="cannot close the stream that reads it"):
                await asyncio.wait_for(stream.collect(), 10)


async def test_a_source_that_only_the_stream_holds_is_closed_with_it(server):
    """So that its own `finally` runs, as a database cursor wants."""
    ended = []

    async def source():
        try:
            for number in itertools.count():
                yield server.profile(number % 30)
        finally:
            ended.append(True)

    async with server.client(pacing=Pacing(concurrency=1)) as client:
        async with client.histories(source()) as stream:
            await anext(stream)
        for _ in range(5):
            await asyncio.sleep(0)
        assert ended == [True]


async def test_a_second_consumer_is_refused(server):
    """While the first is at work; afterwards another task may go on."""
    async with server.client() as client, client.histories(server.profiles()) as stream:

        async def one():
            return await anext(stream)

        await asyncio.create_task(one())
        await anext(stream)
        with pytest.raises(UsageError, match="it has one consumer"):
            await asyncio.create_task(one())


async def test_a_stream_that_is_never_read_costs_nothing(server):
    """No request, no task, no warning."""
    async with server.client() as client:
        client.histories(server.profiles())
        async with client.history(server.profile(1)) as unread:
            pass
        assert unread.stats.seconds == 0
        assert ours() == []
    assert not server.log
