"""The event loop that is running: asyncio's, or an error that says so."""

from __future__ import annotations

import asyncio

from profile_history.errors import UsageError


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the running event loop of asyncio.

    Raises:
        UsageError: There is none, as under trio.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise UsageError(
            "there is no running event loop of asyncio, and aiohttp works on no other; begin with asyncio.run(), or "
            "anyio.run(..., backend='asyncio'); under trio use trio_asyncio.open_loop()"
        ) from None
