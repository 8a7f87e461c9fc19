"""How a range is cut into windows, and how far fetching runs ahead, without holding the event loop."""

import asyncio
import random
from collections import Counter

import pytest
from support.streams import FIRST, LAST, busiest, poison
from support.virtual_clock import run_virtually

from profile_history import (
    Limits,
    Pacing,
    ResponseTooLarge,
    RetryPolicy,
    TruncatedResponse,
)
from profile_history._protocol.envelope import CHUNK_SIZE
from profile_history._scheduling.worker_pool import WorkerPool
from profile_history.testing import Behaviour, Fault, FaultPlan, HistoryServer
from profile_history.testing import server as server_module
from profile_history.testing.api import make_error
from profile_history.windows import parse_window


def is_wide(window):
    """Tell whether a request's dates, "None" for an open end, take in more than 200 days of the server's histories."""
    first, _, last = window.partition("..")
    first, last = max(first.replace("None", ""), FIRST), min(last.replace("None", "9"), LAST)
    return first <= last and parse_window(first, last).days(None) > 200


class StallWide(FaultPlan):
    """Never answers a request for many days."""

    def draw(self, profile, window, attempt):
        return Fault.STALL if is_wide(window) else None


@pytest.mark.virtual
@pytest.mark.parametrize(
    ("options", "faults", "behaviour"),
    [
        ({}, StallWide(), Behaviour()),
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
    respond = server_module.respond

    def refusing(histories, behaviour, body):
        wide = is_wide(f"{body.get('date_from')}..{body.get('date_to')}")
        refusal = None, make_error(behaviour, status, "too much")
        return refusal if wide else respond(histories, behaviour, body)

    monkeypatch.setattr(server_module, "respond", refusing)
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


async def test_the_event_loop_turns_while_a_large_answer_is_verified_decoded_and_handed_out(server, monkeypatch):
    """At least once per time slice in each of the three; here every pause counts as long, so that no clock decides."""
    rows = [
        b'{"action":"send","datetime":"2024-06-01T10:00:%02dZ","email":"%040d"}' % (i % 60, i) for i in range(20_000)
    ]
    poison(monkeypatch, rows)
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
    poison(monkeypatch, [b'{"action":"send","datetime":"2024-06-01T10:00:00Z"}'] * 20_000)
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
