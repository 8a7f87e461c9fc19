"""On which event loop a client works: the one of asyncio that first used it; all else is an error that says so."""

import asyncio
import gc
import subprocess
import sys
import threading
from collections.abc import Iterable

import anyio
import pytest
import trio

from profile_history import HistoryClient, Profile, UsageError
from profile_history.jobs import HistoryJob

ONE = Profile.email("john@example.com")


def new_client():
    return HistoryClient("https://history.example", token="secret", list_id=20)


async def entered():
    async with new_client():
        pass


async def iterated():
    async for _ in new_client().history(ONE):
        pass


async def stepped():
    await anext(new_client().histories([ONE]).windows())


async def collected():
    await new_client().history(ONE).collect()


async def entered_a_stream():
    async with new_client().history(ONE):
        pass


async def closed_a_stream():
    await new_client().history(ONE).aclose()


async def closed():
    await new_client().aclose()


async def tabled():
    await new_client().history(ONE).to_arrow()


async def ran_a_job():
    async for _ in job().run():
        pass


async def verified_a_job():
    await job().verify()


def job():
    return HistoryJob(new_client(), ledger="nowhere.ledger")


WAYS = [
    entered,
    iterated,
    stepped,
    collected,
    entered_a_stream,
    closed_a_stream,
    closed,
    tabled,
    ran_a_job,
    verified_a_job,
]


@pytest.mark.parametrize("way", WAYS)
def test_under_trio_the_error_names_asyncio(way):
    """Also by the backend of anyio, and where nothing runs at all; nothing is left that was never awaited."""
    for run in (trio.run, lambda work: anyio.run(work, backend="trio"), lambda work: work().send(None)):
        with pytest.raises(UsageError, match=r"no running event loop of asyncio.*asyncio\.run"):
            run(way)
        gc.collect()


def test_under_anyios_own_asyncio_a_client_works(history_server):
    """It is asyncio."""

    async def main():
        async with history_server.client() as client:
            return await client.history(history_server.profile(1)).collect()

    assert anyio.run(main, backend="asyncio") == history_server.truth(history_server.profile(1))


def test_a_client_is_closed_on_its_own_loop_only(history_server):
    """From another one, in the same thread or in another, it is refused and stays open for its own."""
    client = history_server.client()
    refused = []

    def close_elsewhere():
        try:
            asyncio.run(client.aclose())
        except UsageError as error:
            refused.append(str(error))

    with asyncio.Runner() as runner:
        assert runner.run(client.history(history_server.profile(1)).collect())
        close_elsewhere()
        thread = threading.Thread(target=close_elsewhere)
        thread.start()
        thread.join()
        assert runner.run(client.history(history_server.profile(1)).collect())
        runner.run(client.aclose())
        assert len(refused) == 2
        assert all("use and close it there" in text for text in refused)
    asyncio.run(client.aclose())


def test_a_client_of_a_loop_that_has_ended_says_so(history_server):
    """Its session can be closed no more; the error says when to close it."""
    client = history_server.client()

    async def use():
        return await client.history(history_server.profile(1)).collect()

    runner = asyncio.Runner()
    runner.run(use())
    # What the loop has left open is closed here by hand.
    session = client._core.shared.transport._session
    # What a closed loop leaves open is no news here.
    runner.run(session.close())
    runner.close()
    for way in (client.aclose, use):
        with pytest.raises(UsageError, match="has ended; close the client before"):
            asyncio.run(way())


def test_a_stream_is_read_and_closed_on_its_own_loop_only(history_server):
    """Also one that a task of another loop began, which has ended since."""
    client = history_server.client()
    stream = client.histories(history_server.profiles())

    async def step():
        return await anext(stream)

    with asyncio.Runner() as runner:
        runner.run(step())
        for way in (step, stream.aclose):
            with pytest.raises(UsageError, match="another event loop"):
                asyncio.run(way())
        runner.run(step())
        runner.run(client.aclose())


def test_a_client_that_was_never_used_is_closed_on_any_loop():
    """There is nothing to close."""
    client = new_client()
    asyncio.run(client.aclose())
    asyncio.run(client.aclose())


def test_a_client_in_a_child_process_is_refused_by_its_first_loop(history_server):
    """It was used before the fork, and so its connections are the parent's."""
    code = f"""
import asyncio, os
from profile_history import HistoryClient, Profile, UsageError
client = HistoryClient({history_server.url!r}, token={history_server.token!r}, list_id=20)
runner = asyncio.Runner()
work = lambda: client.history(Profile.xxh({history_server.profile(1).fields[0][1]!r})).collect()
runner.run(work())
if os.fork() == 0:
    try:
        asyncio.run(work())
    except UsageError as error:
        os._exit(7 if "another event loop" in str(error) else 1)
    os._exit(2)
status = os.waitstatus_to_exitcode(os.wait()[1])
runner.run(client.aclose())
raise SystemExit(status)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 7


async def test_what_is_asynchronous_says_so_to_those_who_forgot_it():
    """The message has the right form, and nothing is sent."""
    client = new_client()
    stream = client.history(ONE)
    with pytest.raises(UsageError, match=r'use "async for", or "await stream.collect\(\)"'):
        for _ in stream:
            pass
    with pytest.raises(UsageError, match=r'no awaitable; use "async for", or "await stream.collect\(\)"'):
        await stream
    for thing in (client, stream):
        with pytest.raises(UsageError, match='use "async with"'), thing:
            pass
    assert isinstance(stream, Iterable)
    await stream.aclose()
