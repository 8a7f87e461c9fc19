"""How an answer is put on its connection, properly or not."""

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

from profile_history.testing.api import Answer, success
from profile_history.testing.attempt import Meeting
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


async def deliver(request: web.BaseRequest, answer: Answer, meeting: Meeting) -> web.StreamResponse:
    """Puts the answer on the connection of its request, as the attempt's faults say.

    Args:
        request: The request.
        answer: The answer, spoiled already.
        meeting: The attempt and its faults.

    Returns:
        What tells aiohttp's server whether the connection is kept.
    """
    if meeting.fault(Stage.DELAY):
        await asyncio.sleep(meeting.settings(Fault.SLOW_FIRST_BYTE).slow)
    fault = meeting.fault(Stage.DELIVERY)
    wire = _Wire(request, answer, meeting, fault)
    keep = False
    # A client that has gone is no error of the server.
    with contextlib.suppress(ConnectionError):
        keep = await (_DELIVERIES[fault] if fault else _whole)(wire)
    return _Sent(keep=keep)


def reset(transport: asyncio.Transport | None) -> None:
    """Cuts a connection at once; its other end sees a reset."""
    if transport is None:
        return
    if not transport.is_closing():
        linger = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()


class _Sent(web.StreamResponse):
    """An answer that is on its way already; aiohttp's server only learns whether the connection is kept."""

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


class _Wire:
    """The connection of one request, and the answer to it."""

    def __init__(self, request: web.BaseRequest, answer: Answer, meeting: Meeting, fault: Fault | None) -> None:
        self._request = request
        self._answer = answer
        self._behaviour = meeting.behaviour
        self._bodyless = answer.status in _WITHOUT_BODY
        self.body = b"" if self._bodyless or request.method == "HEAD" else answer.body
        self.keep = request.keep_alive
        if fault is not None:
            self.chance = meeting.chance(fault)
            self.plan = meeting.settings(fault)

    @property
    def size(self) -> str:
        """The header that truly says how long the body is."""
        return "" if self._bodyless else f"Content-Length: {len(self._answer.body)}"

    def head(self, *framing: str, keep: bool | None = None) -> bytes:
        """The status line and the headers, `framing` among them."""
        answer = self._answer
        now = self._behaviour.clock().astimezone(dt.UTC)
        date = {"Date": format_datetime(now, usegmt=True)} if self._behaviour.date_header else {}
        fields = {**date, "Server": _SERVER, **answer.headers}
        if answer.content_type is not None and not self._bodyless:
            fields["Content-Type"] = answer.content_type
        fields["Connection"] = "keep-alive" if (self.keep if keep is None else keep) else "close"
        lines = (
            f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, 'Odd')}",
            *map(": ".join, fields.items()),
            *filter(None, framing),
            "",
            "",
        )
        return "\r\n".join(lines).encode()

    def part(self) -> bytes:
        """The body up to somewhere before its end."""
        return self.body[: self.chance.between(1, len(self.body) - 1)]

    async def send(self, data: bytes) -> None:
        """Writes bytes to the connection.

        Raises:
            ConnectionError: The client has gone.
        """
        await self._request.writer.write(data)

    async def leave(self) -> bool:
        """Resets the connection as soon as what was written has left."""
        await self._request.writer.drain()
        await asyncio.sleep(0)
        reset(self._request.transport)
        return False


# Each puts the answer on the connection, and says whether it is kept afterwards; one that is not kept is closed.


async def _whole(wire: _Wire) -> bool:
    await wire.send(wire.head(wire.size) + wire.body)
    return wire.keep


async def _closed(_: _Wire) -> bool:
    return False


async def _reset(wire: _Wire) -> bool:
    return await wire.leave()


async def _reset_in_body(wire: _Wire) -> bool:
    await wire.send(wire.head(wire.size) + wire.part())
    return await wire.leave()


async def _truncated(wire: _Wire) -> bool:
    await wire.send(wire.head(wire.size) + wire.part())
    return False


async def _close_delimited_cut(wire: _Wire) -> bool:
    await wire.send(wire.head(keep=False) + wire.part())
    return False


async def _without_end(wire: _Wire) -> bool:
    await wire.send(wire.head("Transfer-Encoding: chunked") + _chunked(wire.body))
    return False


