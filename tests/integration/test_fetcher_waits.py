"""What the server asks for, and what its failures say of the server: pauses, outages, probes."""

import asyncio

import attrs
import pytest
from support.by_profile import GOOD, ONE, PROFILES, QUICK, ByProfile, client_of, envelope, failing, now, said, those
from support.scripts import Script, hang_up, http, last, silence
from support.virtual_clock import run_virtually

from profile_history import (
    ApiError,
    AttemptEnded,
    CircuitClosed,
    CircuitOpened,
    Pacing,
    RateLimited,
    RetryPolicy,
    ServerUnavailable,
)

# ---- What the server asks for ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("patience", "seconds"), [(60, 121), (130, 131), (130, 3600), (60, 999_999_999)])
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("on_error", ["raise", "collect"])
def test_a_server_that_asks_to_wait_for_too_long_ends_the_stream(patience, seconds, status, on_error):
    """At once, with the number and with what to raise; nobody sleeps, and the rest is not tried."""

    async def main():
        async with (
            Script(GOOD, rest=failing(status, f"Retry-After: {seconds}")) as server,
            client_of(server, retry=attrs.evolve(QUICK, patience=float(patience))) as client,
        ):
            stream = client.histories(PROFILES, on_error=on_error)
            with pytest.raises(ApiError) as caught:
                await stream.collect()
            assert len(server.requests) == 2
            return caught.value, now()

    error, end = run_virtually(main())
    assert end < 1
    assert error.fatal
    assert isinstance(error, RateLimited) == (status == 429)
    assert f"the server asks to wait for {seconds:g} s; do so, or raise RetryPolicy.patience" in str(error)


@pytest.mark.parametrize(("patience", "seconds"), [(60, 120), (1, 100), (130, 130), (500, 400)])
@pytest.mark.parametrize("status", [429, 503])
def test_a_wait_that_is_not_too_long_is_kept(patience, seconds, status):
    """Up to 120 s, or up to the patience where that is more; never shorter than asked, and at most a tenth longer."""

    async def main():
        async with (
            Script(failing(status, f"Retry-After: {seconds}"), rest=GOOD) as server,
            client_of(server, retry=attrs.evolve(QUICK, patience=float(patience))) as client,
        ):
            assert len(await client.history(ONE).collect()) == 1
            return server.times

    first, second = run_virtually(main())
    assert seconds <= second - first <= 1.1 * seconds + 0.1


@pytest.mark.parametrize("status", [429, 503])
def test_a_wait_that_is_asked_for_pauses_the_whole_client(status):
    """Other windows, other streams and copies with other options send nothing either, though they have places."""

    async def main():
        pacing = Pacing(concurrency=4, adaptive=False)
        async with (
            ByProfile({0: [failing(status, "Retry-After: 50")]}) as server,
            client_of(server, pacing=pacing) as client,
        ):
            first = asyncio.create_task(client.histories(PROFILES[:9]).collect())
            while not server.requests:
                await asyncio.sleep(0)
            await asyncio.sleep(1)
            asked = len(server.asked)
            copy = client.with_options(list_id=21)
            others = client.histories(PROFILES[10:12]).collect(), copy.histories(PROFILES[12:14]).collect()
            await asyncio.gather(first, *others)
            return asked, server.asked, server.times

    at_once, asked, times = run_virtually(main())
    assert len(asked) == 14
    assert at_once <= 4
    assert all(time < 1 for time in times[:at_once])
    assert all(time >= 50 for time in times[at_once:])


def test_an_error_that_no_wait_heals_does_not_pause_anybody():
    """A `Retry-After` on a 400 is the server's own affair."""

    async def main():
        async with (
            ByProfile({0: [failing(400, "Retry-After: 100")], 1: [failing(400, "Retry-After: 9999")]}) as server,
            client_of(server) as client,
        ):
            stream = client.histories(PROFILES[:5], on_error="collect")
            await stream.collect()
            return len(stream.failures), now()

    failures, end = run_virtually(main())
    assert (failures, end) == (2, pytest.approx(0, abs=0.1))


def test_a_suspect_answer_that_asks_to_wait_for_too_long_ends_the_stream_too():
    """Nobody sleeps for five minutes where two are the most."""

    async def main():
        async with Script(rest=failing(999, "Retry-After: 300")) as server, client_of(server) as client:
            with pytest.raises(ApiError):
                await client.history(ONE).collect()
            return now()

    assert run_virtually(main()) < 1


