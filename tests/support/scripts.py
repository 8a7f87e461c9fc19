"""Helpers of the tests of scripts."""

import asyncio
import contextlib
import re
import resource
import socket
import struct
import traceback
from pathlib import Path

import aiohttp
import pytest
import yarl
from aiohttp.http_parser import HttpResponseParser, HttpResponseParserPy
from support.paths import TESTS

from profile_history import (
    Timeouts,
)
from profile_history._secrets import SecretBytes
from profile_history._sending.transport import Transport

CANARY = "canary-token-7f3a"


LIMIT = 100_000


# The parser written in Python, which AIOHTTP_NO_EXTENSIONS chooses, is laxer.
LAX = HttpResponseParser is HttpResponseParserPy


@contextlib.asynccontextmanager
async def raw_server(answer):
    """A server that reads one request's head and then does what `answer(reader, writer, head)` does."""
    serving = set()

    async def serve(reader, writer):
        serving.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            head = await reader.readuntil(b"\r\n\r\n")
            await answer(reader, writer, head)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield yarl.URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x")
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving)


class Script:
    """A server that does at its n-th request, of all connections, what the n-th turn says, and then what `rest` does.

    A turn is the bytes to answer with, after which the connection is kept, or a coroutine function of reader and
    writer, after which it is closed.
    """

    def __init__(self, *turns, rest=None):
        self.turns = list(turns)
        self.rest = rest
        self.requests = []
        self.writers = []
        self._serving = set()

    @property
    def connections(self):
        """Which connection each request came on."""
        return [connection for connection, *_ in self.requests]

    @property
    def times(self):
        """When each request came, in the loop's time."""
        return [time for *_, time in self.requests]

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**20)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = yarl.URL(f"http://127.0.0.1:{self.port}/x")
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for task in self._serving:
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)
        await self._server.wait_closed()

    def choose(self, body):
        """What to do at the request that came last."""
        return self.turns[len(self.requests) - 1] if len(self.requests) <= len(self.turns) else self.rest

    async def _serve(self, reader, writer):
        self._serving.add(asyncio.current_task())
        self.writers.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._converse(len(self.writers), reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await writer.wait_closed()

    async def _converse(self, connection, reader, writer):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            body = await reader.readexactly(int(length[1])) if length else b""
            self.requests.append((connection, head, body, asyncio.get_running_loop().time()))
            turn = self.choose(body)
            if not isinstance(turn, bytes):
                await turn(reader, writer)
                return
            writer.write(turn)
            await writer.drain()


def http(body, *headers, status=200):
    """A proper response."""
    lines = [f"HTTP/1.1 {status} Status", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


async def hang_up(reader, writer):
    """The connection is closed."""


async def reset(reader, writer):
    """The connection is reset."""
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


async def silence(reader, writer):
    """Nothing happens until the client leaves."""
    await reader.read()


def last(*parts):
    """Some bytes, and then the connection is closed."""

    async def turn(reader, writer):
        writer.writelines(parts)
        await writer.drain()

    return turn


def drip(start, part, every=0.3):
    """Bytes without end."""

    async def turn(reader, writer):
        writer.write(start)
        while True:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(every)

    return turn


def unbounded(size):
    """Room for any number of bytes."""


async def attempt(url, *, timeouts=Timeouts(), limit=LIMIT, token=None, session=None, grow=unbounded):
    transport = Transport(url, token, session)
    try:
        body = SecretBytes(b'{"token":"%b"}' % CANARY.encode())
        return await transport.send(body, "id-1", timeouts, limit, grow=grow)
    finally:
        await transport.aclose()


def saying(*parts):
    async def answer(reader, writer, head):
        for part in parts:
            writer.write(part)
        await writer.drain()

    return answer


def frames_of_the_product(error):
    """Return a traceback as crash reporters print it, with local variables, where it leads outside of the tests."""
    found = traceback.TracebackException.from_exception(error, capture_locals=True)
    frames = [frame for frame in found.stack if not Path(frame.filename).is_relative_to(TESTS)]
    assert frames
    return "\n".join(f"{frame.filename} {frame.name} {frame.locals}" for frame in frames)


MALFORMED = {
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
    "length and chunks": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    ),
    "a word for a chunk's size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\nzz\r\n0\r\n\r\n",
    "a chunk of less than nothing": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n{}\r\n0\r\n\r\n",
    "a chunk beyond all numbers": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 17 + b"\r\n{}\r\n0\r\n\r\n"
    ),
    "a line of 80 kB": b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 80_000 + b"\r\nContent-Length: 2\r\n\r\n{}",
    "2,000 headers": b"HTTP/1.1 200 OK\r\n" + b"X-Many: a\r\n" * 2000 + b"Content-Length: 2\r\n\r\n{}",
    "a header without a colon": b"HTTP/1.1 200 OK\r\n\x1b[31m" + CANARY.encode() + b"\r\nContent-Length: 2\r\n\r\n{}",
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
    "SMTP": b"220 mail.example.com ESMTP\r\n",
    "a database": b"J\x00\x00\x00\n8.0.36\x00\x08\x00\x00\x00",
    "a TLS alert": b"\x15\x03\x03\x00\x02\x02\x28",
    "a TLS handshake": b"\x16\x03\x03\x00\x2e\x02\x00\x00\x2a\x03\x03" + bytes(range(40)),
}


# What the parser written in Python takes for the beginning of a response, or overlooks.
OVERLOOKED = {"two lengths", "a chunk beyond all numbers", "SSH", "SMTP", "a database"}


async def send(transport, *, timeouts=Timeouts(), fresh=False):
    return await transport.send(SecretBytes(b"{}"), "id", timeouts, LIMIT, grow=unbounded, fresh=fresh)


class Names(aiohttp.abc.AbstractResolver):
    """A resolver that says what the test says: an address, or an error to raise."""

    replies = ()

    def __init__(self, *_, **__):
        pass

    async def resolve(self, host, port=0, family=socket.AF_INET):
        reply = Names.replies.pop(0) if len(Names.replies) > 1 else Names.replies[0]
        if isinstance(reply, OSError):
            raise reply
        return [{"hostname": host, "host": reply, "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}]

    async def close(self):
        pass


@pytest.fixture
def names(monkeypatch):
    """Set what looking up a host comes to, one reply after the other, the last for ever."""
    monkeypatch.setattr("aiohttp.ThreadedResolver", Names)
    monkeypatch.setattr(Names, "replies", [])
    return Names.replies.extend


NO_SUCH_NAME = socket.gaierror(socket.EAI_NONAME, "Name or service not known")


NO_ADDRESS = socket.gaierror(getattr(socket, "EAI_NODATA", socket.EAI_NONAME), "No address associated with hostname")


NOT_NOW = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


@contextlib.contextmanager
def no_more_files():
    """This process has as many files open as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as files:
        files.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
        with contextlib.suppress(OSError):
            while True:
                files.enter_context(Path("/dev/null").open())
        yield files.close
