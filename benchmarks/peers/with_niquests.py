"""niquests: one asynchronous session, its pool as large as the number of requests in flight."""

from __future__ import annotations

import json

import niquests

from benchmarks.peers.base import HEADERS, REQUEST, AsyncPeer, fan_out
from benchmarks.peers.with_aiohttp import counted

_BODY = json.dumps(REQUEST).encode()


class Niquests(AsyncPeer):
    """Dictionaries by `response.json()`."""

    async def start(self) -> None:
        """Make the session."""
        self.session = niquests.AsyncSession(pool_connections=1, pool_maxsize=self.site.in_flight)

    async def work(self, requests: int) -> int:
        """Make some requests."""
        return await fan_out(requests, self.site.in_flight, self.one)

    async def stop(self) -> None:
        """Close the session."""
        await self.session.close()

    async def one(self) -> int:
        """Make one request and read its rows."""
        response = await self.session.post(self.url, data=_BODY, headers=HEADERS)
        response.raise_for_status()
        return counted(response.json())
