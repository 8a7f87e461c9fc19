"""How the end of an outage is noticed, and how what only looks like an outage is told from it."""

import asyncio
import random

import pytest
from support.outages import FROM, LATENCY, TO, WatchedServer, now
from support.virtual_clock import run_virtually

from profile_history import (
    AuthenticationError,
    CircuitClosed,
    CircuitOpened,
    HistoryError,
    Pacing,
    RateLimited,
    RetryPolicy,
    ServerUnavailable,
    UnexpectedRedirect,
)
from profile_history.testing import Fault, FaultPlan


def after_an_outage(then, *, patience=60.0, profiles=300, **pacing):
    """A fetch that meets an outage of fifteen seconds; `then` says what goes wrong when the server is back.

    Returns:
        The stream, the error that ended it or None, how long after the outage it ended, and the observations.
    """
    told = []

    async def run():
        random.seed(5)
        options = {"retry": RetryPolicy(patience=patience), "pacing": Pacing(**pacing), "on_event": told.append}
        async with WatchedServer(profiles) as server, server.client(**options) as client:
            stream = client.histories(server.profiles(), FROM, TO, on_error="collect")
            reading = asyncio.create_task(stream.collect())
            await asyncio.sleep(0.5)
            await server.pause()
            await asyncio.sleep(15)
            back = now()
            server.faults = then(server, client)
            await server.resume()
            error = None
            try:
                await reading
            except HistoryError as caught:
                error = caught
            return stream, error, now() - back, told

    return run_virtually(run())


def canary_of(server, client):
    """The number of the profile whose request is used to probe."""
    # Which profile is asked for is chosen inside.
    task, _ = client._core.shared.health_probe._known
    return server.histories.find(task.profile.body())


@pytest.mark.parametrize(
    "fault", [Fault.ERROR_500, Fault.STALL, Fault.ERROR_504, Fault.TRUNCATED_BODY, Fault.DATA_MISSING, Fault.ERROR_404]
)
def test_a_server_is_seen_to_be_back_although_the_request_that_probes_it_fails_now(fault):
    """Every other probe is a window that waits."""
    stream, error, _, _ = after_an_outage(lambda *at: FaultPlan.always(fault, profiles=[canary_of(*at)]))
    assert error is None
    assert stream.failures == []
    assert stream.stats.windows == 300


@pytest.mark.parametrize("turn", [False, True], ids=["what was answered before", "what waits"])
@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault.ERROR_401, AuthenticationError),
        (Fault.ERROR_403, AuthenticationError),
        (Fault.REDIRECT_307, UnexpectedRedirect),
        (Fault.RETRY_AFTER_HUGE, RateLimited),
    ],
)
def test_what_stops_a_stream_stops_it_with_the_first_probe_or_two(fault, expected, turn):
    """A token that was revoked during the outage is not probed with for fifteen minutes."""

    def then(_, client):
        # Whose turn it is would be a matter of chance.
        client._core.shared.health_probe._turn = turn
        return FaultPlan.always(fault)

    _, error, seconds, _ = after_an_outage(then, patience=900)
    assert isinstance(error, expected)
    assert seconds < 61


def test_the_windows_at_the_end_of_a_job_survive_an_outage_whatever_befell_them_before():
    """Four of them failed twice already, while all others were answered."""
    tail = range(4)

    async def run():
        random.seed(5)
        async with WatchedServer(60) as server:
            server.faults = FaultPlan(script=[Fault.ERROR_500] * 3, profiles=tail)
            retry = RetryPolicy(patience=900, base=2.0, cap=2.0)
            async with server.client(retry=retry) as client:
                stream = client.histories(server.profiles(), FROM, TO, on_error="collect")
                reading = asyncio.create_task(stream.collect())
                while stream.stats.windows < 56:
                    await asyncio.sleep(LATENCY / 4)
                async with server.outage():
                    await asyncio.sleep(120)
                await reading
                return stream

    stream = run_virtually(run())
    assert stream.failures == []
    assert stream.stats.windows == 60


def test_a_stream_begun_after_an_outage_was_given_up_waits_for_the_next_probe():
    """It does not fail for an outage that is over."""

    async def run():
        random.seed(5)
        async with WatchedServer(300) as server, server.client() as client:
            await client.history(server.profile(0), FROM, TO).collect()
            async with server.outage():
                with pytest.raises(ServerUnavailable):
                    await client.histories(server.profiles(), FROM, TO).collect()
            begun = now()
            await client.history(server.profile(5), FROM, TO).collect()
            return now() - begun

    assert run_virtually(run()) <= 30 + 2 * LATENCY


@pytest.mark.parametrize("retry_after", [0, 5])
def test_a_window_that_is_told_to_wait_while_others_are_answered_ends_by_its_own_time(retry_after):
    """Its time is `Timeouts.window`, ten minutes; the others go on for longer."""

    async def run():
        random.seed(5)
        plan = FaultPlan(
            rates={Fault.THROTTLED_WITH_RETRY_AFTER: 1.0}, streak=None, profiles=[0], retry_after=retry_after
        )
        async with WatchedServer(30, faults=plan) as server, server.client() as client:

            async def source():
                yield server.profile(0)
                while not stream.failures:
                    yield server.profile(1 + random.randrange(29))
                    await asyncio.sleep(1)

            stream = client.histories(source(), FROM, TO, on_error="collect")
            await stream.collect()
            return stream, now()

    stream, end = run_virtually(run())
    (failure,) = stream.failures
    assert isinstance(failure.error, RateLimited)
    # Its waits are 1.875 s in the mean: half of 1, 2, 4 and 8 s.
    assert failure.error.attempts < 600 / 1.875 * 1.3
    assert end < 900


def test_throttles_of_a_client_that_does_not_adapt_are_no_outage_while_others_are_answered():
    """It asked for more than the server has capacity for; nothing is lost, and nothing stands still."""
    told = []

    async def run():
        random.seed(5)
        options = {"pacing": Pacing(concurrency=16, adaptive=False), "on_event": told.append}
        async with WatchedServer(300, capacity=8) as server, server.client(**options) as client:
            stream = client.histories(server.profiles(), FROM, TO, on_error="collect")
            await stream.collect()
            return stream

    stream = run_virtually(run())
    assert stream.failures == []
    assert not [value for value in told if isinstance(value, (CircuitOpened, CircuitClosed))]
