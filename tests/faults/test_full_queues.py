"""A gateway whose queue is full says 504: it is busy, and neither down nor asked for too many days."""

import asyncio
import random

import pytest
from support.outages import now
from support.scripts import Script, http
from support.virtual_clock import run_virtually

from profile_history import CircuitOpened, HistoryClient, Profile

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
        self.late = 0

    async def _respond(self, reader, writer):
        try:
            async with asyncio.timeout(self.patience):
                await self.places.acquire()
        except TimeoutError:
            self.late += 1
            writer.write(LATE)
        else:
            await asyncio.sleep(self.latency)
            self.places.release()
            writer.write(GOOD)
        await writer.drain()


@pytest.mark.parametrize("window", ["auto", None])
@pytest.mark.parametrize(
    ("places", "latency", "patience"), [(3, 0.3, 0.5), (3, 0.05, 0.0), (1, 0.3, 0.2)], ids=["long", "none", "short"]
)
def test_a_queue_that_is_full_costs_hardly_a_request_and_no_window(places, latency, patience, window):
    """The concurrency falls to what the server bears; hardly a window is halved, none fails, nothing is an outage."""
    profiles, told = 300, []

    async def run():
        random.seed(4)
        async with Gateway(places, latency, patience) as server:
            async with HistoryClient(
                str(server.url), token="secret", list_id=1, window=window, on_event=told.append
            ) as client:
                everyone = [Profile.email(f"{number}@x.com") for number in range(profiles)]
                stream = client.histories(everyone, "2023-01-01", "2023-12-31", on_error="collect")
                await stream.collect()
            return server, stream, now()

    server, stream, seconds = run_virtually(run())
    print(f"{len(server.requests)} requests, {server.late} late, {stream.stats.windows_split} halved, {seconds:.1f} s")
    assert stream.failures == []
    assert stream.stats.profiles_done == profiles
    # Each halved one makes two, and may meet the queue again.
    assert stream.stats.windows_split <= 0.05 * profiles
    assert len(server.requests) <= 1.2 * profiles
    assert seconds <= 1.1 * profiles * latency / places
    assert not any(isinstance(event, CircuitOpened) for event in told)
