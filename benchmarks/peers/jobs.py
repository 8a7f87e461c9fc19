"""A durable job of this library into Parquet, and one that goes on with a ledger of millions of units."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import attrs

from benchmarks import machine
from benchmarks.ledgers import FIRST_DAY, LAST_DAY, LEDGER, client_of, profile_of
from benchmarks.peers.base import AsyncPeer
from benchmarks.peers.parquet import parquet_rows
from profile_history import Profile
from profile_history.jobs import HistoryJob

_LOOK = 0.001


@attrs.frozen
class _Profiles:
    """So many profiles, made as they are asked for."""

    number: int

    def __iter__(self) -> Iterator[Profile]:
        return map(profile_of, range(self.number))


class Job(AsyncPeer):
    """One client, and a job with its defaults."""

    async def start(self) -> None:
        """Make the client."""
        # Every prepared response has as many rows as the last, which looks like a cap.
        logging.getLogger("profile_history").setLevel(logging.ERROR)
        self.client = client_of(self.site.base_url, self.site.in_flight)

    async def stop(self) -> None:
        """Close it."""
        await self.client.aclose()

    async def work(self, requests: int) -> int:
        """Run a job of as many profiles, and count the events in its files."""
        job = HistoryJob(
            self.client,
            _Profiles(requests),
            "lake.parquet",
            ledger=LEDGER,
            date_from=FIRST_DAY,
            date_to=LAST_DAY,
        )
        async for _ in job.run():
            pass
        return parquet_rows(Path("lake.parquet"))

    def ledger(self) -> dict[str, Any]:
        """Return how many bytes its ledger has."""
        return {"size": Path(LEDGER).stat().st_size}

    def resume(self, folder: str) -> dict[str, Any]:
        """Go on with a job until its first request is sent, and tell after how many seconds that was."""
        machine.forget_peak()
        seconds = self.loop.run_until_complete(self._first_request(Path(folder, LEDGER)))
        return {"seconds": seconds, "peak": machine.resident()[1]}

    async def _first_request(self, ledger: Path) -> float:
        start = time.perf_counter()
        job = HistoryJob(self.client, ledger=ledger)
        async with aclosing(job.run()) as running:
            beginning = asyncio.ensure_future(anext(running))
            while not job.progress.requests and not beginning.done():  # noqa: ASYNC110 (a job has no event for it)
                await asyncio.sleep(_LOOK)
            seconds = time.perf_counter() - start
            await beginning
        return seconds
