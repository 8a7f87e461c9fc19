"""httpx: one asynchronous client.

By default it opens up to 100 connections and keeps 20 of them; with all of them kept, looking for one takes it so long
that it is several times slower. Both are here.
"""

from __future__ import annotations

import json

import httpx

from benchmarks.peers.base import HEADERS, REQUEST, AsyncPeer, fan_out
from benchmarks.peers.with_aiohttp import counted

_BODY = json.dumps(REQUEST).encode()


class Httpx(AsyncPeer):
    """Dictionaries by `response.json()`, the client's limits as they are."""

    limits = httpx.Limits(max_connections=100, max_keepalive_connections=20)

    async def start(self) -> None:
        """Make the client."""
        self.client = httpx.AsyncClient(limits=self.limits, timeout=60)

    async def work(self, requests: int) -> int:
        """Make some requests."""
        return await fan_out(requests, self.site.in_flight, self.one)

    async def stop(self) -> None:
        """Close the client."""
        await self.client.aclose()

    async def one(self) -> int:
        """Make one request and read its rows."""
        response = await self.client.post(self.url, content=_BODY, headers=HEADERS)
        response.raise_for_status()
        return counted(response.json())


class HttpxKeeping(Httpx):
    """The same with every connection kept."""

    limits = httpx.Limits(max_connections=100, max_keepalive_connections=100)
