"""One profile and many, through the public client, against the real server."""

import asyncio
import datetime as dt
import gc
import itertools
import random
import traceback
from collections import Counter

import attrs
import pytest
from support.virtual_clock import run_virtually

from profile_history import (
    ApiError,
    AttemptTimeout,
    AuthenticationError,
    ConfigurationError,
    DeadlineExceeded,
    DecodeError,
    HistoryError,
    Limits,
    Pacing,
    Profile,
    ResponseTooLarge,
    RetryPolicy,
    Timeouts,
    TruncatedResponse,
    UsageError,
    Window,
)
from profile_history._protocol.envelope import CHUNK_SIZE
from profile_history._scheduling.worker_pool import WorkerPool
from profile_history._sending.transport import Transport
from profile_history.testing import Behaviour, Fault, FaultPlan, HistoryServer
from profile_history.windows import Order, parse_window

FIRST, LAST = "2023-01-01", "2024-12-31"
DEAD = 5


def busiest(server, count=1):
    """The profiles with the most events."""
    return sorted(server.profiles(), key=lambda profile: -len(server.truth(profile)))[:count]


def unordered(events):
    return Counter(events)


async def test_one_history_arrives_whole_and_newest_first(server):
    """No dates sent, one request."""
    profile = busiest(server)[0]
    async with server.client() as client:
        events = await client.history(profile).collect()

    assert events == server.truth(profile)
    assert len(server.log) == 1
    assert (server.log[0].date_from, server.log[0].date_to) == (None, None)


async def test_events_come_one_by_one_with_everything_the_row_says(server):
    """The three lines of an application developer."""
    profile = busiest(server)[0]
    async with server.client() as client:
        seen = [(event.datetime, event.action.channel) async for event in client.history(profile, FIRST, LAST)]
    assert seen == [(event.datetime, event.action.channel) for event in server.truth(profile)]


async def test_oldest_first_keeps_ties_as_the_server_gave_them(server):
    """Stable in both directions, across windows too."""
    profile = busiest(server)[0]
    server.behaviour = Behaviour(order="oldest")
    async with server.client(order="oldest", window=7) as client:
        events = await client.history(profile, FIRST, LAST).collect()
    assert events == sorted(server.truth(profile), key=lambda event: event.datetime)


async def test_many_histories_arrive_whole_each_in_its_own_order(server):
    """Whatever the order across profiles."""
    received = {}
    async with server.client() as client, client.histories(server.profiles(), FIRST, LAST) as stream:
        async for profile, event in stream:
            received.setdefault(profile, []).append(event)
    assert received == {profile: truth for profile in server.profiles() if (truth := server.truth(profile))}
    assert stream.stats.profiles == stream.stats.profiles_done == 30
    assert stream.stats.events == sum(map(len, received.values()))
    assert stream.stats.windows == stream.stats.requests == stream.stats.attempts == 30
    assert stream.stats.windows_empty == 30 - len(received)
    assert stream.stats.seconds > 0
    assert stream.failures == stream.quarantined == []


async def test_profiles_may_come_from_an_asynchronous_source_and_are_read_only_as_needed(server):
    """A million profiles are never in memory at once."""
    given = []

    async def endless():
        for number in itertools.count():
            given.append(number)
            yield server.profile(number % 30)

    async with server.client(pacing=Pacing(concurrency=2)) as client, client.histories(endless()) as stream:
        async for _ in stream:
            break
    assert len(given) < 30


async def test_an_asynchronous_source_may_end(server):
    """Then so does the stream."""

    async def three():
        for number in range(3):
            yield server.profile(number)

    async with server.client() as client:
        pairs = await client.histories(three()).collect()
    assert Counter(pairs) == Counter((p, e) for p in map(server.profile, range(3)) for e in server.truth(p))


async def test_a_synchronous_generator_is_read_only_as_needed(server):
    """Likewise."""
    given = []
    source = (given.append(number) or server.profile(number % 30) for number in itertools.count())
    async with server.client(pacing=Pacing(concurrency=2)) as client, client.histories(source) as stream:
        async for _ in stream:
            break
    assert len(given) < 30


async def test_no_profiles_are_no_events(server):
    """An empty job is done at once."""
    async with server.client() as client:
        assert await client.histories([]).collect() == []


