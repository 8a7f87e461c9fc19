"""Rows as the server wrote them: nothing lost, doubled or changed, in the same order as the events."""

import pytest
from support.change_responses import change_responses

from profile_history import DecodeError, RetryPolicy, UsageError
from profile_history._decoding.event_decoder import EVENTS
from profile_history.testing import Behaviour, Fault, FaultPlan, HistoryServer

FIRST, LAST = "2023-01-01", "2024-12-31"


def events_of(rows):
    """Return what the event decoder makes of raw rows."""
    return [event for row in rows for event in EVENTS.decode(row).rows]


@pytest.fixture
async def server():
    async with HistoryServer(profiles=30) as server:
        yield server


@pytest.mark.parametrize("shape", ["seed", "newer"])
@pytest.mark.parametrize("order", ["newest", "oldest"])
@pytest.mark.parametrize("window", ["auto", 31])
async def test_the_rows_are_those_of_the_events_in_the_same_order(server, shape, order, window):
    """Whatever the windows, also where each response holds days more than were asked for."""
    server.behaviour = Behaviour(rows=shape)
    async with server.client(order=order, window=window) as client:
        for profile in server.profiles()[:12]:
            events = await client.history(profile, FIRST, LAST).collect()
            rows = await client.history(profile, FIRST, LAST).raw().collect()
            assert all(type(row) is bytes for row in rows)
            assert events_of(rows) == events
            assert len(rows) == len(events)


async def test_many_profiles_come_as_pairs_whole_under_faults(server):
    """A row is never handed out twice, whatever happens on the way to it."""
    faults = (Fault.ERROR_500, Fault.RESET_BEFORE_RESPONSE, Fault.TRUNCATED_BODY)
    server.faults = FaultPlan(seed=1, rates=dict.fromkeys(faults, 0.1))
    received = {}
    async with (
        server.client(retry=RetryPolicy(base=0.01, cap=0.05)) as client,
        client.histories(server.profiles(), FIRST, LAST).raw() as stream,
    ):
        async for profile, row in stream:
            received.setdefault(profile, []).append(row)
    truth = {profile: events for profile in server.profiles() if (events := server.truth(profile))}
    assert server.injected.total() > 5
    assert {profile: events_of(rows) for profile, rows in received.items()} == truth
    assert stream.stats.events == sum(map(len, truth.values()))


async def test_a_row_is_handed_on_byte_by_byte(server, monkeypatch):
    """Unknown keys, odd spacing and numbers of any length are the reader's affair; a row of no day is quarantined."""
    rows = [
        b'{ "action": "send", "datetime":"2024-06-01T10:00:00Z",  "new": 1.50, "count": 99999999999999999999 }',
        b'{"datetime":"2024-05-31T10:00:00.123456789+03:00","action":"\xd0\xbf\xd1\x80"}',
        b'{"datetime":"2024-05-30"}',
    ]
    body = b'{"data": [\n%b\n], "error":0,"error_text":"ok"}' % b" ,\n".join(rows)
    change_responses(monkeypatch, lambda _: body)
    async with server.client() as client:
        async with client.history(server.profile(1), FIRST, LAST).raw() as stream:
            assert [row async for row in stream] == rows[:2]
        assert [row.raw for row in stream.quarantined] == rows[2:]
        with pytest.raises(DecodeError, match="datetime"):
            await client.history(server.profile(1), FIRST, LAST, strict=True).raw().collect()


async def test_a_stream_is_read_as_events_or_as_rows_and_not_as_both(server):
    """They are two views of one run."""
    async with server.client() as client:
        stream = client.history(server.profile(1), FIRST, LAST)
        rows = stream.raw()
        await rows.collect()
        with pytest.raises(UsageError):
            await stream.collect()
        with pytest.raises(UsageError):
            await stream.raw().collect()


async def test_each_view_is_made_from_any_other(server):
    """A view of rows leads back to windows of events, and one of batches to rows."""
    profile = server.profile(1)
    truth = server.truth(profile)
    async with server.client() as client:
        results = await client.history(profile, FIRST, LAST).raw().windows().collect()
        assert [event for result in results for event in result.events] == truth
        assert events_of(await client.history(profile, FIRST, LAST).batches().raw().collect()) == truth
        results = await client.history(profile, FIRST, LAST).batches().windows().collect()
        assert [event for result in results for event in result.events] == truth