# ---- What the server's failures say of the server --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("turn", "times", "slower"),
    [
        (failing(429), 1, True),
        (failing(503), 5, True),
        (failing(503), 4, False),
        (silence, 5, True),
        (silence, 4, False),
        (failing(500), 11, False),
        (hang_up, 11, False),
        (last(GOOD[:-3]), 11, False),
        (failing(400), 1, False),
        (GOOD, 1, False),
    ],
    ids=["429", "503s", "some 503s", "timeouts", "some timeouts", "500", "hung up", "cut", "400", "an answer"],
)
def test_the_client_slows_down_where_the_server_has_too_much_to_do(turn, times, slower):
    """It says so, or answers many times with 503 or not at all; other failures have other reasons."""

    async def main():
        async with ByProfile({0: [turn] * times}) as server, client_of(server, pacing=Pacing(concurrency=8)) as client:
            before = client.pacing_state.limit
            await client.history(ONE, on_error="collect").collect()
            assert len(server.asked) >= times
            return before, client.pacing_state.limit

    before, after = run_virtually(main())
    assert (after < before) == slower


def test_a_probe_asks_for_what_was_answered_before():
    """A window that fails may be ill itself; that of the shortest response so far is not, and costs the least."""
    told = []

    async def main():
        class Outage(ByProfile):
            broken = False

            def choose(self, body):
                good = super().choose(body)
                return failing(500) if self.broken else good

        policy = RetryPolicy(base=0.001, patience=1000.0)
        async with (
            Outage({0: [http(envelope(5))], 1: [http(envelope(2))], 2: [http(envelope(4))]}) as server,
            client_of(server, retry=policy, pacing=Pacing(concurrency=2), on_event=told.append) as client,
        ):
            await client.histories(PROFILES[:3]).collect()
            server.broken = True
            stream = client.histories(PROFILES[3:20], on_error="collect")
            reading = asyncio.create_task(stream.collect())
            await asyncio.sleep(300)
            asked, probes = server.asked[3:], [head for _, head, _, _ in server.requests if b"probe-" in head]
            server.broken = False
            return asked, len(probes), len(await reading), stream

    asked, probes, events, stream = run_virtually(main())
    assert asked.count(1) == probes >= 4
    assert probes + 20 > len(asked)
    assert (events, stream.failures) == (17, [])
    assert stream.stats.bytes == 17 * len(envelope(1))
    assert stream.stats.in_flight == 0


def test_a_probe_that_is_answered_with_too_long_a_wait_ends_the_stream():
    """The patience for an outage would be spent asleep."""
    turns = {1: [GOOD, failing(503, "Retry-After: 3600")]}

    async def main():
        async with (
            ByProfile(turns, rest=failing(500)) as server,
            client_of(server, retry=RetryPolicy(patience=900.0)) as client,
        ):
            await client.history(PROFILES[1]).collect()
            with pytest.raises(ApiError, match="the server asks to wait for 3600 s") as caught:
                await client.histories(PROFILES[3:20], on_error="collect").collect()
            return caught.value, server.asked, now()

    error, asked, end = run_virtually(main())
    assert error.fatal
    assert asked.count(1) == 2
    assert end < 60


def test_a_stream_that_is_cancelled_while_it_probes_holds_no_place():
    """The next one of the same client probes at once, and is fetched."""

    async def main():
        class Outage(ByProfile):
            broken = None

            def choose(self, body):
                good = super().choose(body)
                return self.broken or good

        async with Outage({}) as server, client_of(server, retry=RetryPolicy(patience=900.0)) as client:
            await client.history(ONE).collect()
            server.broken = failing(500)
            reading = asyncio.create_task(client.histories(PROFILES[1:20]).collect())
            await asyncio.sleep(30)
            server.broken = silence
            while b"probe-" not in server.requests[-1][1]:
                await asyncio.sleep(1)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            in_flight, server.broken = client.pacing_state.in_flight, None
            return in_flight, len(await client.histories(PROFILES[1:20]).collect())

    assert run_virtually(main()) == (0, 19)


