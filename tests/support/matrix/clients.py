"""Lives of clients: in another loop or process, and after their end."""

import asyncio
import contextlib
import functools
import os
import threading

import aiohttp
from support.matrix.bench import EMAILS, Bench, made
from support.matrix.case import Stage
from support.matrix.classes import REFUSED
from support.matrix.scenarios import outside
from support.matrix.seen import TOKEN

from profile_history import HistoryClient, Profile, UsageError


@outside(REFUSED)
def loop_is_another(bench: Bench) -> None:
    """Use a client on a second loop, one after the other or in a thread, or after a fork."""

    async def enter(client: HistoryClient) -> None:
        async with client:
            await client.history(Profile.email(EMAILS[0])).collect()

    async def first(client: HistoryClient) -> None:
        await client.__aenter__()

    async def last(client: HistoryClient) -> None:
        await client.aclose()

    def in_a_child() -> None:
        if (child := os.fork()) == 0:
            code = 1
            with contextlib.suppress(BaseException):
                bench.refuses(again, UsageError)
                code = 0
            os._exit(code)
        assert os.waitpid(child, 0)[1] == 0

    def in_a_thread() -> None:
        thread = threading.Thread(target=bench.refuses, args=(again, UsageError))
        thread.start()
        thread.join()

    client = made()
    again = functools.partial(lambda client: asyncio.run(enter(client)), client)
    with asyncio.Runner() as runner:
        runner.run(first(client))
        bench.dice.in_turn((in_a_thread, in_a_child))()
        runner.run(last(client))
        runner.run(last(client))
    bench.refuses(again, UsageError)


async def after_closing(stage: Stage) -> None:
    """Close it twice, which is safe, and use it."""
    await stage.client.aclose()
    await stage.client.aclose()
    await stage.client.history(stage.profiles[0]).collect()


async def entered_after_closing(stage: Stage) -> None:
    """Enter it once more."""
    await stage.client.aclose()
    async with stage.client:
        raise AssertionError("it is closed")


async def a_stream_that_is_closed(stage: Stage) -> None:
    """Close a stream, and read it."""
    stream = stage.histories()
    await stream.aclose()
    await stage.read(stream)


async def a_session_that_is_closed(stage: Stage) -> None:
    """Fetch with a session that its owner has closed."""
    session = aiohttp.ClientSession()
    await session.close()
    async with stage.server.client(token=TOKEN, session=session) as client:
        await client.history(stage.profiles[0]).collect()


MISUSED = (after_closing, entered_after_closing, a_stream_that_is_closed, a_session_that_is_closed)
