"""A response on its connection: written properly, or as a fault says."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import http
import socket
import struct
from collections.abc import Awaitable, Callable
from email.utils import format_datetime

from aiohttp import web

from profile_history.testing.api import ApiResponse, encode_rows
from profile_history.testing.attempt import Attempt
from profile_history.testing.faults import Fault, Stage

CUTS = frozenset(
    {
        Fault.STALE_CONNECTION,
        Fault.CLOSE_BEFORE_RESPONSE,
        Fault.RESET_BEFORE_RESPONSE,
        Fault.RESET_IN_BODY,
        Fault.TRUNCATED_BODY,
        Fault.CLOSE_DELIMITED_CUT,
        Fault.CHUNKED_WITHOUT_END,
        Fault.CONTENT_LENGTH_TOO_LONG,
        Fault.STALL,
        Fault.STALL_IN_BODY,
        Fault.ENDLESS_CONTINUE,
        Fault.SSH_BANNER,
        Fault.TLS_BYTES,
    }
)

_WITHOUT_BODY = frozenset({204, 304})
_REASONS = {status.value: status.phrase for status in http.HTTPStatus}
_SERVER = "profile-history-testing"
_CHUNK = 4096
_BLOCK = 2**16
_BAD_SIZES = (b"zz", b"-1", b"0x10", b"", b"f" * 17)
_BANNERS = (
    b"SSH-2.0-OpenSSH_9.6\r\n",
    b"220 mail.example.com ESMTP\r\n",
    b"J\x00\x00\x00\n8.0.36\x00\x08\x00\x00\x00",
)
_TLS = (b"\x15\x03\x03\x00\x02\x02\x28", b"\x16\x03\x03\x00\x2e\x02\x00\x00\x2a\x03\x03" + bytes(range(40)))


async def deliver(request: web.BaseRequest, response: ApiResponse, attempt: Attempt) -> web.StreamResponse:
    """Put a response on the connection of its request, as the attempt's faults say.

    Args:
        request: The request.
        response: The response, spoiled already.
        attempt: The attempt and its faults.

    Returns:
        An object that tells aiohttp's server whether the connection is kept.
    """
    if attempt.fault(Stage.DELAY):
        await asyncio.sleep(attempt.settings(Fault.SLOW_FIRST_BYTE).slow)
    fault = attempt.fault(Stage.DELIVERY)
    writer = _ResponseWriter(request, response, attempt, fault)
    keep = False
    # A client that has gone is no error of the server.
    with contextlib.suppress(ConnectionError):
        keep = await (_DELIVERIES[fault] if fault else _send_whole)(writer)
    return _DeliveredResponse(keep=keep)


def reset_connection(transport: asyncio.Transport | None) -> None:
    """Cut a connection at once, so that its other end sees a reset; safe to call twice."""
    if transport is None:
        return
    if not transport.is_closing():
        # With a linger time of 0 the system sends RST instead of FIN, and drops what is unsent.
        linger = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()


class _DeliveredResponse(web.StreamResponse):
    """A response that is sent already; aiohttp's server only learns whether the connection is kept."""

    def __init__(self, *, keep: bool) -> None:
        super().__init__()
        self._keep = keep

    @property
    def keep_alive(self) -> bool:
        return self._keep

    async def prepare(self, request: web.BaseRequest) -> None:
        pass

    async def write_eof(self, data: bytes = b"") -> None:
        pass


class _ResponseWriter:
    """The connection of one request, and the response to it."""

    def __init__(self, request: web.BaseRequest, response: ApiResponse, attempt: Attempt, fault: Fault | None) -> None:
        self._request = request
        self._response = response
        self._behaviour = attempt.behaviour
        self._has_no_body = response.status in _WITHOUT_BODY
        self.body = b"" if self._has_no_body or request.method == "HEAD" else response.body
        self.keep = request.keep_alive
        if fault is not None:
            self.chance = attempt.chance(fault)
            self.plan = attempt.settings(fault)

    @property
    def size(self) -> str:
        """Return the header that truly says how long the body is."""
        return "" if self._has_no_body else f"Content-Length: {len(self._response.body)}"

    def head(self, *framing: str, keep: bool | None = None) -> bytes:
        """Return the status line and the headers.

        Args:
            framing: The headers that say how long the body is; empty ones are left out.
            keep: Whether to announce that the connection is kept; `None` for what the request asked.
        """
        response = self._response
        now = self._behaviour.clock().astimezone(dt.UTC)
        date = {"Date": format_datetime(now, usegmt=True)} if self._behaviour.date_header else {}
        fields = {**date, "Server": _SERVER, **response.headers}
        if fields.get("Date") == "":
            del fields["Date"]
        if response.content_type is not None and not self._has_no_body:
            fields["Content-Type"] = response.content_type
        fields["Connection"] = "keep-alive" if (self.keep if keep is None else keep) else "close"
        lines = (
            f"HTTP/1.1 {response.status} {_REASONS.get(response.status, 'Odd')}",
            *map(": ".join, fields.items()),
            *filter(None, framing),
            "",
            "",
        )
        return "\r\n".join(lines).encode()

    def part(self) -> bytes:
        """Return the body up to somewhere before its end."""
        return self.body[: self.chance.between(1, len(self.body) - 1)]

    async def send(self, data: bytes) -> None:
        """Write bytes to the connection.

        Raises:
            ConnectionError: The client has gone.
        """
        await self._request.writer.write(data)

    async def leave(self) -> bool:
        """Reset the connection as soon as what was written has left; return that it is not kept."""
        await self._request.writer.drain()
        await asyncio.sleep(0)
        reset_connection(self._request.transport)
        return False


