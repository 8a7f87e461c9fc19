"""An HTTP proxy that does what a test says, and remembers all that it saw in the clear."""

import asyncio
import base64
import contextlib
import re
from urllib.parse import urlsplit

from support.matrix.peers import pump

USER, PASSWORD = "robot", "canary-pass: w@rd/7f"
CREDENTIALS = "robot:canary-pass%3A%20w%40rd%2F7f"
BASIC = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


class Proxy:
    """A proxy that tunnels (CONNECT) and forwards requests of plain http, each on a connection of its own.

    Args:
        password: Whether it asks for USER and PASSWORD.
        turns: What it does with its first requests instead: the status to respond with, the bytes, or a coroutine
            function of reader and writer.
        rest: The same for all later ones, None to do its work.
        ssl: A context, for a proxy that is spoken with in TLS.
        hosts: Names that it knows, with the ports of this machine where they are.
    """

    def __init__(self, *turns, rest=None, password=False, ssl=None, hosts=()):
        self.turns, self.rest, self.password, self.ssl, self.hosts = list(turns), rest, password, ssl, dict(hosts)
        self.heads = []
        self.seen = bytearray()
        self.open = set()
        self._serving = set()

    @property
    def connects(self):
        """Return the targets of its tunnels, as they were asked for."""
        return [head.split()[1].decode() for head in self.heads if head.startswith(b"CONNECT ")]

    @property
    def url(self):
        """Return its address, without credentials."""
        return f"{'https' if self.ssl else 'http'}://127.0.0.1:{self.port}"

    @property
    def url_with_password(self):
        """Return its address as the environment may hold it."""
        return self.url.replace("://", f"://{CREDENTIALS}@")

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.ssl)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()
        self.cut()
        for task in self._serving:
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)
        await self._server.wait_closed()

    def cut(self):
        """Cut all connections."""
        for writer in list(self.open):
            writer.transport.abort()

    async def _serve(self, reader, writer):
        task = asyncio.current_task()
        self._serving.add(task)
        self.open.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._converse(reader, writer)
        writer.transport.abort()
        self.open.discard(writer)
        self._serving.discard(task)

    async def _converse(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        self.seen += head
        turn = self.turns.pop(0) if self.turns else self.rest
        if turn is None and self.password and f"Proxy-Authorization: {BASIC}\r\n".encode() not in head:
            turn = 407
        match turn:
            case None:
                await self._pass_on(head, reader, writer)
            case int():
                page = b"<html>no</html>"
                writer.write(b"HTTP/1.1 %d No\r\nContent-Length: %d\r\n\r\n%b" % (turn, len(page), page))
                await writer.drain()
            case bytes():
                writer.write(turn)
                await writer.drain()
            case _:
                await turn(reader, writer)

    async def _pass_on(self, head, reader, writer):
        method, target, _ = head.split(b"\r\n")[0].decode().split()
        parts = urlsplit(f"//{target}" if method == "CONNECT" else target)
        there, back = await asyncio.open_connection("127.0.0.1", self.hosts.get(parts.hostname, parts.port))
        self.open.add(back)
        try:
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                path = target.partition(parts.netloc)[2]
                kept = re.sub(rb"(?i)\r\nProxy-Authorization: [^\r]*", b"", head)
                back.write(kept.replace(target.encode(), path.encode(), 1))
            await asyncio.gather(self._watch(reader, back), pump(there, writer))
        finally:
            back.transport.abort()
            self.open.discard(back)

    async def _watch(self, reader, writer):
        while part := await reader.read(65536):
            self.seen += part
            writer.write(part)
            await writer.drain()
        writer.close()
