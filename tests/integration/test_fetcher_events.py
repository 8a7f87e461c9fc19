"""What the hook and the log are told of attempts, waits and outages."""

import asyncio
import logging

import pytest
from support.by_profile import GOOD, ONE, PROFILES, ByProfile, client_of, envelope, failing, those
from support.scripts import Script
from support.virtual_clock import run_virtually

from profile_history import (
    AttemptEnded,
    AttemptStarted,
    ConfigurationError,
    HistoryClient,
    Pacing,
    RetryPlanned,
    RetryPolicy,
    Throttled,
    WindowDone,
    WindowDropped,
)

# ---- What is told ----------------------------------------------------------------------------------------------------


async def test_the_hook_is_told_of_every_attempt_and_every_wait():
    """In order, with one request id, and with the failure of each."""
    told = []
    async with (
        Script(failing(500), failing(429, "Retry-After: 0"), rest=GOOD) as server,
        client_of(server, on_event=told.append) as client,
    ):
        await client.history(ONE).collect()
    assert [type(event) for event in told] == [
        *(AttemptStarted, AttemptEnded, RetryPlanned),
        *(AttemptStarted, AttemptEnded, Throttled, RetryPlanned),
        *(AttemptStarted, AttemptEnded, WindowDone),
    ]
    assert len({event.request_id for event in told if not isinstance(event, Throttled)}) == 1
    assert [event.attempt for event in those(told, (AttemptEnded, RetryPlanned))] == [1, 1, 2, 2, 3]
    assert [event.bytes for event in those(told, AttemptEnded)] == [0, 0, len(envelope(1))]
    (done,) = those(told, WindowDone)
    assert (done.attempts, done.rows, done.bytes, done.error) == (3, 1, len(envelope(1)), None)
    assert done.seconds >= sum(event.seconds for event in those(told, AttemptEnded))
    assert those(told, Throttled)[0].retry_after == 0


def test_a_window_that_waits_for_another_pass_is_told_as_dropped_when_its_stream_is_closed():
    """As is one that is in flight then; one that nobody has begun is not."""
    told, silent = [], asyncio.Event()

    async def say_nothing(reader, writer):
        silent.set()
        await asyncio.Event().wait()

    async def main():
        two_passes = RetryPolicy(attempts=1, passes=2, base=1.0, cap=1.0)
        async with (
            ByProfile({0: [failing(500)]}, rest=say_nothing) as server,
            client_of(server, retry=two_passes, on_event=told.append) as client,
            client.histories(PROFILES) as stream,
        ):
            reading = asyncio.create_task(stream.collect())
            await silent.wait()
            await asyncio.sleep(10)
            reading.cancel()
            await asyncio.wait([reading])

    run_virtually(main())
    assert [event.profile for event in those(told, RetryPlanned)] == PROFILES[:1]
    dropped = those(told, WindowDropped)
    assert {(event.profile, event.attempts) for event in dropped} == {
        (PROFILES[0], 1),
        (PROFILES[1], 1),
        (PROFILES[2], 0),
    }
    assert not any(event.split for event in dropped)


async def test_a_hook_that_raises_costs_no_event_and_is_complained_of_once(caplog):
    """The complaint names the kind of the exception, and nothing that it says."""

    def hook(event):
        raise KeyError("a secret of the caller")

    async with Script(rest=GOOD) as server, client_of(server, on_event=hook) as client:
        assert len(await client.histories(PROFILES[:5]).collect()) == 5
    complaints = [record.getMessage() for record in caplog.records if "on_event" in record.getMessage()]
    assert len(complaints) == 1
    assert "KeyError" in complaints[0]
    assert "secret" not in caplog.text


@pytest.mark.parametrize("hook", ["print", 7])
def test_a_hook_that_cannot_be_called_is_refused(hook):
    """Before anything is sent."""
    with pytest.raises(ConfigurationError, match="on_event is a plain function"):
        HistoryClient("http://127.0.0.1:9", token="token", list_id=20, on_event=hook)


def test_a_coroutine_function_is_no_hook():
    """Nobody would await it."""

    async def hook(event):
        pass

    with pytest.raises(ConfigurationError, match="on_event is a plain function"):
        HistoryClient("http://127.0.0.1:9", token="token", list_id=20, on_event=hook)


async def test_the_log_tells_the_same_at_debug_and_only_what_matters_above(caplog):
    """A line an event: ids, counts and times, and neither a profile nor a word of the server's."""
    turns = [failing(500), failing(429, "Retry-After: 0"), failing(429)]
    caplog.set_level(logging.DEBUG, "profile_history")
    async with ByProfile({0: turns, 1: [failing(400)]}) as server, client_of(server) as client:
        stream = client.histories(PROFILES[:2], on_error="collect")
        await stream.collect()
    lines = [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "profile_history"]
    text = "\n".join(line for _, line in lines)
    for expected in ("attempt 1: sent", "ApiError (HTTP 500, error None)", "again in 0.00 s", " rows, ", " bytes in "):
        assert expected in text
    assert [line for level, line in lines if level == "INFO"] == ["throttled: 1 requests at once from now on"] * 2
    (warning,) = [line for level, line in lines if level == "WARNING"]
    assert "given up after 1 attempts: UnexpectedPage (HTTP 400)" in warning
    assert "example.com" not in text
    assert "busy" not in text


def test_the_log_warns_of_an_outage_and_of_its_end_and_names_a_pause(caplog):
    """At the levels at which jobs are run."""
    caplog.set_level(logging.INFO, "profile_history")

    async def main():
        outage = [failing(500)] * 10
        async with (
            Script(failing(429, "Retry-After: 30"), *outage, rest=GOOD) as server,
            client_of(server, retry=RetryPolicy(attempts=50), pacing=Pacing(concurrency=8, adaptive=False)) as client,
        ):
            await client.histories(PROFILES[:12]).collect()

    run_virtually(main())
    lines = [record.getMessage() for record in caplog.records if record.name == "profile_history"]
    assert "throttled: 8 requests at once from now on, pausing for 30 s" in lines
    assert any(line.startswith("the server fails for everyone (10 failures in a row): waiting") for line in lines)
    assert any(line.startswith("the server responds again after ") for line in lines)


async def test_nothing_is_made_to_be_told_where_nobody_listens(caplog):
    """Without a hook and without the log, no observation of an attempt is built."""
    caplog.set_level(logging.WARNING, "profile_history")
    async with Script(failing(500), rest=GOOD) as server, client_of(server) as client:
        # That nothing is made cannot be seen by one who is told.
        assert not client._core.shared.observer.enabled
        assert len(await client.history(ONE).collect()) == 1
    assert not [record for record in caplog.records if record.name == "profile_history"]
