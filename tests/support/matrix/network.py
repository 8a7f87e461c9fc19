"""The network: names, connections, and bytes that are cut, slow, or no HTTP."""

import asyncio
import contextlib
import errno
import functools
import os
import re
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any
from unittest import mock

import aiohttp
from support.matrix.case import TIMEOUTS, Case, Stage, read
from support.matrix.classes import ACCEPTED, RETRIED, STREAM_STOPPED, Class
from support.matrix.dice import FROM, TO, Dice
from support.matrix.scenarios import Scenario, plan, way
from support.scripts import LAX

from profile_history import AttemptEnded, AttemptTimeout, ConnectionFailed, Pacing
from profile_history.testing import Fault, FaultPlan

EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS)
CUT = (Fault.RESET_IN_BODY, Fault.TRUNCATED_BODY, Fault.CONTENT_LENGTH_TOO_LONG, Fault.CHUNKED_WITHOUT_END)
# The parser written in Python takes two lengths; what it then reads has to be whole all the same.
TWICE = () if LAX else (Fault.DUPLICATE_CONTENT_LENGTH,)
FRAMING = (Fault.LENGTH_AND_CHUNKED, Fault.BAD_CHUNK_SIZE)
NO_HTTP = (Fault.SSH_BANNER, Fault.TLS_BYTES)
# The parser written in Python waits for the end of such lines, so that they come to a connection that is closed.
REFUSED_AS_HTTP = (Fault.TOKEN_IN_HEADER,) if LAX else NO_HTTP
LARGE_HEAD = (Fault.LONG_HEADER_LINE, Fault.MANY_HEADERS)
SLOW = (Fault.SLOW_LORIS, Fault.ENDLESS_CONTINUE)


@way
def names_fail_for_now(dice: Dice) -> Case:
    """Let the first lookups fail, or take longer than the time to connect."""
    wait = dice.in_turn((0.0, TIMEOUTS.connect + 1))
    replies = [socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")] * dice.random.randint(1, 4)
    return Case(outcome=RETRIED, around=functools.partial(names, replies=[*replies, "127.0.0.1"], wait=wait))


@way
def name_is_unknown(dice: Dice) -> Case:
    """Let there be no such host, ever."""
    number = dice.in_turn((socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)))
    replies = [socket.gaierror(number, "Name or service not known")]

    def check(stage: Stage) -> None:
        assert (stage.error.attempts, "check the address" in str(stage.error)) == (2, True)
        assert list(stage.server.log) == []

    return Case(
        outcome=STREAM_STOPPED, error=ConnectionFailed, around=functools.partial(names, replies=replies), check=check
    )


@contextlib.asynccontextmanager
async def names(stage: Stage, replies: list[Any], wait: float = 0.0) -> AsyncIterator[None]:
    """Let lookups of the host come to these, one after the other, the last for ever; those that fail take some time.

    Args:
        stage: Where it happens.
        replies: An address or an error for each lookup.
        wait: Seconds that one takes that fails.
    """

    class Names(aiohttp.abc.AbstractResolver):
        def __init__(self, *_, **__):
            pass

        async def resolve(self, host, port=0, family=socket.AF_INET):
            reply = replies.pop(0) if len(replies) > 1 else replies[0]
            if isinstance(reply, OSError):
                await asyncio.sleep(wait)
                raise reply
            return [{"hostname": host, "host": reply, "port": port, "family": family, "proto": 0, "flags": 0}]

        async def close(self):
            pass

    stage.url = stage.server.url.replace("127.0.0.1", "history.example")
    stage.options["allow_http"] = True
    with mock.patch("aiohttp.ThreadedResolver", Names):
        yield


@way
def is_down_for_a_while(dice: Dice) -> Case:
    """Refuse connections for a while, from the beginning or from the middle on."""
    start, seconds = dice.in_turn((0.0, 0.12)), dice.random.uniform(0.2, 40.0)

    @contextlib.asynccontextmanager
    async def around(stage: Stage) -> AsyncIterator[None]:
        async def down() -> None:
            await asyncio.sleep(start)
            async with stage.server.outage():
                await asyncio.sleep(seconds)

        outage = asyncio.create_task(down())
        await asyncio.sleep(0 if start else 0.01)
        yield
        await outage

    pacing = Pacing(concurrency=2)
    return Case(outcome=RETRIED, around=around, behaviour={"latency": 0.05}, options={"pacing": pacing})


def cannot_connect(*numbers: int, words: str) -> Scenario:
    """Let the first connections fail with one of these errors, or never come about if there is none.

    Args:
        numbers: Numbers of errors, as in `errno`; a connection fails with one of them.
        words: A pattern that the message of every failure has.
    """

    def make(dice: Dice) -> Case:
        number, left = dice.in_turn(numbers) if numbers else None, [dice.random.randint(1, 4)]
        proper = aiohttp.connector.aiohappyeyeballs.start_connection

        async def connect(*arguments: Any, **options: Any) -> Any:
            if not left[0]:
                return await proper(*arguments, **options)
            left[0] -= 1
            if number is None:
                await asyncio.sleep(10 * TIMEOUTS.attempt)
            raise OSError(number, os.strerror(number))

        @contextlib.asynccontextmanager
        async def around(_: Stage) -> AsyncIterator[None]:
            with mock.patch.object(aiohttp.connector.aiohappyeyeballs, "start_connection", connect):
                yield

        def check(stage: Stage) -> None:
            errors = [note.error for note in stage.told(AttemptEnded) if note.error]
            assert all(isinstance(error, ConnectionFailed) and re.search(words, str(error)) for error in errors)

        return Case(outcome=RETRIED, around=around, check=check)

    return way(make)


def dies_in_use(*then: Fault, outcome: Class) -> Scenario:
    """Close a connection on its second request; on the new one something else happens, or nothing.

    Args:
        then: Faults of the new connection.
        outcome: The class that it comes to.
    """

    def make(dice: Dice) -> Case:
        dice.window = dice.any((20, 30))
        faults = plan(dice, FaultPlan(script=[Fault.STALE_CONNECTION, *then]))
        return Case(outcome=outcome, plan=faults, options={"pacing": Pacing(concurrency=1)})

    return way(make)


@way
def connection_idles(dice: Dice) -> Case:
    """Let it idle for about as long as the server may be silent, or as either side keeps a connection."""
    seconds = dice.in_turn((4.9, 5.1, 14.9, 15.1, 74.9, 75.1, 4000.0))

    async def consume(stage: Stage) -> None:
        await asyncio.gather(*(stage.client.history(profile, FROM, TO).collect() for profile in stage.profiles))
        stage.server.log.clear()
        await asyncio.sleep(seconds)
        await read(stage)

    return Case(outcome=ACCEPTED, consume=consume, limit=10_000)


def times_out(after: float) -> Callable[[Stage], None]:
    """Make a check that what failed did so by the clock, within so many seconds."""

    def check(stage: Stage) -> None:
        failed = [note for note in stage.told(AttemptEnded) if note.error is not None]
        assert all(isinstance(note.error, AttemptTimeout) and note.seconds <= after for note in failed)

    return check
