"""One HTTP attempt against real sockets."""

import asyncio
import contextlib
import gzip
import ssl
from unittest import mock

import aiohttp
import pytest
import yarl
from aioresponses import aioresponses
from support.scripts import (
    CANARY,
    LAX,
    LIMIT,
    MALFORMED,
    OVERLOOKED,
    Script,
    attempt,
    drip,
    frames_of_the_product,
    http,
    last,
    raw_server,
    saying,
    send,
    silence,
    unbounded,
)
from support.virtual_clock import run_virtually

from profile_history import (
    AttemptTimeout,
    ConnectionFailed,
    ResponseError,
    ResponseTooLarge,
    Timeouts,
    TransportError,
    TruncatedResponse,
    UntrustedServer,
    UsageError,
    __version__,
)
from profile_history._secrets import SecretBytes, Token
from profile_history._sending.transport import Transport
from profile_history.errors import Kind


async def test_a_request_carries_our_name_its_id_and_its_token_where_it_belongs():
    """User-Agent with version, X-Request-ID, JSON, and the Authorization header only where asked for."""
    heads = []

    async def answer(reader, writer, head):
        heads.append(head.decode())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Some: Thing\r\n\r\n{}")

    async with raw_server(answer) as url:
        reply = await attempt(url)
        await attempt(url, token=Token(CANARY))

    assert (reply.status, reply.body, reply.headers["x-some"]) == (200, b"{}", "Thing")
    assert heads[0].startswith("POST /x HTTP/1.1")
    assert f"User-Agent: profile-history/{__version__} (" in heads[0]
    assert "X-Request-ID: id-1" in heads[0]
    assert "Content-Type: application/json" in heads[0]
    assert CANARY not in heads[0]
    assert f"Authorization: Bearer {CANARY}" in heads[1]


async def test_a_redirect_is_not_followed():
    """The response itself comes back; nobody else sees the body."""
    async with raw_server(
        saying(b"HTTP/1.1 307 T\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n")
    ) as url:
        reply = await attempt(url)
    assert (reply.status, reply.headers["location"]) == (307, "http://127.0.0.1:9/")


