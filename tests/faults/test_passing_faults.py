"""Faults that pass: hardly a window is given up for them, however many windows there are."""

import pytest
from support.virtual_clock import run_virtually

from profile_history.testing import FaultPlan, HistoryServer

RATE = 0.12


def given_up(seed, windows):
    """Fetch so many profiles, each a window, while 12 % of the requests fail; return how many failed for good."""

    async def fetch():
        faults = FaultPlan.even(RATE, seed=seed, streak=None)
        async with HistoryServer(profiles=windows, faults=faults) as server, server.client() as client:
            stream = client.histories(server.profiles(), on_error="collect")
            async with stream:
                async for _ in stream:
                    pass
        assert stream.stats.retries > 0.8 * RATE * windows
        return len(stream.failures)

    return run_virtually(fetch(), limit=1e9)


@pytest.mark.parametrize(
    ("seeds", "windows"),
    [(range(2), 300), pytest.param(range(30), 9000, marks=[pytest.mark.full, pytest.mark.timeout(3600)])],
)
def test_of_many_windows_at_most_two_are_given_up_for_faults_that_pass(seeds, windows):
    """An ambiguous response is retried like a transient one, so it takes six in a row."""
    assert sum(given_up(seed, windows) for seed in seeds) <= 2
