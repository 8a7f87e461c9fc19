"""Exchanges with an embedded server that misbehaves, seen byte by byte."""

import asyncio
import json
import re

import attrs
import pytest

from profile_history._protocol.requests import PATH
from profile_history.testing import Fault, FaultPlan, HistoryServer

TOKEN = "a-token-that-nothing-prints"
FROM, TO = "2023-03-01", "2024-09-01"
PATIENCE = 0.15
QUICK = {"retry_after": 3, "stall": 0.02, "slow": 0.02, "drip": 0.0, "bomb": 2**21, "row_cap": 4}
EOF_LINE = b"\r\n\r\n"


def of(stage):
    """The faults of a stage."""
    return [fault for fault in Fault if fault.stage is stage]


class Tap(asyncio.Protocol):
    """Collects all that arrives on a connection, and notes how it ends."""

    def __init__(self):
        self.seen = b""
        self.ended = asyncio.get_running_loop().create_future()

    def data_received(self, data):
        self.seen += data

    def connection_lost(self, error):
        if not self.ended.done():
            self.ended.set_result("closed" if error is None else "reset")


class Seen:
    """What came back for one raw request.

    Attributes:
        raw: Every byte.
        end: "closed", "reset", or "open" where the client lost patience.
    """

    def __init__(self, raw, end, server):
        self.raw, self.end, self.server = raw, end, server
        self.head, _, self.body = raw.partition(EOF_LINE)
        first, *lines = self.head.decode(errors="replace").split("\r\n")
        http = first.startswith("HTTP/1.1 ")
        self.status = int(first.split(" ")[1]) if http else None
        self.fields = [tuple(line.split(": ", 1)) for line in lines if http]
        self.headers = dict(self.fields)
        self.whole = self.end == "closed" and self.headers.get("Content-Length") == str(len(self.body))

    @property
    def json(self):
        assert self.whole, self.raw[-300:]
        return json.loads(self.body, strict=False)

    @property
    def rows(self):
        assert (self.status, self.json["error"], self.json["error_text"]) == (200, 0, "Successful operation")
        return self.json["data"]

    @property
    def page(self):
        return self.whole and self.headers["Content-Type"] == "text/html" and self.body.startswith(b"<html>")

    @property
    def code(self):
        assert "data" not in self.json
        return self.json["error"]

    @property
    def chunks(self):
        """The chunks of the body as far as they are proper, and what follows them."""
        chunks, rest = [], self.body
        while found := re.match(rb"([0-9a-f]{1,8})\r\n", rest):
            size = int(found[1], 16)
            chunks.append(rest[found.end() : found.end() + size])
            assert rest[found.end() + size :][:2] == b"\r\n"
            rest = rest[found.end() + size + 2 :]
        return chunks, rest


async def exchange(server, *, number=1, keep=False, method="POST", days=True, accept="gzip", patience=5.0):
    """Send one request over a connection of its own, and read until that ends."""
    body = {"token": server.token, "list_id": server.list_id, "email": f"user{number}@example.com"}
    if days:
        body |= {"date_from": FROM, "date_to": TO}
    content = json.dumps(body).encode()
    connection = "keep-alive" if keep else "close"
    head = f"{method} {PATH} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: {accept}\r\nConnection: {connection}\r\n"
    transport, tap = await asyncio.get_running_loop().create_connection(Tap, "127.0.0.1", port_of(server))
    try:
        transport.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        try:
            async with asyncio.timeout(patience):
                end = await asyncio.shield(tap.ended)
        except TimeoutError:
            end = "open"
    finally:
        transport.abort()
        await tap.ended
    return Seen(tap.seen, end, server)


def port_of(server):
    return int(server.url.rpartition(":")[2])


async def meet(server, *faults, number=1, **more):
    """What a request sees that meets some faults."""
    settings = {name: more.pop(name) for name in list(more) if name in attrs.fields_dict(FaultPlan)}
    server.faults = FaultPlan(script=[faults], **{**QUICK, **settings})
    if Fault.STALE_CONNECTION in faults:
        return await on_a_used_connection(server, server.faults)
    if Fault.ENDLESS_CONTINUE in faults:
        server.faults = attrs.evolve(server.faults, drip=0.005)
        return await exchange(server, number=number, patience=PATIENCE, **more)
    return await exchange(server, number=number, **more)


async def on_a_used_connection(server, plan):
    """What comes back for the second request of a connection, whose first was answered well."""
    server.faults = FaultPlan()
    body = json.dumps({"token": server.token, "list_id": server.list_id, "email": "user2@example.com"}).encode()
    request = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    transport, tap = await asyncio.get_running_loop().create_connection(Tap, "127.0.0.1", port_of(server))
    transport.write(request)
    async with asyncio.timeout(5):
        while not tap.seen.endswith(b"}"):
            await asyncio.sleep(0.001)
        first, tap.seen = tap.seen, b""
        assert Seen(first, "closed", server).rows
        server.faults = plan
        transport.write(request)
        end = await tap.ended
    return Seen(tap.seen, end, server)


def good(server, number=1):
    """The rows of a good response to `exchange`."""
    rows = server.histories.rows(number, "seed")[::-1]
    return [dict(row.fields) for row in rows if FROM <= str(row.label.date()) <= TO]


def truth(seen):
    return seen.rows == good(seen.server)


def says(**said):
    """A check of the envelope around the good rows."""

    def check(seen):
        assert seen.status == 200
        return seen.json == {"data": good(seen.server), "error": 0, "error_text": "Successful operation"} | said

    return check


def cut(seen):
    """A good beginning, and less than was announced."""
    assert seen.status == 200
    assert 0 < len(seen.body) < int(seen.headers["Content-Length"])
    return json.dumps(good(seen.server)[:1]).replace(" ", "")[1:50].startswith(seen.body[9:20].decode())


def nothing(end):
    return lambda seen: (seen.raw, seen.end) == (b"", end)


@pytest.fixture
async def server():
    async with HistoryServer(profiles=30, token=TOKEN) as running:
        yield running


async def until(condition):
    """Wait for a condition, five seconds at most."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.002)
