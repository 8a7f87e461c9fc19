"""A dlt resource of awaitables, which dlt awaits in parallel on its own event loop; each gives a page of rows.

Only the extraction is measured; dlt's normalising and loading are in the figure `export`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import aiohttp
import dlt
from dlt.extract import DltResource

from benchmarks.peers.base import HEADERS, REQUEST, Peer

_BODY = json.dumps(REQUEST).encode()


class Fetching:
    """One aiohttp session on dlt's loop, which ends with the last request."""

    def __init__(self, url: str, requests: int, in_flight: int) -> None:
        self._url = url
        self._in_flight = in_flight
        self._requests = self._left = requests
        self._session: aiohttp.ClientSession | None = None
        os.environ["EXTRACT__MAX_PARALLEL_ITEMS"] = str(in_flight)

    def resource(self) -> DltResource:
        """Return the histories of all profiles."""

        @dlt.resource(name="profiles")
        def profiles() -> Iterator[int]:
            yield from range(self._requests)

        @dlt.transformer(name="history")
        async def history(_profile: int) -> list[dict[str, Any]]:
            return await self._page()

        return profiles | history

    async def _page(self) -> list[dict[str, Any]]:
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=self._in_flight))
        async with self._session.post(self._url, data=_BODY, headers=HEADERS) as response:
            response.raise_for_status()
            # What dlt itself decodes with: orjson, where it is installed.
            payload = dlt.common.json.loadb(await response.read())
        if payload["error"] != 0:
            raise RuntimeError(payload["error_text"])
        self._left -= 1
        if not self._left:
            await self._session.close()
        rows: list[dict[str, Any]] = payload["data"]
        return rows


class AsyncResource(Peer):
    """Read row by row, as dlt hands them out."""

    def fetch(self, requests: int) -> int:
        """Read all rows of a resource."""
        rows = 0
        for _row in Fetching(self.url, requests, self.site.in_flight).resource():
            rows += 1
        return rows