def test_an_answer_that_was_refused_is_asked_for_by_no_probe():
    """Only whole, verified responses show what a healthy server is able to do."""

    async def main():
        async with (
            ByProfile({0: [failing(400)], 1: [http(envelope()[:-5])] * 12}) as server,
            client_of(server) as client,
        ):
            await client.histories(PROFILES[:2], on_error="collect").collect()
            # What a probe would ask for, without an outage.
            probe = client._core.fetcher.health_probe
            before = [probe.request() for _ in range(2)]
            await client.history(PROFILES[2]).collect()
            return before, [probe.request() for _ in range(2)]

    before, (after, other) = run_virtually(main())
    assert before == [None, None]
    assert after[0].profile == PROFILES[2]
    assert other is None


def test_an_outage_costs_no_window_and_hardly_a_request():
    """While the server fails for everyone one probe at a time is sent, and no window pays for it."""
    told = []

    async def main():
        broken = asyncio.Event()
        broken.set()

        class Outage(Script):
            def choose(self, body):
                return failing(500) if broken.is_set() else GOOD

        policy = RetryPolicy(attempts=2, passes=1, base=0.001, patience=1000.0)
        async with (
            Outage() as server,
            client_of(server, retry=policy, pacing=Pacing(concurrency=8), on_event=told.append) as client,
        ):
            stream = client.histories(PROFILES[:12], on_error="collect")
            reading = asyncio.create_task(stream.collect())
            await asyncio.sleep(600)
            in_the_outage = len(server.requests)
            broken.clear()
            return in_the_outage, len(await reading), stream.failures

    in_the_outage, events, failures = run_virtually(main())
    assert 24 < in_the_outage < 60
    assert (events, failures) == (12, [])
    assert len(those(told, CircuitOpened)) == len(those(told, CircuitClosed)) == 1
    failed = [event.error for event in those(told, AttemptEnded) if event.error]
    assert len(failed) == in_the_outage
    # Whoever keeps them does not keep the responses that their frames hold.
    assert all(error.__traceback__ is None for error in failed)


def test_a_probe_that_is_answered_with_a_fact_opens_the_way_for_the_others():
    """A 400 shows that the server is at work: its own window fails, the others are fetched, and at once."""
    told = []

    async def main():
        policy = RetryPolicy(attempts=50, patience=1000.0)
        outage = [failing(500)] * 10
        async with (
            Script(*outage, said(400), rest=GOOD) as server,
            client_of(server, retry=policy, pacing=Pacing(concurrency=1), on_event=told.append) as client,
        ):
            stream = client.histories(PROFILES[:12], on_error="collect")
            events = await stream.collect()
            return len(events), stream.failures, server.times

    events, failures, times = run_virtually(main())
    assert events == 11
    assert [failure.error.http_status for failure in failures] == [400]
    assert len(those(told, CircuitOpened)) == len(those(told, CircuitClosed)) == 1
    assert times[10] - times[9] >= 1
    assert times[11] - times[10] < 0.1


def test_a_server_that_stays_down_ends_the_stream_when_patience_does():
    """Not before, and with what to raise."""

    async def main():
        policy = RetryPolicy(patience=200.0)
        async with (
            Script(rest=failing(502)) as server,
            client_of(server, retry=policy, pacing=Pacing(concurrency=8)) as client,
        ):
            stream = client.histories(PROFILES, on_error="collect")
            with pytest.raises(ServerUnavailable, match=r"RetryPolicy\.patience is 200 s"):
                await stream.collect()
            return stream.failures, len(server.requests), now()

    failures, requests, end = run_virtually(main())
    assert failures == []
    assert requests < 40
    assert 200 <= end <= 260


def test_profiles_that_nobody_can_fetch_are_no_outage():
    """The probes show that the server answers, so the fault is theirs, and they fail with their own errors."""
    told, bad = [], (0, 3, 6)

    async def main():
        pacing = Pacing(concurrency=2, adaptive=False)
        turns = {number: [failing(500)] * 40 for number in bad}
        async with ByProfile(turns) as server, client_of(server, pacing=pacing, on_event=told.append) as client:
            stream = client.histories(PROFILES[:12], on_error="collect")
            await stream.collect()
            return stream.failures, [server.asked.count(number) for number in bad]

    failures, asked = run_virtually(main())
    assert len(failures) == 3
    assert all(isinstance(failure.error, ApiError) for failure in failures)
    assert all(12 <= count <= 14 for count in asked)
    assert len(those(told, CircuitOpened)) == len(those(told, CircuitClosed))
