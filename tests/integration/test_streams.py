"""One profile and many, through the public client, against the real server."""

import asyncio
import datetime as dt
import itertools
import traceback
from collections import Counter

import attrs
import pytest
from support.streams import DEAD, FIRST, LAST, busiest, poison
from support.virtual_clock import run_virtually

from profile_history import (
    ApiError,
    AuthenticationError,
    ConfigurationError,
    DeadlineExceeded,
    DecodeError,
    HistoryError,
    Pacing,
    Profile,
    Window,
)
from profile_history.testing import Behaviour, Fault, FaultPlan, HistoryServer
from profile_history.windows import Order


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
    """No more requests than were in flight."""
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
    poison(monkeypatch, [b'{"action":"","datetime":"2024-06-01T10:00:00Z"}'])
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
    poison(monkeypatch, [dated, undated])
    async with server.client(window=100) as client, client.history(server.profile(1), FIRST, LAST) as stream:
        async for _ in stream:
            pass
    found = Counter(row.raw for row in stream.quarantined)
    assert found == {dated: 1, undated: stream.stats.windows}


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
        # Stands for six seconds that pass.
        stream._reader.pool._ends_at -= 6
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


async def test_a_deadline_that_is_kept_changes_nothing(server):
    """A generous one."""
    async with server.client() as client:
        assert await client.history(server.profile(1), deadline=60).collect() == server.truth(server.profile(1))


async def test_a_window_refused_for_one_row_does_not_keep_its_other_events(server, monkeypatch):
    """Its error is kept, and the error's frames held them all."""
    poison(monkeypatch, [b"null"])
    async with server.client() as client:
        stream = client.history(busiest(server)[0], FIRST, LAST, strict=True, on_error="collect")
        assert await stream.collect() == []
    [failure] = stream.failures
    assert failure.error.__traceback__ is None


async def test_failures_do_not_keep_the_answers_they_came_from(server, swift):
    """A million failed windows cost a million short errors, not a million responses."""
    server.faults = FaultPlan.always(Fault.API_ERROR)
    async with server.client(retry=swift) as client:
        stream = client.histories(server.profiles()[:2], on_error="collect").windows()
        results = await stream.collect()
    assert len(results) == 2
    for result in results:
        frames = [frame for frame, _ in traceback.walk_tb(result.error.__traceback__)]
        assert not any("reply" in frame.f_locals for frame in frames)


@pytest.mark.parametrize("fault", sorted(Fault.transient()))
def test_all_errors_of_a_stream_are_history_errors_and_name_their_window(fault):
    """Whatever fault it was."""

    async def meet():
        # Slower than a client waits for.
        faults = attrs.evolve(FaultPlan.always(fault), slow=60)
        async with HistoryServer(faults=faults) as server, server.client() as client:
            with pytest.raises(HistoryError) as caught:
                await client.history(server.profile(1), "2024-01-01", "2024-01-01").collect()
            return server, caught.value

    server, error = run_virtually(meet())
    assert error.profile == server.profile(1)
    assert str(error.window) == "2024-01-01..2024-01-01"
    assert error.attempts >= 1
    assert error.request_id in {entry.request_id for entry in server.log}
    assert str(error.profile) in str(error)


async def test_rows_nested_too_deeply_for_the_stack_are_a_failed_window_with_its_name(server, monkeypatch):
    """Not a crash of the consumer."""
    monkeypatch.setattr(
        "profile_history._decoding.row_decoder.split_rows", lambda _: (_ for _ in ()).throw(RecursionError())
    )
    poison(monkeypatch, [b"null"])
    async with server.client() as client:
        with pytest.raises(DecodeError, match="nested too deeply") as caught:
            await client.history(server.profile(1)).collect()
    assert caught.value.profile == server.profile(1)
