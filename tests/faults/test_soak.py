"""For hours: the same numbers of file descriptors, of tasks and of objects, the same memory, and every event."""

import asyncio
import contextlib
import ctypes
import gc
import itertools
import statistics
import time
from collections import Counter, deque
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from support.virtual_clock import run_virtually

from profile_history import Pacing
from profile_history.testing import Fault, FaultPlan, HistoryServer

MIB = 2**20
PROFILES = 300
FILE_DESCRIPTORS = Path("/proc/self/fd")
STATM = Path("/proc/self/statm")
PAGE = 4096
WARM_UP, MEASUREMENTS = 0.2, 20
# Of these a second one in a row is taken for a fact, and the window given up.
SUSPECT = Fault.HTML_PAGE


def faults(seed):
    """Five of a hundred attempts, the same kinds as in `Fault.transient()`; another seed makes other ones."""
    share = 0.05 / len(Fault.transient())
    most = FaultPlan.even(0.05 - share, seed=seed, without=[SUSPECT], streak=None)
    return most | FaultPlan(seed=seed, rates={SUSPECT: share}, streak=1)


def resident():
    """Bytes in memory, what the allocator could give back not counted."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    return int(STATM.read_text().split()[1]) * PAGE


class Gauge:
    """What there was at one moment.

    A connection kept alive is a file descriptor at either end and a task of the server's; they are not counted.
    """

    def __init__(self, began, requests, client):
        # The connections that aiohttp keeps are counted nowhere else.
        connections = sum(map(len, client._core.shared.transport._session.connector._conns.values()))
        for _ in range(3):
            gc.collect()
        self.requests = requests
        self.seconds = time.monotonic() - began
        self.resident = resident()
        self.objects = len(gc.get_objects())
        self.tasks = len(asyncio.all_tasks()) - connections
        self.descriptors = len(list(FILE_DESCRIPTORS.iterdir())) - 2 * connections
        self.connections = connections


async def soak(requests):
    """Stream after stream of one client, until so many requests were sent; each tenth is left half-way.

    What every profile's history is was computed before; each stream takes the profiles in another order.
    """
    began = time.monotonic()
    gauges, done = [], Counter()
    async with HistoryServer(profiles=PROFILES) as server, server.client() as client:
        # What the server remembers of its requests is no affair of the client's.
        server.log = deque(maxlen=100)
        truths = {profile: server.truth(profile) for profile in server.profiles()}
        profiles = deque(truths)
        for turn in itertools.count():
            server.faults = faults(turn)
            profiles.rotate(7)
            stream = client.histories(list(profiles))
            await compare(stream, truths, PROFILES // 2 if turn % 10 == 9 else None, done)
            done += Counter(requests=stream.stats.attempts, retries=stream.stats.retries)
            # Bytes that are counted for ever would show after days only.
            assert client._core.shared.memory.used == client._core.shared.pacer.in_use == 0
            del stream
            if done["requests"] >= requests * (WARM_UP + (1 - WARM_UP) * len(gauges) / MEASUREMENTS):
                # What was cut is closed at both ends a little later.
                await asyncio.sleep(60)
                gauges.append(Gauge(began, done["requests"], client))
            if done["requests"] >= requests:
                break
        return gauges, done, server.injected


async def compare(stream, truths, enough, done):
    """Read a stream, to its end or for so many windows; each event comes once, in order."""
    received = {profile: [] for profile in truths}
    number = 0
    async with stream.windows() as windows:
        async for result in windows:
            assert result.error is None
            received[result.profile] += result.events
            number += 1
            if number == enough:
                break
    whole = enough is None
    for profile, events in received.items():
        assert events == truths[profile][: None if whole else len(events)]
    done += Counter(events=sum(map(len, received.values())), streams=1, left=not whole)


def soaked(requests):
    """The same from its beginning to its end, on virtual time."""
    return run_virtually(soak(requests), limit=1e9)


@pytest.mark.slow
@pytest.mark.skipif(not STATM.exists(), reason="reads memory and file descriptors the Linux way")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("requests", [5_000, pytest.param(200_000, marks=pytest.mark.full)])
def test_nothing_grows_however_long_it_runs(requests, capsys):
    """Requests with 5 % faults on virtual time: all events are there, and every number stays what it was."""
    # In a process of its own: what other tests left in the allocator would be counted.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        gauges, done, injected = pool.submit(soaked, requests).result()

    minutes = [gauge.seconds / 60 for gauge in gauges]
    slope = 10 * statistics.linear_regression(minutes, [gauge.resident / MIB for gauge in gauges]).slope
    growth = (gauges[-1].resident - gauges[0].resident) / MIB
    objects = [gauge.objects for gauge in gauges]
    with capsys.disabled():
        print(
            f"\n{done['requests']:,} requests, {injected.total():,} faults of {len(injected)} kinds, "
            f"{done['events']:,} events in {done['streams']} streams of which {done['left']} were left, in "
            f"{60 * minutes[-1]:.0f} s: {gauges[-1].descriptors} file descriptors, {gauges[-1].tasks} tasks, objects "
            f"{min(objects):,} to {max(objects):,}, memory {gauges[0].resident / MIB:.1f} to "
            f"{gauges[-1].resident / MIB:.1f} MiB, slope {slope:+.2f} MiB in 10 minutes",
            end="",
        )
    assert injected.total() == pytest.approx(0.05 * done["requests"], rel=0.2)
    assert len(injected) == len(Fault.transient())
    assert done["retries"] > 0.8 * injected.total()
    assert max(gauge.connections for gauge in gauges) <= Pacing().concurrency
    assert {gauge.descriptors for gauge in gauges} == {gauges[0].descriptors}
    assert {gauge.tasks for gauge in gauges} == {gauges[0].tasks}
    # Single measurements dip by a hundredth; what grows is higher at the end than at the start.
    few = max(1, len(objects) // 4)
    assert statistics.median(objects[-few:]) < 1.01 * statistics.median(objects[:few])
    assert growth < 2
    # A short run's slope is noise.
    assert slope < 1 or requests < 100_000
