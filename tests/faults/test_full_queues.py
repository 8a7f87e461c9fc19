"""Whoever waits in a queue for too long meets a busy server, neither one that is down nor too many days."""

import asyncio
import random
from typing import NamedTuple

import pytest
from support.outages import now
from support.scripts import Script, http
from support.virtual_clock import run_virtually

from profile_history import CircuitOpened, HistoryClient, Pacing, Profile, Stats, Timeouts

GOOD = http(b'{"data":[],"error":0,"error_text":"Successful operation"}', "Connection: close")
LATE = http(b"<title>504 Gateway Time-out</title>", "Connection: close", status=504)


class Gateway(Script):
    """A gateway before a server with few places, which says 504 to whoever has waited in vain.

    Args:
        places: How many requests are worked on at once.
        latency: Seconds that one takes.
        patience: Seconds that one may wait for a place.
    """

    def __init__(self, places, latency, patience):
        super().__init__(rest=self._respond)
        self.places, self.latency, self.patience = asyncio.Semaphore(places), latency, patience

    async def _respond(self, reader, writer):
        try:
            async with asyncio.timeout(self.patience):
                await self.places.acquire()
        except TimeoutError:
            writer.write(LATE)
        else:
            await asyncio.sleep(self.latency)
            self.places.release()
            writer.write(GOOD)
        await writer.drain()


class Queue(Script):
    """A server with few places before which requests wait, for as long as their senders do.

    Args:
        places: How many requests are worked on at once.
        latency: Seconds that one takes.
        abandoned: Whether it works on a request whose sender has left as well.
    """

    def __init__(self, places, latency, *, abandoned):
        super().__init__(rest=self._respond)
        self.places, self.latency, self.abandoned = asyncio.Semaphore(places), latency, abandoned

    async def _respond(self, reader, writer):
        working = asyncio.create_task(self._work(writer))
        gone = asyncio.create_task(reader.read())
        await asyncio.wait([working] if self.abandoned else [working, gone], return_when=asyncio.FIRST_COMPLETED)
        for task in (working, gone):
            task.cancel()
        await asyncio.wait([working, gone])

    async def _work(self, writer):
        async with self.places:
            await asyncio.sleep(self.latency)
        writer.write(GOOD)
        await writer.drain()


class Course(NamedTuple):
    """What came of fetching a year of some profiles."""

    stats: Stats
    failures: list
    requests: int
    seconds: float
    opened: bool


def fetch_year(server, profiles, **options):
    """Fetch a year of some profiles from a server of a script."""
    told = []

    async def run():
        random.seed(4)
        async with server:
            async with HistoryClient(
                str(server.url), token="secret", list_id=1, on_event=told.append, **options
            ) as client:
                everyone = [Profile.email(f"{number}@x.com") for number in range(profiles)]
                stream = client.histories(everyone, "2023-01-01", "2023-12-31", on_error="collect")
                await stream.collect()
            return stream, now()

    stream, seconds = run_virtually(run())
    requests, halved = len(server.requests), stream.stats.windows_split
    print(f"{requests} requests, {halved} halved, {len(stream.failures)} failed, {seconds:.1f} s")
    opened = any(isinstance(event, CircuitOpened) for event in told)
    return Course(stream.stats, stream.failures, requests, seconds, opened)


@pytest.mark.parametrize("window", ["auto", None])
@pytest.mark.parametrize(
    ("places", "latency", "patience"), [(3, 0.3, 0.5), (3, 0.05, 0.0), (1, 0.3, 0.2)], ids=["long", "none", "short"]
)
def test_a_queue_that_is_full_costs_hardly_a_request_and_no_window(places, latency, patience, window):
    """The concurrency falls to what the server bears; hardly a window is halved, none fails, nothing is an outage."""
    profiles = 300
    course = fetch_year(Gateway(places, latency, patience), profiles, window=window)
    assert course.failures == []
    assert course.stats.profiles_done == profiles
    # Each halved one makes two, and may meet the queue again.
    assert course.stats.windows_split <= 0.05 * profiles
    assert course.requests <= 1.2 * profiles
    assert course.seconds <= 1.1 * profiles * latency / places
    assert not course.opened


@pytest.mark.parametrize("window", ["auto", None])
@pytest.mark.parametrize("abandoned", [False, True], ids=["of those who wait", "of those who left, too"])
@pytest.mark.parametrize(
    ("places", "latency", "read", "profiles"),
    [(2, 1.0, 3.0, 300), (3, 0.5, 1.2, 300), (2, 10.0, 30.0, 100)],
    ids=["a second", "half a second", "ten seconds"],
)
def test_a_queue_in_which_the_clients_own_time_runs_out_costs_hardly_a_request_and_no_window(
    places, latency, read, profiles, abandoned, window
):
    """Also where the server goes on with what nobody waits for, so that nobody is served until that is done."""
    server = Queue(places, latency, abandoned=abandoned)
    course = fetch_year(server, profiles, window=window, timeouts=Timeouts(read=read))
    assert course.failures == []
    assert course.stats.profiles_done == profiles
    # What is in flight when the first ones have ended late, and as many again until the queue is short enough.
    assert course.requests <= profiles + 2 * Pacing().concurrency
    assert course.seconds <= 1.25 * profiles * latency / places
    assert not course.opened


@pytest.mark.parametrize(("places", "latency", "patience"), [(3, 0.3, 0.2), (1, 1.0, 0.5), (1, 5.0, 2.0)])
def test_a_queue_that_is_full_before_anything_was_served_is_not_made_the_fuller(places, latency, patience):
    """Nothing tells it from an outage at first, so some windows are halved; their halves wait as all others do."""
    course = fetch_year(Gateway(places, latency, patience), 20)
    assert course.failures == []
    assert course.requests <= 60
