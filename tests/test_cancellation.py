"""Cancelled at any moment: no task, no connection and no file descriptor is left."""

import asyncio
import random
import time
from pathlib import Path

import pytest

from profile_history import Pacing, Timeouts
from profile_history.testing import FaultPlan, HistoryServer

FILE_DESCRIPTORS = Path("/proc/self/fd")


def descriptors():
    return len(list(FILE_DESCRIPTORS.iterdir()))


async def until(condition, what):
    """Waits for what a peer does on its own, for at most ten seconds."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, what
        await asyncio.sleep(0.01)


async def consume(client, server, draw):
    """One of the ways to read a stream."""
    profiles = [server.profile(number) for number in draw.sample(range(30), 8)]
    match draw.randrange(4):
        case 0:
            await client.histories(profiles).collect()
        case 1:
            await client.history(profiles[0]).collect()
        case 2:
            async with client.histories(profiles).windows() as stream:
                async for _ in stream:
                    await asyncio.sleep(0)
        case 3:
            async for _ in client.histories(profiles):
                await asyncio.sleep(0)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("cancels", [600, pytest.param(10_000, marks=pytest.mark.full)])
@pytest.mark.skipif(not FILE_DESCRIPTORS.is_dir(), reason="counts file descriptors the Linux way")
async def test_random_cancellations_leave_everything_as_it_was(swift, cancels, capsys):
    """Against the real server, with a tenth of the requests failing; the places of the pacer come back as well."""
    draw = random.Random(11)
    faults = FaultPlan.even(0.1, retry_after=0, stall=0.02, slow=0.002)
    tasks = len(asyncio.all_tasks())
    with HistoryServer(profiles=30, faults=faults) as server:
        async with server.client() as warm:
            await warm.history(server.profile(1)).collect()
        before = descriptors()
        client = server.client(retry=swift, timeouts=Timeouts(read=0.5), pacing=Pacing(concurrency=8, adaptive=False))
        cancelled = finished = 0
        while cancelled < cancels:
            batch = [asyncio.create_task(consume(client, server, draw)) for _ in range(20)]
            for task in draw.sample(batch, len(batch)):
                if draw.random() < 0.5:
                    await asyncio.sleep(draw.random() * 0.004)
                else:
                    for _ in range(draw.randrange(10)):
                        await asyncio.sleep(0)
                task.cancel()
            results = await asyncio.gather(*batch, return_exceptions=True)
            assert {type(result) for result in results} <= {asyncio.CancelledError, type(None)}
            cancelled += sum(isinstance(result, asyncio.CancelledError) for result in results)
            finished += sum(result is None for result in results)
        shared = client._shared
        connector = shared.transport._session.connector
        await until(lambda: len(asyncio.all_tasks()) <= tasks, "tasks are left")
        assert shared.pacer.in_use == 0
        assert not connector._acquired
        pooled = sum(map(len, connector._conns.values()))
        assert pooled <= 8
        assert await client.history(server.profile(1)).collect() == server.truth(server.profile(1))
        await client.aclose()
        await until(lambda: descriptors() <= before, "file descriptors are left")
        after = descriptors()
    with capsys.disabled():
        print(
            f"\n{cancelled} cancelled, {finished} finished: file descriptors {before} -> {after}, "
            f"tasks {tasks} -> {len(asyncio.all_tasks())}, connections in use 0, pooled {pooled} before closing"
        )