# Each of these puts the response on the connection, and returns whether it is kept; one that is not kept is closed.


async def _send_whole(writer: _ResponseWriter) -> bool:
    await writer.send(writer.head(writer.size) + writer.body)
    return writer.keep


async def _close(_: _ResponseWriter) -> bool:
    return False


async def _reset(writer: _ResponseWriter) -> bool:
    return await writer.leave()


async def _send_part_and_reset(writer: _ResponseWriter) -> bool:
    await writer.send(writer.head(writer.size) + writer.part())
    return await writer.leave()


async def _send_part_and_close(writer: _ResponseWriter) -> bool:
    await writer.send(writer.head(writer.size) + writer.part())
    return False


async def _send_part_without_length(writer: _ResponseWriter) -> bool:
    await writer.send(writer.head(keep=False) + writer.part())
    return False


async def _send_without_end(writer: _ResponseWriter) -> bool:
    await writer.send(writer.head("Transfer-Encoding: chunked") + _chunk_body(writer.body))
    return False


async def _announce_too_much(writer: _ResponseWriter) -> bool:
    announced = len(writer.body) + writer.chance.between(1, 1000)
    await writer.send(writer.head(f"Content-Length: {announced}") + writer.body)
    return False


async def _announce_too_little(writer: _ResponseWriter) -> bool:
    await writer.send(writer.head(f"Content-Length: {len(writer.part())}") + writer.body)
    return writer.keep


async def _announce_two_lengths(writer: _ResponseWriter) -> bool:
    lengths = [writer.size, f"Content-Length: {len(writer.body) + writer.chance.one_of((-1, 1))}"]
    writer.chance.random.shuffle(lengths)
    await writer.send(writer.head(*lengths) + writer.body)
    return writer.keep


async def _announce_length_and_chunks(writer: _ResponseWriter) -> bool:
    await writer.send(writer.head(writer.size, "Transfer-Encoding: chunked") + _chunk_body(writer.body) + b"0\r\n\r\n")
    return writer.keep


async def _send_bad_chunk_size(writer: _ResponseWriter) -> bool:
    bad = writer.chance.one_of(_BAD_SIZES) + b"\r\n"
    await writer.send(
        writer.head("Transfer-Encoding: chunked") + _chunk_body(writer.part()) + bad + writer.body + b"\r\n0\r\n\r\n"
    )
    return writer.keep


async def _send_another_behind(writer: _ResponseWriter) -> bool:
    another = encode_rows([])
    framing = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(another)}\r\n\r\n"
    await writer.send(writer.head(writer.size) + writer.body + framing.encode() + another)
    return writer.keep


async def _stall(writer: _ResponseWriter) -> bool:
    await asyncio.sleep(writer.plan.stall)
    return await writer.leave()


async def _send_part_and_stall(writer: _ResponseWriter) -> bool:
    await writer.send(writer.head(writer.size) + writer.part())
    return await _stall(writer)


async def _send_huge(writer: _ResponseWriter) -> bool:
    # JSON may begin with blanks; a client that takes them all finds a good response at the end.
    await writer.send(writer.head("Transfer-Encoding: chunked"))
    blank = _chunk_body(b" " * _BLOCK)
    for _ in range(-(-writer.plan.bomb // _BLOCK)):
        await writer.send(blank)
    await writer.send(_chunk_body(writer.body) + b"0\r\n\r\n")
    return writer.keep


async def _drip(writer: _ResponseWriter) -> bool:
    await writer.send(writer.head(writer.size))
    for place in range(len(writer.body)):
        await writer.send(writer.body[place : place + 1])
        await asyncio.sleep(writer.plan.drip)
    return writer.keep


async def _send_continue_forever(writer: _ResponseWriter) -> bool:
    while True:
        await writer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await asyncio.sleep(writer.plan.drip)


async def _send_banner(writer: _ResponseWriter) -> bool:
    await writer.send(writer.chance.one_of(_BANNERS))
    return False


async def _send_tls(writer: _ResponseWriter) -> bool:
    await writer.send(writer.chance.one_of(_TLS))
    return False


def _chunk_body(body: bytes) -> bytes:
    chunks = (body[place : place + _CHUNK] for place in range(0, len(body), _CHUNK))
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)


_DELIVERIES: dict[Fault, Callable[[_ResponseWriter], Awaitable[bool]]] = {
    Fault.STALE_CONNECTION: _close,
    Fault.CLOSE_BEFORE_RESPONSE: _close,
    Fault.RESET_BEFORE_RESPONSE: _reset,
    Fault.RESET_IN_BODY: _send_part_and_reset,
    Fault.TRUNCATED_BODY: _send_part_and_close,
    Fault.CLOSE_DELIMITED_CUT: _send_part_without_length,
    Fault.CHUNKED_WITHOUT_END: _send_without_end,
    Fault.CONTENT_LENGTH_TOO_LONG: _announce_too_much,
    Fault.CONTENT_LENGTH_TOO_SHORT: _announce_too_little,
    Fault.DUPLICATE_CONTENT_LENGTH: _announce_two_lengths,
    Fault.LENGTH_AND_CHUNKED: _announce_length_and_chunks,
    Fault.BAD_CHUNK_SIZE: _send_bad_chunk_size,
    Fault.UNSOLICITED_RESPONSE: _send_another_behind,
    Fault.STALL: _stall,
    Fault.STALL_IN_BODY: _send_part_and_stall,
    Fault.HUGE_BODY: _send_huge,
    Fault.SLOW_LORIS: _drip,
    Fault.ENDLESS_CONTINUE: _send_continue_forever,
    Fault.SSH_BANNER: _send_banner,
    Fault.TLS_BYTES: _send_tls,
}
