"""Patience with a server that is down: kept with one profile as with many, and whatever the server asks for."""

import random

import pytest
from support.outages import FROM, LATENCY, TO, WatchedServer, now
from support.virtual_clock import run_virtually

from profile_history import ApiError, HistoryError, RateLimited, RetryPolicy, ServerUnavailable
from profile_history.testing import Fault, FaultPlan

REFUSED = None


def wait_for(fault, *, profiles, patience, worked=False, **settings):
    """Fetch from a server that fails for everyone, and return the stream, its error, and how long that took.

    Args:
        fault: How it fails; `REFUSED` for a closed port.
        profiles: How many are asked for.
        patience: Seconds.
        worked: Whether something was fetched before.
        settings: Of the plan.
    """

    async def run():
        random.seed(3)
        async with WatchedServer(2000) as server, server.client(retry=RetryPolicy(patience=patience)) as client:
            if worked:
                await client.history(server.profile(1999), FROM, TO).collect()
            if fault is REFUSED:
                await server.pause()
            else:
                server.faults = FaultPlan(rates={fault: 1.0}, streak=None, **settings)
            began = now()
            stream = client.histories(list(server.profiles())[:profiles], FROM, TO, on_error="collect")
            error = None
            try:
                await stream.collect()
            except HistoryError as caught:
                error = caught
            took = now() - began
            if fault is REFUSED:
                await server.resume()
            return stream, error, took

    return run_virtually(run())


@pytest.mark.parametrize("worked", [False, True], ids=["at the start", "later"])
@pytest.mark.parametrize("patience", [2.0, 60.0])
@pytest.mark.parametrize("profiles", [1, 2, 1000])
@pytest.mark.parametrize("fault", [REFUSED, Fault.ERROR_503])
def test_patience_is_kept_with_one_profile_as_with_a_thousand(fault, profiles, patience, worked):
    """No window is charged; a wait of one window that has begun by then goes on, four seconds at most."""
    stream, error, took = wait_for(fault, profiles=profiles, patience=patience, worked=worked)
    assert isinstance(error, ServerUnavailable)
    assert stream.failures == []
    assert patience <= took <= patience + 4 + LATENCY


@pytest.mark.parametrize("worked", [False, True], ids=["at the start", "later"])
@pytest.mark.parametrize("profiles", [1, 2, 1000])
@pytest.mark.parametrize(("patience", "asked"), [(2.0, 1), (2.0, 10), (60.0, 10), (60.0, 50)])
def test_patience_is_kept_where_the_server_asks_to_wait_with_every_failure(patience, asked, profiles, worked):
    """One pause that has begun by then is waited for, with the tenth that is added by chance."""
    fault = Fault.ERROR_503_WITH_RETRY_AFTER
    stream, error, took = wait_for(fault, profiles=profiles, patience=patience, worked=worked, retry_after=asked)
    assert isinstance(error, ServerUnavailable)
    assert stream.failures == []
    assert patience <= took <= patience + 1.1 * asked + 4 * LATENCY


def test_pauses_of_a_server_that_throttles_may_be_longer_than_patience_together():
    """It is at work; only failures that are as far apart as patience are an outage."""

    async def run():
        random.seed(3)
        plan = FaultPlan(script=[Fault.THROTTLED_WITH_RETRY_AFTER] * 3, retry_after=40)
        async with WatchedServer(3, faults=plan) as server, server.client(retry=RetryPolicy(patience=60)) as client:
            stream = client.histories(server.profiles(), FROM, TO)
            await stream.collect()
            return stream.stats.windows, now()

    windows, took = run_virtually(run())
    assert (windows, took > 80) == (3, True)


def test_a_single_profile_that_may_be_the_cause_itself_fails_as_its_window():
    """A 500 may be about what was asked for, so one profile alone is no outage."""
    stream, error, took = wait_for(Fault.ERROR_500, profiles=1, patience=60.0)
    assert error is None
    (failure,) = stream.failures
    assert isinstance(failure.error, ApiError)
    assert (failure.error.attempts, took < 60) == (12, True)


def test_a_stream_of_one_profile_that_begins_when_patience_was_over_waits_for_one_probe():
    """And is not let in as the probe again and again."""

    async def run():
        random.seed(3)
        down = FaultPlan.always(Fault.ERROR_503)
        async with (
            WatchedServer(30, faults=down) as server,
            server.client(retry=RetryPolicy(patience=20)) as client,
        ):
            with pytest.raises(ServerUnavailable):
                await client.histories(server.profiles(), FROM, TO).collect()
            began, sent = now(), len(server.log)
            with pytest.raises(ServerUnavailable):
                await client.history(server.profile(3), FROM, TO).collect()
            return now() - began, len(server.log) - sent

    took, sent = run_virtually(run())
    assert took <= 30 + LATENCY
    assert sent == 1


@pytest.mark.parametrize("form", range(3), ids=["as today", "RFC 850", "asctime"])
@pytest.mark.parametrize("asked", [3, 90])
def test_a_retry_after_that_is_a_date_without_a_date_is_measured_by_the_own_clock(asked, form):
    """Never a second early, in each form that HTTP has for it."""

    async def run():
        plan = FaultPlan(script=[Fault.RETRY_AFTER_BARE_DATE], retry_after=asked, variant=form)
        async with WatchedServer(1, faults=plan) as server, server.client() as client:
            await client.history(server.profile(0), FROM, TO).collect()
            return server.arrivals

    first, second = run_virtually(run())
    assert asked <= second - first <= 1.1 * (asked + 1) + LATENCY


def test_a_retry_after_with_a_fraction_is_kept():
    """A second and a half is not one second."""

    async def run():
        plan = FaultPlan(script=[Fault.RETRY_AFTER_FRACTION], retry_after=5)
        async with WatchedServer(1, faults=plan) as server, server.client() as client:
            await client.history(server.profile(0), FROM, TO).collect()
            return server.arrivals

    first, second = run_virtually(run())
    assert 5.5 <= second - first <= 1.1 * 5.5 + LATENCY


@pytest.mark.parametrize("form", range(4), ids=["an hour", "a day", "decades", "ages"])
def test_a_retry_after_that_is_absurdly_long_ends_the_stream(form):
    """At once, and with what to do."""

    async def run():
        plan = FaultPlan(script=[Fault.RETRY_AFTER_HUGE], variant=form)
        async with WatchedServer(1, faults=plan) as server, server.client() as client:
            with pytest.raises(RateLimited, match=r"the server asks to wait for .* s; do so") as caught:
                await client.history(server.profile(0), FROM, TO).collect()
            return caught.value.retry_after, now(), len(server.log)

    asked, when, sent = run_virtually(run())
    assert asked >= 3600
    assert (when < 1, sent) == (True, 1)
