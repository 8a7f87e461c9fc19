"""Not one event lost and not one doubled, whatever nobody knows of the server, under faults."""

import itertools
from collections import Counter

import pytest

from profile_history import Pacing
from profile_history.testing import Behaviour, FaultPlan, HistoryServer

FIRST, LAST = "2024-02-10", "2024-03-15"
OFFSETS = range(-12, 15)
WINDOWS = ("auto", 1, 7, 31, None)
# A variant meets every fourth offset, and the twelve of them together meet each offset three times; by default
# four variants do, so that each offset, order, shape and reading of `date_to` is met at least once.
SERVERS = list(itertools.product(["inclusive", "exclusive"], ["newest", "oldest", "unsorted"], ["seed", "newer"]))
SAMPLES = [
    pytest.param(
        *server, OFFSETS[n % 4 :: 4], 0, id="-".join(server), marks=() if n in {0, 7, 9, 10} else pytest.mark.slow
    )
    for n, server in enumerate(SERVERS)
]
ALL = [
    pytest.param(*server, OFFSETS, seed, id="-".join((*server, str(seed))), marks=pytest.mark.full)
    for server, seed in itertools.product(SERVERS, range(20))
]


def crowded(server, count):
    """Return the profiles with the most events on days of the range, and next to it."""
    return sorted(server.profiles(), key=lambda profile: -len(server.truth(profile, "2024-02-08", "2024-03-17")))[
        :count
    ]


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("date_to", "order", "rows", "offsets", "seed"), [*SAMPLES, *ALL])
async def test_every_event_of_the_range_arrives_once_and_in_order(swift, date_to, order, rows, offsets, seed):
    """27 offsets x 5 window rules under the default border, with a sixth of all requests failing in every way."""
    faults = FaultPlan.even(1 / 6, seed=seed, retry_after=0, stall=0.01, slow=0.002)
    async with HistoryServer(profiles=60, faults=faults) as server:
        profiles = crowded(server, 2)
        for offset, window in itertools.product(offsets, WINDOWS):
            server.behaviour = Behaviour(date_to=date_to, offset=offset, order=order, rows=rows)
            expected = {profile: server.truth(profile, FIRST, LAST) for profile in profiles}
            received = {profile: [] for profile in profiles}
            async with server.client(window=window, retry=swift, pacing=Pacing(adaptive=False)) as client:
                async for profile, event in client.histories(profiles, FIRST, LAST):
                    received[profile].append(event)
            for profile in profiles:
                assert len(expected[profile]) > 10
                assert Counter(received[profile]) == Counter(expected[profile]), (offset, window)
                moments = [event.datetime for event in received[profile]]
                assert moments == sorted(moments, reverse=True), (offset, window)
        assert server.injected.total() > 20


async def test_the_exact_border_shows_why_the_overlap_is_there():
    """Against a server that reads its bounds otherwise, days asked as they are lose events."""
    behaviour = Behaviour(date_to="exclusive", offset=-12)
    async with HistoryServer(profiles=60, behaviour=behaviour) as server:
        [profile] = crowded(server, 1)
        truth = Counter(server.truth(profile, FIRST, LAST))
        async with server.client(window=1, border="exact") as client:
            exact = Counter(await client.history(profile, FIRST, LAST).collect())
        async with server.client(window=1) as client:
            overlap = Counter(await client.history(profile, FIRST, LAST).collect())
    assert truth - exact
    assert overlap == truth


@pytest.mark.slow
async def test_a_thousand_profiles_with_one_dead_among_them_are_999_complete_and_one_named(swift):
    """With a tenth of all requests failing besides."""
    dead = 617
    async with HistoryServer(profiles=1000) as server:
        truth = {profile: Counter(server.truth(profile)) for profile in server.profiles()}
        light = FaultPlan.even(0.1, retry_after=0, stall=0.01, slow=0.002)

        class OneDead(FaultPlan):
            """Never lets one profile through, and the others as the light plan says."""

            def draw(self, profile, window, attempt):
                if profile == dead:
                    return "error_500"
                return light.draw(profile, window, attempt)

        server.faults = OneDead(retry_after=0, stall=0.01, slow=0.002)
        received = {profile: Counter() for profile in truth}
        async with (
            server.client(retry=swift, window=366) as client,
            client.histories(server.profiles(), "2023-01-01", "2024-12-31", on_error="collect") as stream,
        ):
            async for profile, event in stream:
                received[profile][event] += 1
    assert {failure.profile for failure in stream.failures} == {server.profile(dead)}
    assert len(stream.failures) == 2
    assert [profile for profile in truth if received[profile] != truth[profile]] == [server.profile(dead)]
