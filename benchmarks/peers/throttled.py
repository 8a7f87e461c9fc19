"""This library against a server that refuses what is too much, judged by what it hears."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from benchmarks.peers.base import TOKEN, AsyncPeer
from profile_history import AttemptEnded, HistoryClient, Observation, Pacing, RateLimited, RetryPolicy
from profile_history.testing import HistoryServer

_PROFILES = 300
_FROM, _TO = "2024-05-01", "2024-05-30"


class Throttled(AsyncPeer):
    """A stream without end; a stretch of time has its good responses and its 429s."""

    def read(self, *, concurrency: int, adaptive: bool, warm_up: float, stretches: int, seconds: float) -> Any:
        """Read on, and tell of each stretch after the warm-up how many responses were good and how many 429."""
        pacing = Pacing(concurrency=concurrency, adaptive=adaptive)
        return {"stretches": self.loop.run_until_complete(self._read(pacing, warm_up, stretches, seconds))}

    async def _read(self, pacing: Pacing, warm_up: float, stretches: int, seconds: float) -> list[tuple[int, int]]:
        heard: list[tuple[float, bool]] = []
        clock = asyncio.get_running_loop().time

        def hear(note: Observation) -> None:
            if isinstance(note, AttemptEnded) and (note.error is None or isinstance(note.error, RateLimited)):
                heard.append((clock(), note.error is None))

        start = clock() + warm_up
        names = HistoryServer(profiles=_PROFILES).profiles()
        async with HistoryClient(
            self.site.base_url,
            token=TOKEN,
            list_id=20,
            pacing=pacing,
            retry=RetryPolicy(patience=900),
            on_event=hear,
        ) as client:
            stream = client.histories(itertools.cycle(names), _FROM, _TO, on_error="collect")
            async with stream:
                async for _profile, _event in stream:
                    if clock() > start + stretches * seconds:
                        break
        return [
            (sum(good for _, good in part), sum(not good for _, good in part))
            for begin in (start + number * seconds for number in range(stretches))
            for part in [[(when, good) for when, good in heard if begin <= when < begin + seconds]]
        ]
