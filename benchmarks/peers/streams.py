"""This library: its streams of events, of raw rows and of record batches."""

from __future__ import annotations

import logging
from typing import Any

from benchmarks.peers.base import TOKEN, AsyncPeer
from benchmarks.sides import Unavailable
from profile_history import HistoryClient, Pacing, Profile

_MOST_PREPARED = 5_000
BATCH = 65_536


class Stream(AsyncPeer):
    """One client, as many requests in flight as everybody has."""

    profiles: Any = ()

    async def start(self) -> None:
        """Make the client."""
        # Every prepared response has as many rows as the last, which looks like a cap.
        logging.getLogger("profile_history").setLevel(logging.ERROR)
        self.client = HistoryClient(
            self.site.base_url,
            token=TOKEN,
            list_id=20,
            pacing=Pacing(concurrency=self.site.in_flight, adaptive=False),
            allow_http=True,
        )

    async def stop(self) -> None:
        """Close it."""
        await self.client.aclose()

    def prepare(self, requests: int) -> None:
        """Make the profiles, unless there are so many that nobody would hold them together."""
        profiles = (Profile.email(f"user{number}@example.com") for number in range(requests))
        self.profiles = profiles if requests > _MOST_PREPARED else list(profiles)


class Events(Stream):
    """Event by event."""

    async def work(self, requests: int) -> int:  # noqa: ARG002 - the profiles were made for as many
        """Read all events."""
        events = 0
        async for _profile, _event in self.client.histories(self.profiles):
            events += 1
        return events


class Raw(Stream):
    """Row by row, as bytes."""

    async def start(self) -> None:
        """Make the client."""
        await super().start()
        _require_form(self.client, "raw")

    async def work(self, requests: int) -> int:  # noqa: ARG002
        """Read all rows."""
        rows = 0
        async for _profile, _row in self.client.histories(self.profiles).raw():
            rows += 1
        return rows


class Arrow(Stream):
    """Record batches."""

    async def start(self) -> None:
        """Make the client."""
        await super().start()
        _require_form(self.client, "batches")

    async def work(self, requests: int) -> int:  # noqa: ARG002
        """Read all batches."""
        rows = 0
        async for batch in self.client.histories(self.profiles).batches(rows=BATCH):
            rows += batch.num_rows
        return rows


def _require_form(client: HistoryClient, name: str) -> None:
    if not hasattr(client.histories(()), name):
        raise Unavailable(f"streams have no {name}() yet")