async def _too_long(wire: _Wire) -> bool:
    announced = len(wire.body) + wire.chance.between(1, 1000)
    await wire.send(wire.head(f"Content-Length: {announced}") + wire.body)
    return False


async def _too_short(wire: _Wire) -> bool:
    await wire.send(wire.head(f"Content-Length: {len(wire.part())}") + wire.body)
    return wire.keep


async def _two_lengths(wire: _Wire) -> bool:
    lengths = [wire.size, f"Content-Length: {len(wire.body) + wire.chance.one_of((-1, 1))}"]
    wire.chance.random.shuffle(lengths)
    await wire.send(wire.head(*lengths) + wire.body)
    return wire.keep


async def _length_and_chunked(wire: _Wire) -> bool:
    await wire.send(wire.head(wire.size, "Transfer-Encoding: chunked") + _chunked(wire.body) + b"0\r\n\r\n")
    return wire.keep


async def _bad_chunk_size(wire: _Wire) -> bool:
    bad = wire.chance.one_of(_BAD_SIZES) + b"\r\n"
    await wire.send(
        wire.head("Transfer-Encoding: chunked") + _chunked(wire.part()) + bad + wire.body + b"\r\n0\r\n\r\n"
    )
    return wire.keep


async def _with_another(wire: _Wire) -> bool:
    another = success([])
    framing = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(another)}\r\n\r\n"
    await wire.send(wire.head(wire.size) + wire.body + framing.encode() + another)
    return wire.keep


async def _stall(wire: _Wire) -> bool:
    await asyncio.sleep(wire.plan.stall)
    return await wire.leave()


async def _stall_in_body(wire: _Wire) -> bool:
    await wire.send(wire.head(wire.size) + wire.part())
    return await _stall(wire)


async def _huge(wire: _Wire) -> bool:
    # JSON may be blank in front; a client that takes it all finds a good answer at the end.
    await wire.send(wire.head("Transfer-Encoding: chunked"))
    blank = _chunked(b" " * _BLOCK)
    for _ in range(-(-wire.plan.bomb // _BLOCK)):
        await wire.send(blank)
    await wire.send(_chunked(wire.body) + b"0\r\n\r\n")
    return wire.keep


async def _drip(wire: _Wire) -> bool:
    await wire.send(wire.head(wire.size))
    for place in range(len(wire.body)):
        await wire.send(wire.body[place : place + 1])
        await asyncio.sleep(wire.plan.drip)
    return wire.keep


async def _continue(wire: _Wire) -> bool:
    while True:
        await wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await asyncio.sleep(wire.plan.drip)


async def _another_service(wire: _Wire) -> bool:
    await wire.send(wire.chance.one_of(_BANNERS))
    return False


async def _tls(wire: _Wire) -> bool:
    await wire.send(wire.chance.one_of(_TLS))
    return False


def _chunked(body: bytes) -> bytes:
    chunks = (body[place : place + _CHUNK] for place in range(0, len(body), _CHUNK))
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)


_DELIVERIES: dict[Fault, Callable[[_Wire], Awaitable[bool]]] = {
    Fault.STALE_CONNECTION: _closed,
    Fault.CLOSE_BEFORE_RESPONSE: _closed,
    Fault.RESET_BEFORE_RESPONSE: _reset,
    Fault.RESET_IN_BODY: _reset_in_body,
    Fault.TRUNCATED_BODY: _truncated,
    Fault.CLOSE_DELIMITED_CUT: _close_delimited_cut,
    Fault.CHUNKED_WITHOUT_END: _without_end,
    Fault.CONTENT_LENGTH_TOO_LONG: _too_long,
    Fault.CONTENT_LENGTH_TOO_SHORT: _too_short,
    Fault.DUPLICATE_CONTENT_LENGTH: _two_lengths,
    Fault.LENGTH_AND_CHUNKED: _length_and_chunked,
    Fault.BAD_CHUNK_SIZE: _bad_chunk_size,
    Fault.UNSOLICITED_RESPONSE: _with_another,
    Fault.STALL: _stall,
    Fault.STALL_IN_BODY: _stall_in_body,
    Fault.HUGE_BODY: _huge,
    Fault.SLOW_LORIS: _drip,
    Fault.ENDLESS_CONTINUE: _continue,
    Fault.SSH_BANNER: _another_service,
    Fault.TLS_BYTES: _tls,
}