async def test_an_error_of_the_source_reaches_the_consumer_as_it_is(server):
    """The caller's own bug is not dressed up."""

    def broken():
        yield server.profile(1)
        raise LookupError("the caller's own")

    async with server.client() as client:
        with pytest.raises(LookupError, match="the caller's own"):
            await client.histories(broken()).collect()


async def test_something_else_than_a_profile_is_refused(server):
    """With a word on what to pass."""
    async with server.client() as client:
        with pytest.raises(ConfigurationError, match=r"such as Profile.email\(...\), not str"):
            await client.histories(["john@example.com"]).collect()
        with pytest.raises(ConfigurationError, match="profiles is an iterable of Profile values, not str"):
            client.histories("john@example.com")
        with pytest.raises(ConfigurationError, match="profiles is an iterable"):
            client.histories(Profile.email("john@example.com"))
    assert not server.log


async def test_the_page_view_has_one_item_a_window_with_its_outcome(server):
    """Empty windows are items too."""
    profile = busiest(server)[0]
    async with server.client(window=61, order="oldest") as client:
        stream = client.history(profile, FIRST, LAST).windows()
        results = [result async for result in stream]
    assert [result.window for result in results] == list(
        Window(*map(dt.date.fromisoformat, (FIRST, LAST))).divide(61, Order.OLDEST, None)
    )
    assert unordered(event for result in results for event in result.events) == unordered(server.truth(profile))
    assert all(result.profile == profile and result.error is None for result in results)


@pytest.mark.parametrize("view", ["events", "windows"])
async def test_a_dead_profile_costs_no_other_profile_anything(server, swift, view):
    """It is named in the failures, with the number of attempts; the others are whole."""
    server.faults = FaultPlan.always(Fault.ERROR_500, profiles=[DEAD])
    received = []
    async with (
        server.client(retry=swift) as client,
        client.histories(server.profiles(), FIRST, LAST, on_error="collect") as stream,
    ):
        if view == "events":
            received = [event async for _, event in stream]
        else:
            results = [result async for result in stream.windows()]
            received = [event for result in results for event in result.events]
            assert [type(result.error) for result in results if result.error] == [ApiError]
    others = [profile for profile in server.profiles() if profile != server.profile(DEAD)]
    assert unordered(received) == unordered(event for profile in others for event in server.truth(profile))
    [failure] = stream.failures
    assert failure.profile == failure.error.profile == server.profile(DEAD)
    assert failure.error.http_status == 500
    assert failure.error.attempts == 12
    assert len({entry.request_id for entry in server.log if entry.profile == DEAD}) == 1
    assert stream.stats.windows_failed == 1


