"""Connections of a transport: kept and fresh ones, names that are not found, and a machine that runs out."""

import asyncio
from unittest import mock

import aiohttp
import pytest
import yarl
from aioresponses import aioresponses
from support.scripts import (
    CANARY,
    LIMIT,
    NO_ADDRESS,
    NO_SUCH_NAME,
    NOT_NOW,
    Script,
    attempt,
    frames_of_the_product,
    hang_up,
    http,
    last,
    names,
    no_more_files,
    reset,
    send,
    silence,
)

from profile_history import AttemptTimeout, ConnectionFailed, ResponseError, Timeouts, TruncatedResponse, UsageError
from profile_history._secrets import Token
from profile_history._sending.transport import Transport
from profile_history.errors import HistoryError, Kind

__all__ = ["names"]


@pytest.mark.parametrize("death", [hang_up, reset], ids=["closed", "reset"])
async def test_a_kept_connection_that_dies_before_an_answer_is_stale(death):
    """The failure says so; one on a connection that was made for the request is not."""
    async with Script(http(b"{}"), death, death) as server:
        transport = Transport(server.url, None, None)
        await send(transport)
        with pytest.raises(ConnectionFailed) as reused:
            await send(transport)
        with pytest.raises(ConnectionFailed) as new:
            await send(transport)
        await transport.aclose()
    assert server.connections == [1, 1, 2]
    assert reused.value.stale_connection
    assert not new.value.stale_connection


@pytest.mark.parametrize(
    ("turn", "error"),
    [
        (last(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}"), TruncatedResponse),
        (last(b"nonsense\r\n\r\n"), ResponseError),
        (silence, AttemptTimeout),
    ],
    ids=["half an answer", "no HTTP", "silence"],
)
async def test_a_kept_connection_that_fails_otherwise_is_not_stale(turn, error):
    """Whoever answered, or was silent, may have read the request."""
    async with Script(http(b"{}"), turn) as server:
        transport = Transport(server.url, None, None)
        await send(transport)
        with pytest.raises(error) as caught:
            await send(transport, timeouts=Timeouts(read=0.05))
        await transport.aclose()
    assert server.connections == [1, 1]
    assert not caught.value.stale_connection


async def test_a_fresh_request_uses_no_connection_that_was_kept_and_keeps_none():
    """Whatever the pool holds; the ordinary requests go on with theirs."""
    async with Script(rest=http(b"{}")) as server:
        transport = Transport(server.url, None, None)
        for fresh in (False, True, True, False):
            await send(transport, fresh=fresh)
        await transport.aclose()
        assert server.connections == [1, 2, 3, 1]
        # The second session is shown to nobody.
        assert transport._fresh.closed


async def test_a_session_of_the_caller_is_the_only_one_and_meets_no_object_of_ours():
    """Its own traces get the context that they expect, it is asked for a fresh connection too, and nothing is stale."""
    contexts = []

    async def note(session, context, parameters):
        contexts.append(context.trace_request_ctx)

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(note)
    async with Script(http(b"{}"), http(b"{}"), hang_up) as server, aiohttp.ClientSession(trace_configs=[trace]) as own:
        transport = Transport(server.url, None, own)
        await send(transport)
        await send(transport, fresh=True)
        with pytest.raises(ConnectionFailed) as caught:
            await send(transport)
    assert server.connections == [1, 1, 1]
    assert not caught.value.stale_connection
    assert contexts == [None] * 3
    # The second session is shown to nobody.
    assert transport._fresh is None


@pytest.mark.parametrize("reply", [NO_SUCH_NAME, NO_ADDRESS], ids=["no name", "no address"])
async def test_a_host_that_nobody_knows_is_fatal_unless_it_answered_before(names, reply):
    """An address that never worked will not work; one that did meets a fault of the name service."""
    async with Script(rest=http(b"{}", "Connection: close")) as server:
        names([reply, "127.0.0.1", reply])
        transport = Transport(server.url.with_host("history.example"), None, None)
        with pytest.raises(ConnectionFailed, match=r"history\.example was not found .*check the address") as first:
            await send(transport)
        await send(transport)
        transport.enter().connector.clear_dns_cache()
        with pytest.raises(ConnectionFailed, match=r"history\.example was not found") as later:
            await send(transport)
        await transport.aclose()
    assert (first.value.kind, first.value.fatal) == (Kind.AMBIGUOUS, True)
    assert (later.value.kind, later.value.fatal) == (Kind.TRANSIENT, False)


async def test_a_name_service_that_fails_for_now_is_tried_again(names):
    """It says nothing on whether the host exists."""
    names([NOT_NOW])
    with pytest.raises(ConnectionFailed, match="Temporary failure in name resolution") as caught:
        await attempt(yarl.URL("http://history.example/x"))
    assert (caught.value.kind, caught.value.fatal) == (Kind.TRANSIENT, False)


async def test_a_process_that_may_open_no_more_files_learns_which_limit_to_raise():
    """It is no fault of the server, and passes when files are closed."""
    async with Script(rest=http(b"{}")) as server:
        transport = Transport(server.url, None, None)
        transport.enter()
        with (
            no_more_files(),
            pytest.raises(ConnectionFailed, match=r"no more files; raise its limit \(ulimit") as caught,
        ):
            await send(transport)
        assert (caught.value.kind, caught.value.fatal) == (Kind.TRANSIENT, False)
        assert (await send(transport)).body == b"{}"
        await transport.aclose()


async def test_a_host_name_that_cannot_be_looked_up_for_want_of_files_is_no_unknown_host(names):
    """The limit is named there too."""
    names([OSError(24, "Too many open files")])
    with pytest.raises(ConnectionFailed, match="ulimit"):
        await attempt(yarl.URL("http://history.example/x"))


@pytest.mark.parametrize(
    ("number", "words"),
    [(23, "this machine may open no more files"), (99, "no free port to connect from"), (105, "no memory left")],
)
async def test_a_machine_that_is_out_of_something_says_of_what(number, words):
    """ENFILE, EADDRNOTAVAIL and ENOBUFS are not the server's either."""
    with aioresponses() as mocked:
        mocked.post("http://127.0.0.1/x", exception=aiohttp.ClientConnectorError(mock.Mock(), OSError(number, "odd")))
        with pytest.raises(ConnectionFailed, match=f"no connection to 127.0.0.1:80: .*{words}") as caught:
            await attempt(yarl.URL("http://127.0.0.1/x"))
    assert caught.value.kind is Kind.TRANSIENT


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "a..example"])
async def test_a_host_that_can_be_no_name_is_an_error_of_ours(host):
    """A label that is empty or too long is not looked up."""
    with pytest.raises(HistoryError):
        await attempt(yarl.URL("http://127.0.0.1/x").with_host(host))


