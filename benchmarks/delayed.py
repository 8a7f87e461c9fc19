"""A server that responds to each POST with the same bytes after the same time: nginx cannot wait.

Its event loop never sleeps where it has a core to itself, since timers of asyncio are late by up to a millisecond.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


class Delayed(asyncio.Protocol):
    """One connection, kept open."""

    def __init__(self, response: bytes, latency: float) -> None:
        self._response = response
        self._latency = latency
        self._received = b""
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Respond to each complete request, later."""
        self._received += data
        while (end := self._end()) is not None:
            self._received = self._received[end:]
            self._loop.call_later(self._latency, self._send)

    def _send(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(self._response)

    def _end(self) -> int | None:
        head, blank, body = self._received.partition(b"\r\n\r\n")
        if not blank:
            return None
        fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:])
        length = int(fields.get(b"content-length", b"0"))
        return len(head) + len(blank) + length if len(body) >= length else None


async def serve(port: int, data: bytes, latency: float, *, spin: bool) -> None:
    """Serve until it is ended."""
    response = _HEAD % len(data) + data
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Delayed(response, latency), "127.0.0.1", port, backlog=1024)

    def again() -> None:
        loop.call_soon(again)

    if spin:
        again()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2]).read_bytes(), float(sys.argv[3]), spin=sys.argv[4] == "spin"))