async def test_by_default_the_first_failed_window_ends_the_stream_with_its_error(server, swift):
    """What was fetched before it is handed out first, in order."""
    profile = busiest(server)[0]
    truth = server.truth(profile)
    half = truth[len(truth) // 2].datetime.date()
    server.faults = FaultPlan.always(Fault.API_ERROR)
    server.faults = FaultPlan(rates={Fault.API_ERROR: 1.0}, streak=None, api_error=440)
    received = []
    async with server.client(retry=swift, window=30, border="exact") as client:
        draw = FaultPlan.draw

        def only_old(self, number, window, attempt):
            return draw(self, number, window, attempt) if window[:10] < half.isoformat() else None

        type(server.faults).draw = only_old
        try:
            with pytest.raises(ApiError) as caught:
                async for event in client.history(profile, FIRST, LAST):
                    received.append(event)
        finally:
            type(server.faults).draw = draw
    assert caught.value.code == 440
    assert caught.value.window is not None
    assert received == truth[: len(received)]
    assert received


async def test_a_bad_token_stops_everything_at_once_whatever_on_error_says(server):
    """No more requests than were on their way."""
    async with server.client(token="wrong") as client:
        for on_error in ("raise", "collect"):
            with pytest.raises(AuthenticationError) as caught:
                await client.histories(server.profiles(), on_error=on_error).collect()
            assert caught.value.code == 403
        with pytest.raises(AuthenticationError):
            await client.histories(server.profiles()).windows().collect()
    assert len(server.log) <= 3 * 4
    assert "wrong" not in str(caught.value)


async def test_a_token_revoked_in_the_middle_stops_the_stream_after_what_was_verified(server):
    """The error comes once, and no request follows."""
    received = []
    async with server.client(pacing=Pacing(concurrency=1)) as client:
        stream = client.histories(itertools.cycle(server.profiles()), on_error="collect")
        with pytest.raises(AuthenticationError):
            async for _, event in stream:
                received.append(event)
                server.token = "another"
        sent = len(server.log)
        await asyncio.sleep(0.05)
        assert len(server.log) == sent
    assert received


async def test_a_row_that_cannot_be_read_is_set_apart_and_the_others_flow(server, monkeypatch):
    """Its reason, its bytes and its window are kept; strict makes it an error."""
    number = 1
    profile, truth = server.profile(number), server.truth(server.profile(number))
    poison(monkeypatch, server, [b'{"action":"","datetime":"2024-06-01T10:00:00Z"}'])
    async with server.client() as client, client.history(profile, FIRST, LAST) as stream:
        assert unordered([event async for event in stream]) == unordered(truth)
        [row] = stream.quarantined
        assert row.raw == b'{"action":"","datetime":"2024-06-01T10:00:00Z"}'
        assert row.profile == profile
        assert "action" in row.reason
        assert stream.stats.quarantined == 1
        with pytest.raises(DecodeError) as caught:
            await client.history(profile, FIRST, LAST, strict=True).collect()
        assert caught.value.path == "$.data[0]"
        assert caught.value.profile == profile
        [result] = await client.history(profile, FIRST, LAST).windows().collect()
        assert [found.raw for found in result.quarantined] == [row.raw]
        [result] = await client.history(profile, FIRST, LAST, strict=True).windows().collect()
        assert isinstance(result.error, DecodeError)


async def test_a_row_set_apart_belongs_to_the_window_of_its_day_alone(server, monkeypatch):
    """Overlapping requests do not set it apart twice, unless its day cannot be read."""
    dated, undated = b'{"action":"","datetime":"2024-06-01T10:00:00Z"}', b"null"
    poison(monkeypatch, server, [dated, undated])
    async with server.client(window=100) as client, client.history(server.profile(1), FIRST, LAST) as stream:
        async for _ in stream:
            pass
    found = Counter(row.raw for row in stream.quarantined)
    assert found == {dated: 1, undated: stream.stats.windows}


def poison(monkeypatch, server, rows):
    """Makes the server put rows in front of every answer."""
    answer = type(server)._answer

    def poisoned(self, body):
        number, good = answer(self, body)
        good.body = good.body.replace(b'{"data":[', b'{"data":[' + b",".join(rows) + b",", 1).replace(b",]", b"]", 1)
        return number, good

    monkeypatch.setattr(type(server), "_answer", poisoned)


async def test_a_deadline_ends_a_stream_that_is_not_complete(server):
    """In seconds from the first step, also while nothing arrives."""
    server.faults = FaultPlan.always(Fault.STALL)
    async with server.client() as client:
        with pytest.raises(DeadlineExceeded, match=r"deadline=0.05 seconds"):
            await client.history(server.profile(1), deadline=0.05).collect()


async def test_a_deadline_that_passes_after_everything_was_handed_out_is_kept(server):
    """Late is only what is missing."""
    profile = busiest(server)[0]
    async with server.client() as client, client.history(profile, deadline=5) as stream:
        for _ in server.truth(profile):
            await anext(stream)
        stream._reader.run._ends_at -= 6
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


async def test_a_deadline_that_is_kept_changes_nothing(server):
    """A generous one."""
    async with server.client() as client:
        assert await client.history(server.profile(1), deadline=60).collect() == server.truth(server.profile(1))


def is_wide(window):
    """Whether a request's dates, "None" for an open end, take in more than 200 days of the server's histories."""
    first, _, last = window.partition("..")
    first, last = max(first.replace("None", ""), FIRST), min(last.replace("None", "9"), LAST)
    return first <= last and parse_window(first, last).days(None) > 200


class StallWide(FaultPlan):
    """Never answers a request for many days."""

    def draw(self, profile, window, attempt):
        return Fault.STALL if is_wide(window) else None


@pytest.mark.parametrize(
    ("options", "faults", "behaviour"),
    [
        ({"timeouts": Timeouts(read=0.3)}, StallWide(), Behaviour()),
        ({"limits": Limits(body=3000)}, FaultPlan(), Behaviour()),
        ({"limits": Limits(row_cap=40)}, FaultPlan(), Behaviour(row_cap=40)),
    ],
    ids=["two timeouts", "too many bytes", "row cap"],
)
async def test_a_range_that_proves_too_much_is_halved_until_it_fits(server, swift, options, faults, behaviour):
    """Nothing is lost, nothing doubled, the order holds."""
    profile = busiest(server)[0]
    server.faults, server.behaviour = faults, behaviour
    async with server.client(retry=swift, **options) as client, client.history(profile, FIRST, LAST) as stream:
        events = [event async for event in stream]
    assert events == server.truth(profile)
    assert stream.stats.windows_split > 0
    assert stream.stats.retries == stream.stats.windows_split * isinstance(faults, StallWide)


@pytest.mark.parametrize("status", [413, 504])
async def test_a_server_that_says_it_is_too_much_is_asked_for_half(server, monkeypatch, status):
    """HTTP 413 and 504 are evidence at once; an open range can be halved as well."""
    answer = type(server)._answer

    def refusing(self, body):
        wide = is_wide(f"{body.get('date_from')}..{body.get('date_to')}")
        return (None, self._error(status, "too much")) if wide else answer(self, body)

    monkeypatch.setattr(type(server), "_answer", refusing)
    profile = busiest(server)[0]
    async with server.client() as client:
        for dates in ((FIRST, LAST), (FIRST, None), (None, LAST)):
            async with client.history(profile, *dates) as stream:
                assert [event async for event in stream] == server.truth(profile)
                assert stream.stats.retries == 0


async def test_a_single_day_that_is_still_too_much_is_one_failed_window_with_a_hint(server):
    """The rest goes on."""
    profile = busiest(server)[0]
    crowded = Counter(event.datetime.date() for event in server.truth(profile)).most_common(1)[0]
    async with server.client(limits=Limits(body=60 * crowded[1])) as client:
        stream = client.history(profile, FIRST, LAST, on_error="collect")
        events = await stream.collect()
    assert stream.failures
    assert all(isinstance(failure.error, ResponseTooLarge) for failure in stream.failures)
    assert all(failure.window.date_from == failure.window.date_to for failure in stream.failures)
    assert "not even a single day" in str(stream.failures[0].error)
    lost = {failure.window.date_from for failure in stream.failures}
    assert events == [event for event in server.truth(profile) if event.datetime.date() not in lost]


async def test_a_fixed_length_is_honoured_as_given(server):
    """Too much is then a failure that says what to change; a full row cap is never taken for the whole."""
    profile = busiest(server)[0]
    server.behaviour = Behaviour(row_cap=10)
    async with server.client(window=731, limits=Limits(row_cap=10)) as client:
        with pytest.raises(TruncatedResponse, match=r"exactly row_cap=10 rows.*window=\"auto\""):
            await client.history(profile, FIRST, LAST).collect()
    assert len(server.log) == 1


async def test_verified_answers_wait_as_bytes_no_more_than_allowed(server):
    """A consumer that does not read stops the fetching; what found no room is asked for again when there is."""
    async with (
        server.client(limits=Limits(in_flight=1), pacing=Pacing(concurrency=4)) as client,
        client.histories(server.profiles()) as stream,
    ):
        await anext(stream)
        await asyncio.sleep(0.1)
        assert len(server.log) <= 2 * 4 + 1
        rest = [item async for item in stream]
    assert len(rest) + 1 == sum(len(server.truth(profile)) for profile in server.profiles())


async def test_verified_answers_wait_no_more_than_four_windows_a_request(server):
    """However small they are."""
    async with (
        server.client(window=1, pacing=Pacing(concurrency=2)) as client,
        client.history(busiest(server)[0], FIRST, LAST) as stream,
    ):
        await anext(stream)
        await asyncio.sleep(0.1)
        verified_without_events = stream.stats.windows_empty
        assert len(server.log) <= 4 * 2 + verified_without_events + 1


async def test_one_huge_profile_does_not_hold_up_the_others(server):
    """With one request at a time, 731 windows of one profile and 29 others take turns."""
    server.behaviour = Behaviour(latency=0.001)
    order = []
    async with (
        server.client(window=1, pacing=Pacing(concurrency=1)) as client,
        client.histories([server.profile(1), server.profile(2)], "2024-01-01", "2024-03-31").windows() as stream,
    ):
        async for result in stream:
            order.append(result.profile)
    middle = order[: len(order) // 2]
    assert abs(middle.count(server.profile(1)) - middle.count(server.profile(2))) <= 10


# Clean-up


def tasks():
    return asyncio.all_tasks() - {asyncio.current_task()}


def ours():
    return [task for task in tasks() if "profile_history/running" in str(task.get_coro().cr_code.co_filename)]


async def test_a_break_in_an_async_with_leaves_no_task(server):
    """The work is cancelled and awaited before the block ends."""
    async with server.client() as client:
        async with client.histories(server.profiles()) as stream:
            async for _ in stream:
                break
        assert ours() == []


async def test_an_error_in_the_consumer_leaves_no_task(server):
    """Likewise, and the error is the consumer's own."""
    async with server.client() as client:
        with pytest.raises(ZeroDivisionError):
            async with client.histories(server.profiles()) as stream:
                async for _ in stream:
                    raise ZeroDivisionError
        assert ours() == []


async def test_a_break_in_a_bare_loop_cleans_up_when_the_stream_is_dropped(server):
    """By the event loop's own hook, without the garbage collector."""
    async with server.client() as client:
        gc.disable()
        try:
            async for _ in client.histories(server.profiles()):
                break
            for _ in range(20):
                await asyncio.sleep(0)
            assert ours() == []
        finally:
            gc.enable()


async def test_a_stream_that_was_left_by_break_does_not_hold_up_the_next_start(server):
    """Fifty times at once with one request at a time: each new stream is served at once, and the last is whole."""
    profile = busiest(server)[0]
    async with server.client(pacing=Pacing(concurrency=1), window=30) as client:
        for _ in range(50):
            async for _ in client.history(profile, FIRST, LAST):
                break
        assert await client.history(profile, FIRST, LAST).collect()
        assert ours() == []
    assert len(server.log) < 300


async def test_a_cancelled_consumer_leaves_no_task(server):
    """The cancellation arrives, and the work is gone when it does."""
    server.faults = FaultPlan.always(Fault.STALL)
    async with server.client() as client:

        async def consume():
            return await client.histories(server.profiles()).collect()

        consumer = asyncio.create_task(consume())
        while not server.log:
            await asyncio.sleep(0.001)
        consumer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await consumer
        assert ours() == []


async def test_a_cancellation_that_is_swallowed_on_its_way_does_not_keep_the_stream_from_closing(server, monkeypatch):
    """As happens where it meets a timeout of the HTTP library's own."""
    server.faults = FaultPlan.always(Fault.STALL)
    send = Transport.send

    async def swallowing(self, *arguments, **options):
        try:
            return await send(self, *arguments, **options)
        except asyncio.CancelledError:
            raise AttemptTimeout("it seemed so") from None

    monkeypatch.setattr(Transport, "send", swallowing)
    async with server.client(retry=RetryPolicy(attempts=1, passes=1)) as client:
        stream = client.histories(server.profiles(), on_error="collect")
        reading = asyncio.create_task(anext(stream))
        while not server.log:
            await asyncio.sleep(0.001)
        sent = len(server.log)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(reading, 10)
        assert ours() == []
        assert len(server.log) <= sent + 4


async def test_a_second_cancellation_during_the_clean_up_is_not_lost_either(server):
    """It is raised once everything has ended."""
    async with server.client() as client:
        stream = client.histories(server.profiles())
        await anext(stream)
        closing = asyncio.create_task(stream.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert ours() == []


async def test_closing_a_stream_twice_is_harmless_and_reading_it_after_is_refused(server):
    """With a word on what to do."""
    async with server.client() as client:
        stream = client.history(server.profile(1))
        await stream.aclose()
        await stream.aclose()
        with pytest.raises(UsageError, match="ask the client for a new one"):
            await stream.collect()
        read = client.history(server.profile(1))
        await read.collect()
        with pytest.raises(UsageError, match="read to its end or closed"):
            await read.collect()
        with pytest.raises(UsageError, match="this stream is closed"):
            await anext(read.windows())


async def test_a_stream_closed_by_another_task_ends_its_reader_with_an_error(server):
    """A cut history never looks complete."""
    server.faults = FaultPlan.always(Fault.STALL)
    async with server.client() as client:
        stream = client.histories(server.profiles())

        async def consume():
            return [item async for item in stream]

        reader = asyncio.create_task(consume())
        while not server.log:
            await asyncio.sleep(0.001)
        await stream.aclose()
        with pytest.raises(UsageError, match="closed while it was being read"):
            await reader


async def test_a_stream_closed_between_two_steps_by_another_task_does_not_look_complete(server):
    """What was verified and begun is handed out, and then comes an error, not an end."""
    async with server.client() as client:
        stream = client.histories(server.profiles())
        await anext(stream)
        await asyncio.create_task(stream.aclose())
        with pytest.raises(UsageError, match="closed while it was being read"):
            while True:
                await anext(stream)
        with pytest.raises(UsageError, match="closed before its end"):
            await anext(stream)


async def test_a_stream_read_to_its_end_ends_for_anext_too(server):
    """As every asynchronous iterator does."""
    async with server.client() as client:
        stream = client.histories([])
        for _ in range(2):
            with pytest.raises(StopAsyncIteration):
                await anext(stream)


async def test_events_and_windows_of_one_stream_are_not_read_both(server):
    """They would take each other's windows away."""
    async with server.client() as client, client.histories(server.profiles()) as stream:
        await anext(stream)
        with pytest.raises(UsageError, match="read its events or its windows"):
            await anext(stream.windows())


async def test_a_source_that_cancels_itself_ends_the_stream_with_an_error(server):
    """Nobody waits for profiles that will not come."""

    async def broken():
        yield server.profile(1)
        raise asyncio.CancelledError

    async with server.client() as client:
        with pytest.raises(HistoryError, match="something cancelled the work"):
            await asyncio.wait_for(client.histories(broken()).collect(), 10)


async def test_a_source_cannot_close_the_stream_or_the_client_that_reads_it(server):
    """It would wait for itself."""
    async with server.client() as client:
        for closed in ("stream", "client"):
            held = []

            async def closing(closed=closed, held=held):
                yield server.profile(1)
                await (held[0] if closed == "stream" else client).aclose()

            stream = client.histories(closing())
            held.append(stream)
            with pytest.raises(UsageError, match="cannot close the stream that reads it"):
                await asyncio.wait_for(stream.collect(), 10)


async def test_a_source_that_only_the_stream_holds_is_closed_with_it(server):
    """So that its own `finally` runs, as a database cursor wants."""
    ended = []

    async def source():
        try:
            for number in itertools.count():
                yield server.profile(number % 30)
        finally:
            ended.append(True)

    async with server.client(pacing=Pacing(concurrency=1)) as client:
        async with client.histories(source()) as stream:
            await anext(stream)
        for _ in range(5):
            await asyncio.sleep(0)
        assert ended == [True]


async def test_a_window_refused_for_one_row_does_not_keep_its_other_events(server, monkeypatch):
    """Its error is kept, and the error's frames held them all."""
    poison(monkeypatch, server, [b"null"])
    async with server.client() as client:
        stream = client.history(busiest(server)[0], FIRST, LAST, strict=True, on_error="collect")
        assert await stream.collect() == []
    [failure] = stream.failures
    assert failure.error.__traceback__ is None


async def test_failures_do_not_keep_the_answers_they_came_from(server, swift):
    """A million failed windows cost a million short errors, not a million answers."""
    server.faults = FaultPlan.always(Fault.API_ERROR)
    async with server.client(retry=swift) as client:
        stream = client.histories(server.profiles()[:2], on_error="collect").windows()
        results = await stream.collect()
    assert len(results) == 2
    for result in results:
        frames = [frame for frame, _ in traceback.walk_tb(result.error.__traceback__)]
        assert not any("reply" in frame.f_locals for frame in frames)


async def test_a_second_consumer_is_refused(server):
    """While the first is at work; afterwards another task may go on."""
    async with server.client() as client, client.histories(server.profiles()) as stream:

        async def one():
            return await anext(stream)

        await asyncio.create_task(one())
        await anext(stream)
        with pytest.raises(UsageError, match="it has one consumer"):
            await asyncio.create_task(one())


async def test_a_stream_that_is_never_read_costs_nothing(server):
    """No request, no task, no warning."""
    async with server.client() as client:
        client.histories(server.profiles())
        async with client.history(server.profile(1)) as unread:
            pass
        assert unread.stats.seconds == 0
        assert ours() == []
    assert not server.log


async def test_all_errors_of_a_stream_are_history_errors_and_name_their_window(server, swift):
    """Whatever fault it was."""
    for fault in set(Fault.transient()) - {Fault.SLOW_FIRST_BYTE}:
        server.faults = attrs.evolve(FaultPlan.always(fault), retry_after=0)
        async with server.client(retry=swift, timeouts=Timeouts(read=0.02)) as client:
            with pytest.raises(HistoryError) as caught:
                await client.history(server.profile(1), "2024-01-01", "2024-01-01").collect()
            error = caught.value
            assert error.profile == server.profile(1)
            assert str(error.window) == "2024-01-01..2024-01-01"
            assert error.attempts >= 1
            assert error.request_id in {entry.request_id for entry in server.log}
            assert str(error.profile) in str(error)


def test_the_retry_waits_hold_no_place_of_a_request():
    """While ten of thirty profiles wait minutes for their retries, the only place serves the others."""
    ill = set(range(0, 30, 3))

    async def order():
        async with HistoryServer(profiles=30, faults=FaultPlan(script=[Fault.ERROR_500], profiles=ill)) as server:
            slow, alone = RetryPolicy(base=300, cap=300), Pacing(concurrency=1)
            async with server.client(pacing=alone, retry=slow) as client:
                stream = client.histories(server.profiles()).windows()
                return [server.profiles().index(result.profile) async for result in stream]

    random.seed(1)
    done = run_virtually(order())
    assert set(done[:20]) == set(range(30)) - ill
    assert set(done[20:]) == ill


async def test_rows_nested_too_deeply_for_the_stack_are_a_failed_window_with_its_name(server, monkeypatch):
    """Not a crash of the consumer."""
    monkeypatch.setattr(
        "profile_history._decoding.row_decoder.split_rows", lambda _: (_ for _ in ()).throw(RecursionError())
    )
    poison(monkeypatch, server, [b"null"])
    async with server.client() as client:
        with pytest.raises(DecodeError, match="nested too deeply") as caught:
            await client.history(server.profile(1)).collect()
    assert caught.value.profile == server.profile(1)


async def test_the_event_loop_turns_while_a_large_answer_is_verified_decoded_and_handed_out(server, monkeypatch):
    """At least once a slice in each of the three; here every pause counts as long, so that no clock decides."""
    rows = [
        b'{"action":"send","datetime":"2024-06-01T10:00:%02dZ","email":"%040d"}' % (i % 60, i) for i in range(20_000)
    ]
    poison(monkeypatch, server, rows)
    monkeypatch.setattr("profile_history._aio.MAX_SLICE_SECONDS", -1)
    turns = 0

    async def turning():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with server.client() as client, client.history(server.profile(1), FIRST, LAST) as stream:
        ticker = asyncio.create_task(turning())
        verified = await anext(stream)
        until_first = turns
        rest = [event async for event in stream]
        ticker.cancel()
    slices = stream.stats.bytes // CHUNK_SIZE
    assert verified is not None
    assert len(rest) + 1 == 20_000 + len(server.truth(server.profile(1)))
    assert slices > 40
    assert until_first > 2 * slices * 0.9
    assert turns - until_first > slices * 0.9


@pytest.mark.parametrize("view", ["pairs", "windows"])
async def test_the_event_loop_turns_in_the_other_views_as_well(server, monkeypatch, view):
    """Pairs and windows pause like events."""
    poison(monkeypatch, server, [b'{"action":"send","datetime":"2024-06-01T10:00:00Z"}'] * 20_000)
    monkeypatch.setattr("profile_history._aio.MAX_SLICE_SECONDS", -1)
    pauses = 0
    yield_to_loop = WorkerPool.yield_to_loop

    async def counted(self):
        nonlocal pauses
        pauses += 1
        await yield_to_loop(self)

    monkeypatch.setattr(WorkerPool, "yield_to_loop", counted)
    async with server.client() as client, client.histories([server.profile(1)], FIRST, LAST) as stream:
        items = stream if view == "pairs" else stream.windows()
        async for _ in items:
            pass
    assert pauses > 2 * (stream.stats.bytes // CHUNK_SIZE) * 0.9