@pytest.mark.parametrize(
    "answer",
    [
        f"HTTP/1.1 200 OK\r\nX-Echo: {CANARY}\r\nContent-Length: 50\r\n\r\n{{}}".encode(),
        http(b" " * (LIMIT + 1), f"X-Echo: {CANARY}"),
    ],
    ids=["cut", "too long"],
)
async def test_a_token_that_the_server_echoes_in_a_header_is_in_no_frame_of_ours(answer):
    """A response that began is not kept in the frame that raises."""
    async with Script(rest=last(answer)) as server:
        with pytest.raises(HistoryError) as caught:
            await attempt(server.url, token=Token(CANARY))
    assert CANARY not in frames_of_the_product(caught.value)


async def test_a_transport_knows_whether_it_keeps_something_open():
    """A session of its own is open from the first use to the end; the caller's never counts."""
    transport = Transport(yarl.URL("http://127.0.0.1/x"), None, None)
    assert not transport.unclosed
    transport.enter()
    assert transport.unclosed
    await transport.aclose()
    assert not transport.unclosed
    async with aiohttp.ClientSession() as own:
        borrowed = Transport(yarl.URL("http://127.0.0.1/x"), None, own)
        borrowed.enter()
        assert not borrowed.unclosed


def test_a_transport_stays_on_its_event_loop():
    """A session works on one loop only, and says so less clearly."""
    transport = Transport(yarl.URL("http://127.0.0.1/x"), None, None)

    async def use():
        transport.enter()

    async def use_on_another_loop():
        with pytest.raises(UsageError, match="belongs to another event loop"):
            transport.enter()

    async def close():
        await transport.aclose()

    with asyncio.Runner() as runner:
        runner.run(use())
        asyncio.run(use_on_another_loop())
        runner.run(close())
