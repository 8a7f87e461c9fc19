"""Who else is on the network: what passes on, and what must not be reached."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any


@contextlib.asynccontextmanager
async def listening(serve: Callable[..., Any], **options: Any) -> AsyncIterator[int]:
    """Run a socket server: yield its port, and leave no connection.

    Args:
        serve: Is called with the reader and the writer of each connection.
        options: Further arguments of `asyncio.start_server`.
    """
    tasks: set[asyncio.Task[Any]] = set()

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        try:
            await serve(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            tasks.discard(asyncio.current_task())

    server = await asyncio.start_server(served, "127.0.0.1", 0, **options)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(list(tasks))
        await server.wait_closed()


def passing_on(port: int) -> Callable[..., Any]:
    """Return what joins a connection to a port of this machine."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.gather(pump(reader, back), pump(there, writer))
        finally:
            back.transport.abort()

    return serve


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes until its end.

    Args:
        reader: Where it comes from.
        writer: Where it goes, which is closed in the end.
    """
    while part := await reader.read(65536):
        writer.write(part)
        await writer.drain()
    writer.close()


class Elsewhere:
    """Where a redirect points to: whoever gets there is counted."""

    def __init__(self) -> None:
        self.visitors = 0

    async def serve(self, reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        """Count a visitor."""
        self.visitors += 1
        await reader.read(1000)
