"""Requests that die with their connection, and hosts that are not found: what is sent again, and what that costs."""

import asyncio

import aiohttp
import pytest
from support.by_profile import GOOD, NO_RETRY, ONE, PROFILES, QUICK, client_of, envelope, failing, now, those
from support.scripts import NO_SUCH_NAME, NOT_NOW, Script, hang_up, http, last, names, no_more_files, reset, silence
from support.virtual_clock import run_virtually

from profile_history import (
    ApiError,
    AttemptEnded,
    AttemptStarted,
    AttemptTimeout,
    CircuitOpened,
    ConnectionFailed,
    HistoryClient,
    HistoryError,
    Pacing,
    RetryPlanned,
    Throttled,
    Timeouts,
    TruncatedResponse,
    WindowDone,
)

__all__ = ["names"]

# ---- A request that dies with a connection that was kept -------------------------------------------------------------


@pytest.mark.parametrize("death", [hang_up, reset], ids=["closed", "reset"])
async def test_a_request_that_dies_with_a_kept_connection_is_sent_once_more_for_nothing(death):
    """Even where no retry is allowed: it is no attempt at anything, since the server never read it."""
    told = []
    async with (
        Script(GOOD, death, rest=GOOD) as server,
        client_of(server, retry=NO_RETRY, on_event=told.append) as client,
    ):
        stream = client.histories(PROFILES[:2])
        assert len(await stream.collect()) == 2
    assert server.connections == [1, 1, 2]
    assert not stream.failures
    assert (stream.stats.attempts, stream.stats.retries, stream.stats.requests) == (3, 1, 2)
    assert [event.attempt for event in those(told, AttemptStarted)] == [1, 1, 2]
    assert [type(event.error) for event in those(told, AttemptEnded)] == [type(None), ConnectionFailed, type(None)]
    assert [event.attempts for event in those(told, WindowDone)] == [1, 2]
    assert not those(told, RetryPlanned)


async def test_the_same_request_is_sent_again_and_not_another():
    """Body and request id are those of the first time."""
    async with Script(GOOD, hang_up, rest=GOOD) as server, client_of(server, auth="header") as client:
        await client.histories(PROFILES[:2]).collect()
    (_, _, first, _), (_, head, body, _), (_, again, same, _) = server.requests

    def identity(head):
        return [line for line in head.lower().split(b"\r\n") if line.startswith((b"x-request-id", b"authorization"))]

    assert first != body == same
    assert identity(head) == identity(again)
    assert len(identity(again)) == 2


async def test_a_server_that_closes_every_kept_connection_looks_healthy():
    """Forty windows lose their connection one after the other: no retry, no open circuit, and nobody slows down."""
    told = []

    class Closing(Script):
        async def _converse(self, connection, reader, writer):
            await reader.readuntil(b"}")
            self.requests.append((connection, b"", b"", now()))
            writer.write(GOOD)
            await reader.readuntil(b"}")

    pacing = Pacing(concurrency=4, adaptive=True)
    async with (
        Closing() as server,
        client_of(server, retry=NO_RETRY, pacing=pacing, on_event=told.append) as client,
    ):
        stream = client.histories(PROFILES)
        assert len(await stream.collect()) == 40
        # A budget shows only when it is used up.
        assert client._core.shared.budget.tokens == 100
        assert client.pacing_state.limit == 4
    assert len(those(told, AttemptEnded)) > 50
    assert not those(told, (RetryPlanned, CircuitOpened, Throttled))


async def test_a_server_that_drops_all_kept_connections_at_once_has_not_failed():
    """As one does that restarts: twelve requests die together, and are sent again without an open circuit or a wait."""
    told, all_connected = [], asyncio.Event()

    class Restarting(Script):
        async def _converse(self, connection, reader, writer):
            await reader.readuntil(b"}")
            if connection == 12:
                all_connected.set()
            await all_connected.wait()
            writer.write(GOOD)
            await reader.readuntil(b"}")

    async with (
        Restarting() as server,
        client_of(
            server, retry=NO_RETRY, pacing=Pacing(concurrency=12, adaptive=False), on_event=told.append
        ) as client,
    ):
        assert len(await client.histories(PROFILES[:12]).collect()) == 12
        assert len(await client.histories(PROFILES[12:24]).collect()) == 12
    assert len(server.writers) == 24
    assert len([event for event in those(told, AttemptEnded) if event.error]) == 12
    assert not those(told, (RetryPlanned, CircuitOpened, Throttled))


