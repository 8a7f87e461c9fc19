"""The package's own test server in a process of its own, which refuses more requests at once than it has places."""

from __future__ import annotations

import asyncio
import sys

from profile_history.testing import Behaviour, HistoryServer


async def serve(port: int, capacity: int, latency: float, profiles: int) -> None:
    """Serve until it is ended."""
    behaviour = Behaviour(capacity=capacity, latency=latency)
    async with HistoryServer(profiles=profiles, behaviour=behaviour, port=port):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])))