async def test_cookies_are_neither_kept_nor_sent():
    """A session without memory."""
    heads = []

    async def answer(reader, writer, head):
        heads.append(head)
        writer.write(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")

    async with raw_server(answer) as url:
        transport = Transport(url, None, None)
        for _ in range(2):
            await transport.send(SecretBytes(b"{}"), "id", Timeouts(), LIMIT, grow=unbounded)
        await transport.aclose()
    assert len(heads) == 2
    assert b"cookie" not in b"".join(heads).lower()


async def test_a_silent_server_is_an_attempt_timeout():
    """After the read timeout, not after the total."""

    async def answer(reader, writer, head):
        await reader.read()

    async with raw_server(answer) as url:
        with pytest.raises(AttemptTimeout, match="did not respond in time"):
            await attempt(url, timeouts=Timeouts(read=0.05))


async def test_a_dripping_server_is_an_attempt_timeout():
    """Bytes that keep coming do not outlast the attempt's total."""

    async def answer(reader, writer, head):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with raw_server(answer) as url:
        with pytest.raises(AttemptTimeout):
            await attempt(url, timeouts=Timeouts(read=10, attempt=0.2))


async def test_nobody_listening_is_a_failed_connection():
    """The address is named."""
    async with raw_server(saying()) as url:
        pass
    with pytest.raises(ConnectionFailed, match=f"no connection to 127.0.0.1:{url.port}"):
        await attempt(url)


async def test_a_server_that_hangs_up_before_it_answers_is_a_failed_connection():
    """Nothing of a response arrived."""
    async with raw_server(saying()) as url:
        with pytest.raises(ConnectionFailed, match="closed the connection"):
            await attempt(url)


@pytest.mark.parametrize(
    "parts",
    [
        [b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"],
    ],
    ids=["short", "endless chunks"],
)
async def test_a_body_that_is_not_whole_is_a_truncated_response(parts):
    """HTTP's own framing says that something is missing or wrong."""
    async with raw_server(saying(*parts)) as url:
        with pytest.raises(TruncatedResponse):
            await attempt(url)


async def test_what_is_no_http_is_a_response_error():
    """An SSH banner, say."""
    async with raw_server(saying(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")) as url:
        with pytest.raises(ResponseError, match="no proper HTTP"):
            await attempt(url)


@pytest.mark.parametrize("size", [LIMIT, LIMIT + 1])
async def test_the_limit_counts_decompressed_bytes(size):
    """A small response that grows beyond the limit is cut off; one of just that size is taken."""
    body = gzip.compress(b" " * size)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with raw_server(saying(head, body)) as url:
        if size > LIMIT:
            with pytest.raises(ResponseTooLarge, match=f"longer than {LIMIT} bytes"):
                await attempt(url)
        else:
            assert len((await attempt(url)).body) == size


async def test_an_answer_that_is_too_long_is_not_read_to_its_end():
    """The connection is given up, and not used for the next request."""
    connections = []

    async def answer(reader, writer, head):
        connections.append(writer)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b" " * 65536)
                await writer.drain()

    async with raw_server(answer) as url:
        transport = Transport(url, None, None)
        for _ in range(2):
            with pytest.raises(ResponseTooLarge):
                await transport.send(SecretBytes(b"{}"), "id", Timeouts(), LIMIT, grow=unbounded)
        await transport.aclose()
    assert len(connections) == 2


async def test_a_session_made_here_asks_nobody_but_its_own_settings():
    """No proxy, password or cookie from the surroundings; no limit on connections but the pacer's."""
    transport = Transport(yarl.URL("http://127.0.0.1/x"), None, None)
    session = transport.enter()
    assert session.trust_env is False
    assert isinstance(session.cookie_jar, aiohttp.DummyCookieJar)
    assert session.connector.limit == 0
    assert transport.enter() is session
    await transport.aclose()


async def test_the_time_to_connect_is_limited_on_its_own(monkeypatch):
    """A host that swallows packets is given up after `connect` seconds; an attempt may take longer."""
    transport = Transport(yarl.URL("http://127.0.0.1/x"), None, None)

    async def never(*_, **__):
        await asyncio.Event().wait()

    # No address is sure to be silent on every machine; aiohttp connects in this one method.
    monkeypatch.setattr(transport.enter().connector, "_create_connection", never)
    with pytest.raises(ConnectionFailed, match=r"no connection to 127.0.0.1:80 within 0.05 s"):
        await transport.send(SecretBytes(b"{}"), "id", Timeouts(connect=0.05), LIMIT, grow=unbounded)
    await transport.aclose()


async def test_a_session_that_raises_for_a_status_of_its_own_does_not_get_to_do_so():
    """What a response means is the protocol's business."""
    async with (
        raw_server(saying(b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\n{}")) as url,
        aiohttp.ClientSession(raise_for_status=True) as own,
    ):
        assert (await attempt(url, session=own)).status == 503


async def test_a_body_that_arrives_in_pieces_is_put_together():
    """Whatever the packets."""

    async def answer(reader, writer, head):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")
        for piece in (b"ab", b"cd", b"ef"):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)

    async with raw_server(answer) as url:
        assert (await attempt(url)).body == b"abcdef"


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (aiohttp.ConnectionTimeoutError(), ConnectionFailed),
        (aiohttp.ClientConnectorCertificateError(mock.Mock(), ssl.SSLCertVerificationError()), UntrustedServer),
        (aiohttp.ClientConnectorSSLError(mock.Mock(), ssl.SSLError(1, "x")), UntrustedServer),
        (aiohttp.ClientError("something new"), TransportError),
        (aiohttp.ClientOSError(24, "too many open files"), ConnectionFailed),
    ],
    ids=["connect timeout", "certificate", "handshake", "unknown", "file descriptors"],
)
async def test_what_the_library_raises_becomes_an_error_of_ours(raised, expected):
    """Where producing the failure for real would take a broken network."""
    with aioresponses() as mocked:
        mocked.post("http://127.0.0.1/x", exception=raised)
        with pytest.raises(expected) as caught:
            await attempt(yarl.URL("http://127.0.0.1/x"))
    assert type(caught.value) is expected


async def test_neither_message_nor_frames_of_an_error_show_the_token():
    """What a crash reporter sees: text, notes, causes and local variables."""
    async with raw_server(saying(b"HTTP/1.1 200 OK\r\n" + CANARY.encode() + b"\r\n\r\n")) as url:
        with pytest.raises(ResponseError) as caught:
            await attempt(url, token=Token(CANARY))
    assert CANARY not in frames_of_the_product(caught.value)
    assert CANARY not in str(caught.value) + repr(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


async def test_a_bug_in_a_hook_of_the_callers_session_surfaces_as_it_is():
    """It is not dressed up as a failed connection, and not tried again."""

    async def broken(*_):
        raise ValueError("the caller's own")

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(broken)
    async with aiohttp.ClientSession(trace_configs=[trace]) as own:
        with pytest.raises(ValueError, match="the caller's own"):
            await attempt(yarl.URL("http://127.0.0.1:9/x"), session=own)


@pytest.mark.virtual
async def test_a_pool_of_the_callers_session_that_is_full_is_no_failed_connection():
    """Waiting for a place in it is not connecting."""

    async def slow(reader, writer, head):
        await asyncio.sleep(0.1)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    async with raw_server(slow) as url, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as own:
        attempts = [attempt(url, session=own, timeouts=Timeouts(connect=0.05)) for _ in range(3)]
        assert [reply.status for reply in await asyncio.gather(*attempts)] == [200] * 3


async def test_a_closed_transport_and_a_closed_session_are_refused():
    """Before anything is sent."""
    transport = Transport(yarl.URL("http://127.0.0.1/x"), None, None)
    await transport.aclose()
    with pytest.raises(UsageError, match="this client is closed"):
        transport.enter()
    session = aiohttp.ClientSession()
    await session.close()
    with pytest.raises(UsageError, match="session given to this client is closed"):
        Transport(yarl.URL("http://127.0.0.1/x"), None, session).enter()


async def test_a_session_of_the_caller_stays_open():
    """It is used, and never closed."""
    async with (
        raw_server(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")) as url,
        aiohttp.ClientSession() as own,
    ):
        await attempt(url, session=own)
        assert not own.closed


@pytest.mark.parametrize("name", MALFORMED)
async def test_what_is_no_proper_http_is_suspect_and_quoted_nowhere(name):
    """Tried once more at most, and the message is one short printable line without a byte of the server's."""
    async with Script(rest=last(MALFORMED[name])) as server:
        if LAX and (name in OVERLOOKED or "TLS" in name):
            with contextlib.suppress(TruncatedResponse, ConnectionFailed):
                assert (await attempt(server.url)).body == b"{}"
            return
        with pytest.raises(ResponseError, match="something that is no proper HTTP") as caught:
            await attempt(server.url)
    assert type(caught.value) is ResponseError
    assert caught.value.kind is Kind.AMBIGUOUS
    assert not caught.value.fatal
    text = str(caught.value)
    assert len(text) < 120
    assert text.isprintable()
    assert CANARY not in text


@pytest.mark.skipif(LAX, reason="the parser written in Python waits for the end of a line that never comes")
@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_no_proper_http_is_found_out_at_once(name):
    """Not when the server hangs up: another service on the port may wait for ever."""

    async def patient(reader, writer):
        writer.write(MALFORMED[name])
        await reader.read()

    async def main():
        async with Script(rest=patient) as server:
            with pytest.raises(ResponseError, match="no proper HTTP"):
                await attempt(server.url)
        return asyncio.get_running_loop().time()

    assert run_virtually(main()) == 0


@pytest.mark.parametrize(
    ("start", "part"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b" "),
        (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"a"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["a body by bytes", "a header by bytes", "a body by chunks", "endless 100 Continue"],
)
@pytest.mark.parametrize("total", [20.0, 120.0])
def test_a_server_that_is_never_silent_and_never_done_is_left_after_the_attempts_total(start, part, total):
    """A byte each 0.3 s satisfies every limit on silence; the attempt ends all the same, and as a timeout."""

    async def main():
        async with Script(rest=drip(start, part)) as server:
            with pytest.raises(AttemptTimeout, match=f"30 s of silence or {total:g} s in all") as caught:
                await attempt(server.url, timeouts=Timeouts(attempt=total))
            assert not caught.value.stale_connection
            return asyncio.get_running_loop().time()

    assert total <= run_virtually(main()) <= total + 1


def test_a_server_that_falls_silent_is_left_after_the_limit_on_silence():
    """Before its first byte as well as in the middle of its response."""

    async def main(turn):
        async with Script(rest=turn) as server:
            with pytest.raises(AttemptTimeout):
                await attempt(server.url)
            return asyncio.get_running_loop().time()

    async def half(reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{")
        await reader.read()

    assert 30 <= run_virtually(main(silence)) <= 31
    assert 30 <= run_virtually(main(half)) <= 31


@pytest.mark.parametrize("late", [False, True], ids=["at once", "while the connection rests"])
@pytest.mark.parametrize(
    "extra", [b"more", b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned"], ids=["junk", "a whole answer"]
)
async def test_bytes_beyond_an_answers_length_never_reach_the_next_answer(extra, late):
    """One that nobody asked for would be taken for somebody else's history, or for no events."""
    async with Script(http(b"first") + (b"" if late else extra), rest=http(b"second")) as server:
        transport = Transport(server.url, None, None)
        # Junk in the same packet spoils this response, and that is well.
        with contextlib.suppress(ResponseError):
            assert (await send(transport)).body == b"first"
        if late:
            server.writers[0].write(extra)
        await asyncio.sleep(0.05)
        try:
            second = await send(transport)
        except ConnectionFailed:
            second = await send(transport, fresh=True)
        finally:
            await transport.aclose()
    assert second.body == b"second"


async def test_the_bytes_of_an_answer_are_told_as_they_come():
    """Their count is that of the decompressed body, chunk by chunk, and adds up."""
    body, told = bytes(range(256)) * 300, []
    packed = gzip.compress(body)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)

    async def slowly(reader, writer):
        writer.write(head)
        for place in range(0, len(packed), 200):
            writer.write(packed[place : place + 200])
            await writer.drain()
            await asyncio.sleep(0.001)

    async with Script(rest=slowly) as server:
        reply = await attempt(server.url, grow=told.append)
    assert b"".join([reply.body, *reply.rest]) == body
    assert reply.size == len(body)
    assert sum(told) == len(body)
    assert len(told) > 2


async def test_whoever_counts_the_bytes_may_end_the_attempt():
    """What it raises comes out as it is, no more is read, and the connection is not used again."""

    class NoMore(Exception):
        pass

    told = []

    def grow(size):
        told.append(size)
        raise NoMore

    async with Script(drip(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", b"a" * 9, 0.01), http(b"{}")) as server:
        transport = Transport(server.url, None, None)
        with pytest.raises(NoMore):
            await transport.send(SecretBytes(b"{}"), "id", Timeouts(), LIMIT, grow=grow)
        assert (await send(transport)).body == b"{}"
        await transport.aclose()
    assert len(told) == 1
    assert server.connections == [1, 2]


def test_the_first_byte_is_timed_and_not_the_last():
    """A long response does not look like a slow server."""

    async def main():
        async def turn(reader, writer):
            await asyncio.sleep(2)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{")
            await asyncio.sleep(5)
            writer.write(b"}")

        async with Script(rest=turn) as server:
            return (await attempt(server.url)).first_byte

    assert run_virtually(main()) == pytest.approx(2)
