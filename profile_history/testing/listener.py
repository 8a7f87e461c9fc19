"""The socket and the connections of the server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from profile_history.testing.delivery import reset_connection

_HOST = "127.0.0.1"
_GRACE = 0.1
_TRIES = 100
# Of the event loop: one that accepts a connection, and one that makes its transport.
_TURNS_TO_ACCEPT = 2


class Listener:
    """A port of 127.0.0.1, every request on which goes to a function.

    Args:
        serve: The function.
        port: The port; 0 for a free one.
    """

    def __init__(self, serve: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], port: int) -> None:
        self._serve = serve
        self.port: int = port
        self._connections: _Connections | None = None
        self._runner: web.ServerRunner | None = None
        self._socket: socket.socket | None = None
        self._site: web.BaseSite | None = None
        self._reserved: socket.socket | None = None

    async def start(self) -> None:
        """Begin to listen; a port of 0 becomes the number of a free one."""
        self._connections = _Connections(self._serve)
        self._runner = web.ServerRunner(self._connections, shutdown_timeout=_GRACE)
        try:
            await self._runner.setup()
            await self._listen(self._runner, socket.create_server((_HOST, self.port)))
        except BaseException:
            await self.stop()
            raise
        self.port = self._runner.addresses[0][1]

    async def pause(self) -> None:
        """Stop listening and cut all connections; new ones are refused."""
        if self._runner is None or self._connections is None:
            raise RuntimeError("the server does not run")
        if self._site is None:
            return
        self._connections.refused = True
        await self._stop_listening()
        self._reserved = await _reserve(self.port)
        await self._connections.cut()

    async def resume(self) -> None:
        """Listen again, on the same port."""
        if self._runner is None or self._connections is None:
            raise RuntimeError("the server does not run")
        if self._site is not None:
            return
        reserved, self._reserved = self._reserved, None
        await self._listen(self._runner, reserved or socket.create_server((_HOST, self.port)))
        self._connections.refused = False

    async def stop(self) -> None:
        """End all connections; requests in flight have a moment to get their response."""
        await self._stop_listening()
        runner, connections = self._runner, self._connections
        self._runner = self._connections = None
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None
        if runner is not None and connections is not None:
            transports = connections.transports
            await runner.cleanup()
            # aiohttp closes a connection only when all its bytes have left, which a client may never allow.
            for transport in transports:
                transport.abort()
            await asyncio.sleep(0)

    async def _listen(self, runner: web.ServerRunner, listening: socket.socket) -> None:
        """Accept connections on a socket that is bound."""
        self._socket, self._site = listening, web.SockSite(runner, listening)
        await self._site.start()

    async def _stop_listening(self) -> None:
        """Accept no more connections; those that are accepted are announced before the socket is closed."""
        listening, site = self._socket, self._site
        self._socket = self._site = None
        if listening is None or site is None:
            return
        # asyncio loses a connection, and leaves its socket open, whose server is closed between the turn that accepts
        # it and the one that makes its transport (https://github.com/python/cpython/issues/109564).
        loop = asyncio.get_running_loop()
        if isinstance(loop, asyncio.SelectorEventLoop):
            loop.remove_reader(listening)
        for _ in range(_TURNS_TO_ACCEPT):
            await asyncio.sleep(0)
        await site.stop()

    def reuses(self, request: web.BaseRequest) -> bool:
        """Tell whether another request came on this one's connection before it."""
        return self._connections is not None and self._connections.seen(request.protocol)


class _Connections(web.Server):
    """All connections, with a memory of those that have served."""

    def __init__(self, serve: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        super().__init__(serve, handler_cancellation=True, access_log=None)
        self.refused = False
        self._open: dict[RequestHandler, asyncio.Transport] = {}
        self._seen: set[RequestHandler] = set()

    @property
    def transports(self) -> list[asyncio.Transport]:
        """Return the open connections."""
        return list(self._open.values())

    def seen(self, handler: RequestHandler) -> bool:
        """Record that a connection serves a request, and tell whether it did so before."""
        known = handler in self._seen
        self._seen.add(handler)
        return known

    async def cut(self) -> None:
        """Reset all connections, and wait until their handlers have ended."""
        for transport in self.transports:
            reset_connection(transport)
        while self.connections:  # noqa: ASYNC110 (aiohttp tells nobody when the last handler has ended)
            await asyncio.sleep(0)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """Keep the transport of a new connection. aiohttp calls this.

        Args:
            handler: Its handler.
            transport: Its transport.
        """
        super().connection_made(handler, transport)
        self._open[handler] = transport
        # Accepted before the server stopped listening, and announced only now.
        if self.refused:
            reset_connection(transport)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """Forget a connection that has ended. aiohttp calls this.

        Args:
            handler: Its handler.
            exc: Why it ended, `None` if it was closed.
        """
        self._open.pop(handler, None)
        self._seen.discard(handler)
        super().connection_lost(handler, exc)


async def _reserve(port: int) -> socket.socket | None:
    """Return a socket that keeps the port from others and refuses connections, `None` if that does not work."""
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    for _ in range(_TRIES):
        with contextlib.suppress(OSError):
            reserved.bind((_HOST, port))
            return reserved
        # The event loop may close the old socket a little later.
        await asyncio.sleep(0)
    reserved.close()
    return None