async def test_only_one_such_request_a_window_is_free():
    """The second time the same window dies with its connection it has failed, and that is charged."""
    told, both = [], asyncio.Event()

    async def first_pair(reader, writer):
        if len(server.requests) == 2:
            both.set()
        await both.wait()
        writer.write(GOOD)
        # The server of the tests goes on as if nothing had happened.
        await server._converse(server.writers.index(writer) + 1, reader, writer)

    async with (
        Script(first_pair, first_pair, hang_up, failing(500), hang_up, rest=GOOD) as server,
        client_of(server, pacing=Pacing(concurrency=2, adaptive=False), on_event=told.append) as client,
    ):
        await client.histories(PROFILES[:2]).collect()
        stream = client.history(ONE)
        assert len(await stream.collect()) == 1
    kept = set(server.connections[:2])
    assert kept == {1, 2}
    assert {server.connections[2], server.connections[4]} == kept
    assert server.connections[3] == 3
    assert stream.stats.attempts == 4
    errors = [event.error for event in those(told, RetryPlanned)]
    assert [type(error) for error in errors] == [ApiError, ConnectionFailed]
    assert [event.attempt for event in those(told, RetryPlanned)] == [2, 3]


@pytest.mark.parametrize("death", [hang_up, reset], ids=["closed", "reset"])
async def test_a_request_that_dies_with_a_new_connection_is_charged(death):
    """A server that hangs up on whoever comes has failed."""
    async with Script(death, rest=GOOD) as server, client_of(server, retry=NO_RETRY) as client:
        with pytest.raises(ConnectionFailed) as caught:
            await client.history(ONE).collect()
    assert (caught.value.attempts, server.connections) == (1, [1])


async def test_a_request_that_dies_with_a_kept_connection_of_the_callers_session_is_charged():
    """Nobody can tell there whether the connection was kept, and a retry puts it right."""
    told = []
    async with (
        Script(GOOD, hang_up, rest=GOOD) as server,
        aiohttp.ClientSession() as own,
        client_of(server, session=own, on_event=told.append) as client,
    ):
        assert len(await client.histories(PROFILES[:2]).collect()) == 2
    assert server.connections == [1, 1, 2]
    assert len(those(told, RetryPlanned)) == 1


@pytest.mark.parametrize(
    ("turn", "error"),
    [
        (last(GOOD[:-5]), TruncatedResponse),
        (failing(500), ApiError),
        (silence, AttemptTimeout),
    ],
    ids=["half an answer", "an error", "silence"],
)
async def test_whatever_else_happens_on_a_kept_connection_is_charged(turn, error):
    """The server may have read the request."""
    async with (
        Script(GOOD, turn, rest=GOOD) as server,
        client_of(server, retry=NO_RETRY, timeouts=Timeouts(read=0.1)) as client,
    ):
        with pytest.raises(error) as caught:
            await client.histories(PROFILES[:2]).collect()
    assert (caught.value.attempts, server.connections) == (1, [1, 1])


async def test_a_kept_connection_that_dies_after_the_first_byte_is_charged():
    """Whoever began to answer has read the request."""
    async with (
        Script(GOOD, last(b"HTTP/1.1 200 OK\r\nX-Some: thing\r\n"), rest=GOOD) as server,
        client_of(server, retry=NO_RETRY) as client,
    ):
        with pytest.raises(HistoryError):
            await client.histories(PROFILES[:2]).collect()


async def test_a_free_repetition_that_fails_counts_once():
    """Two requests were sent, one failure is charged."""
    async with (
        Script(GOOD, hang_up, hang_up, rest=GOOD) as server,
        client_of(server, retry=NO_RETRY) as client,
    ):
        with pytest.raises(ConnectionFailed) as caught:
            await client.histories(PROFILES[:2]).collect()
    assert (caught.value.attempts, server.connections) == (2, [1, 1, 2])
    assert caught.value.__context__ is None


# ---- What no retry helps against, or only one ------------------------------------------------------------------------


