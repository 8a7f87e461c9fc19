"""Run as a process of its own: asks for a response, and prints what came of it and its cost, in CPU time and memory.

`python bombed.py URL CAP`
"""

import asyncio
import json
import re
import sys
import time
from pathlib import Path

from profile_history import HistoryClient, HistoryError, Limits, Profile, RetryPolicy

STATUS = Path("/proc/self/status")


def memory(name):
    """Bytes: "RSS" for now, "HWM" for the most so far."""
    return 1024 * int(re.search(rf"Vm{name}:\s+(\d+) kB", STATUS.read_text())[1])


async def ask(url, cap):
    async with HistoryClient(
        url, token="a-token", list_id=20, retry=RetryPolicy(attempts=1, passes=1), limits=Limits(body=cap), window=None
    ) as client:
        await client.history(Profile.email("small@example.com")).collect()
        before, began = memory("RSS"), time.process_time()
        try:
            events = len(await client.history(Profile.email("bomb@example.com")).collect())
            error = None
        except HistoryError as raised:
            events, error = 0, type(raised).__name__
        seconds = time.process_time() - began
    return {"error": error, "events": events, "seconds": seconds, "growth": memory("HWM") - before}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(ask(sys.argv[1], int(sys.argv[2])))))
