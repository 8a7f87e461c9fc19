"""`Retry-After` on whatever responses carry it: kept for the window that got it, and for all where nobody is served."""

import asyncio
import gzip
import itertools
import json
import random

import pytest
from support.outages import now
from support.scripts import Script, http
from support.virtual_clock import run_virtually

from profile_history import HistoryClient, Limits, Pacing, Profile

GOOD = http(b'{"data":[],"error":0,"error_text":"Successful operation"}')
TOO_MUCH = b'{"error":413,"error_text":"too much"}'
ASKED = 30
WAIT = f"Retry-After: {ASKED}"
BAD = 7
ROUND_TRIP = 0.3


def when_sent(*responses, profiles=1, **options):
    """When requests arrive that are responded to as given, and well after that."""

    async def run():
        random.seed(5)
        async with Script(*responses, rest=GOOD) as server:
            async with HistoryClient(str(server.url), token="secret", list_id=1, **options) as client:
                await client.histories([Profile.email(f"{number}@x.com") for number in range(profiles)]).collect()
            return server.times

    return run_virtually(run())


CUT = b"HTTP/1.1 503 Busy\r\nContent-Length: 500\r\n" + WAIT.encode() + b"\r\n\r\n<html>"


async def cut(reader, writer):
    """A response of which only a part comes."""
    writer.write(CUT)
    await writer.drain()


@pytest.mark.parametrize(
    "response",
    [
        http(b"<html>maintenance</html>", WAIT),
        http(b"down for maintenance", WAIT),
        http(b'{"maintenance":true}', WAIT),
        http(b"", WAIT),
        http(b"<html>", WAIT, "Content-Encoding: gzip"),
        http(b"", WAIT, status=500),
        http(b"no gzip", WAIT, "Content-Encoding: gzip", status=429),
        http(gzip.compress(b"busy" * 9)[:-9], WAIT, "Content-Encoding: gzip", status=503),
        http(b"<html>" + b"x" * 5000, WAIT, status=503),
        cut,
    ],
    ids=[
        "a page",
        "a text",
        "other JSON",
        "nothing",
        "no gzip",
        "500",
        "429 without gzip",
        "503 with gzip that is cut",
        "a long 503",
        "a 503 that is cut",
    ],
)
def test_it_is_kept_whatever_comes_with_it(response):
    """Also where the body is no envelope, is not what its headers say, is too long, or never comes whole."""
    first, second = when_sent(response, limits=Limits(body=4000))
    assert ASKED <= second - first <= 1.1 * ASKED + 3


@pytest.mark.parametrize("lines", [("2", "30"), ("30", "2"), ("soon", "30"), ("30", "-1")], ids=" ".join)
def test_of_several_lines_the_longest_counts(lines):
    """As when a proxy adds its own to that of the server."""
    first, second = when_sent(http(b"", *(f"Retry-After: {line}" for line in lines), status=503))
    assert ASKED <= second - first <= 1.1 * ASKED


@pytest.mark.parametrize(
    "response", [http(b"", WAIT, status=504), http(TOO_MUCH, WAIT, status=413)], ids=["504", "413 of the API"]
)
def test_the_halves_of_a_window_wait_as_long_as_the_whole_was_told_to(response):
    """They ask for the same days."""
    first, *halves = when_sent(response)
    assert len(halves) == 2
    assert halves[0] - first >= ASKED


class OneIsTold(Script):
    """A server that responds to one profile in its own way, and to the others well, some time later."""

    def __init__(self, response):
        super().__init__(rest=response)
        self.told, self.good = [], []

    def choose(self, body):
        """The response to one profile, or a good one."""
        if json.loads(body)["email"].startswith(f"{BAD}@"):
            self.told.append((now(), json.loads(body).get("date_from")))
            return self.rest
        return self._respond_well

    async def _respond_well(self, reader, writer):
        await asyncio.sleep(ROUND_TRIP)
        self.good.append(now())
        writer.write(GOOD)
        await writer.drain()


@pytest.mark.parametrize(
    "response",
    [
        http(b"", WAIT, status=500),
        http(b"", WAIT, status=504),
        http(b"<html>maintenance</html>", WAIT),
        http(TOO_MUCH, WAIT, status=413),
    ],
    ids=["500", "504", "a page", "413 of the API"],
)
def test_what_asks_for_a_pause_of_one_profile_holds_nobody_else(response):
    """As with 429 and 503: the next good response shows that the others may go on, and the window keeps its wait."""

    async def run():
        random.seed(5)
        async with OneIsTold(response) as server:
            async with HistoryClient(
                str(server.url), token="secret", list_id=1, pacing=Pacing(concurrency=8)
            ) as client:
                profiles = [Profile.email(f"{number}@x.com") for number in range(100)]
                stream = client.histories(profiles, "2024-01-01", "2024-12-31", on_error="collect")
                await stream.collect()
            return server, stream

    server, stream = run_virtually(run())
    assert {failure.profile for failure in stream.failures} == {Profile.email(f"{BAD}@x.com")}
    # Those of the 99 others; what comes later are probes.
    assert server.good[98] < ASKED
    times = [when for when, _ in server.told]
    assert len(times) > 2
    assert all(later - earlier >= ASKED - 1e-9 or later == earlier for earlier, later in itertools.pairwise(times))