@pytest.mark.parametrize("on_error", ["raise", "collect"])
async def test_a_host_that_nobody_knows_ends_the_stream_at_its_second_try(names, on_error):
    """Thirty profiles do not look it up a dozen times each, and nothing is left to collect."""
    looked_up = [NO_SUCH_NAME] * 50
    names(looked_up)
    client = HistoryClient("http://history.example", token="token", list_id=20, retry=QUICK, allow_http=True)
    async with client:
        stream = client.histories(PROFILES[:1], on_error=on_error)
        with pytest.raises(ConnectionFailed, match=r"history\.example was not found .*check the address") as caught:
            await stream.collect()
    assert caught.value.fatal
    assert (caught.value.attempts, stream.stats.attempts, stream.stats.retries) == (2, 2, 1)


@pytest.mark.parametrize(
    "profiles",
    [
        9,
        40,
    ],
)
def test_many_profiles_of_an_unknown_host_fail_together(names, profiles):
    """However many windows wait: within a second, with the address to check, and no window is tried a third time."""
    names([NO_SUCH_NAME])

    async def main():
        async with HistoryClient(
            "http://history.example", token="token", list_id=20, retry=QUICK, allow_http=True
        ) as client:
            stream = client.histories(PROFILES[:profiles], on_error="collect")
            with pytest.raises(HistoryError) as caught:
                await stream.collect()
            return caught.value, stream.stats.attempts, now()

    error, attempts, end = run_virtually(main())
    assert isinstance(error, ConnectionFailed)
    assert "check the address" in str(error)
    assert (error.fatal, error.attempts) == (True, 2)
    assert attempts <= 2 * profiles
    assert end < 1


async def test_a_host_that_is_not_found_at_the_first_look_only_is_found(names):
    """One hiccup of a name service costs nothing."""
    async with Script(rest=GOOD) as server:
        names([NO_SUCH_NAME, "127.0.0.1"])
        client = HistoryClient(
            f"http://history.example:{server.port}", token="token", list_id=20, retry=QUICK, allow_http=True
        )
        async with client:
            assert len(await client.history(ONE).collect()) == 1


async def test_a_host_that_answered_before_is_looked_up_as_often_as_the_policy_says(names):
    """A job of hours does not end because a name service lost a name for a moment."""
    async with Script(rest=http(envelope(1), "Connection: close")) as server:
        names(["127.0.0.1", NO_SUCH_NAME, NO_SUCH_NAME, NO_SUCH_NAME, NOT_NOW, "127.0.0.1"])
        client = HistoryClient(
            f"http://history.example:{server.port}", token="token", list_id=20, retry=QUICK, allow_http=True
        )
        async with client:
            await client.history(ONE).collect()
            # Stands for the time after which a name is looked up again.
            client._core.shared.transport.enter().connector.clear_dns_cache()
            stream = client.history(ONE)
            assert len(await stream.collect()) == 1
    assert stream.stats.attempts == 5


async def test_a_name_service_that_fails_for_now_is_waited_for(names):
    """A temporary failure says nothing on the address, at the first contact neither."""
    async with Script(rest=GOOD) as server:
        names([NOT_NOW, NOT_NOW, NOT_NOW, NOT_NOW, NOT_NOW, "127.0.0.1"])
        client = HistoryClient(
            f"http://history.example:{server.port}", token="token", list_id=20, retry=QUICK, allow_http=True
        )
        async with client:
            stream = client.history(ONE)
            assert len(await stream.collect()) == 1
    assert stream.stats.attempts == 6


async def test_a_lack_of_files_passes_with_a_retry():
    """Once this process has closed some, the window is fetched; before, the error named the limit."""
    told, files = [], []

    def hook(event):
        told.append(event)
        if isinstance(event, AttemptEnded) and files:
            files.pop()()

    async with Script(rest=GOOD) as server, client_of(server, on_event=hook) as client:
        # The session is there before the files run out, so that the connection fails and not the session.
        client._core.shared.transport.enter()
        with no_more_files() as close:
            files.append(close)
            assert len(await client.history(ONE).collect()) == 1
    assert ["ulimit" in str(event.error) for event in those(told, RetryPlanned)] == [True]
