"""A job in a process that is to be killed: `python jobworker.py`, with the settings of a client in its environment.

It imports everything once, and then forks a child for each order, which is a line of JSON. So a start costs a few
milliseconds and not half a second, and a thousand of them can be killed. Before it forks it has no thread, no event
loop and no connection. Its answer is a line of JSON: how the child ended, and in which phase it was.
"""

import asyncio
import datetime as dt
import json
import mmap
import os
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

import attrs

from profile_history import HistoryClient
from profile_history.jobs import HistoryJob
from profile_history.jobs.keeping import Keeper
from profile_history.jobs.ledger import Ledger
from profile_history.jobs.naming import profile_of
from profile_history.sinks.urls import sink_of

PHASES = (
    "starting",
    "planning",
    "opening",
    "fetching",
    "writing",
    "noting",
    "dropping",
    "extending",
    "finishing",
    "intending",
    "publishing",
    "listing",
    "closing",
)


@attrs.frozen(kw_only=True)
class Order:
    """What a child is to do.

    Attributes:
        sink: Where the rows go, as a URL.
        ledger: The ledger.
        profiles: All profiles, as text.
        until: The new last day of a job that is there; None to begin it, or to go on with what is begun.
        after: Seconds after which it is killed; None to let it be.
        phase: In which phase it is killed, instead.
        nth: In how manieth of that phase.
        delay: So many seconds into it.
    """

    sink: str
    ledger: str
    profiles: list
    date_from: str
    date_to: str
    until: str | None = None
    after: float | None = None
    phase: str | None = None
    nth: int = 1
    delay: float = 0.0


class Worker:
    """The other side: the process that forks, for the length of a `with`."""

    def __init__(self, server):
        environment = {
            **os.environ,
            "PROFILE_HISTORY_URL": server.url,
            "PROFILE_HISTORY_TOKEN": server.token,
            "PROFILE_HISTORY_LIST_ID": str(server.list_id),
        }
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def run(self, order):
        """Carries out an order; gives the phase in which the child was killed, or None where it came to its end."""
        self._process.stdin.write(json.dumps(attrs.asdict(order)) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"status": 1}
        if answer["status"] not in {0, -signal.SIGKILL}:
            self._process.stdin.close()
            raise AssertionError(f"{order}: status {answer['status']}\n{self._process.stderr.read()}")
        return answer["phase"] if answer["status"] else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()
        self._process.stderr.close()


class Phases:
    """Notes in shared memory which phase this process is in, and kills it in one of them."""

    def __init__(self, memory, order):
        self._memory, self._order = memory, order
        self._seen = 0

    def watch(self):
        """Has the parts of a job tell where they are."""
        sink = type(sink_of(self._order.sink))
        for owner, name, phase in (
            (Keeper, "_plan", "planning"),
            (Keeper, "_open_sink", "opening"),
            (Keeper, "extend", "extending"),
            (Keeper, "write_lists", "listing"),
            (Keeper, "close", "closing"),
            (Ledger, "apply", "noting"),
            (Ledger, "intend", "intending"),
            (Ledger, "intend_to_publish", "intending"),
            (Ledger, "published", "noting"),
            (sink, "write", "writing"),
            (sink, "drop", "dropping"),
            (sink, "finish", "finishing"),
            (sink, "publish", "publishing"),
        ):
            setattr(owner, name, self._told(getattr(owner, name), PHASES.index(phase)))

    def _told(self, work, phase):
        def told(*arguments, **options):
            before = self._memory[0]
            self._enter(phase)
            try:
                return work(*arguments, **options)
            finally:
                self._memory[0] = before or PHASES.index("fetching")

        return told

    def _enter(self, phase):
        self._memory[0] = phase
        if PHASES[phase] == self._order.phase:
            self._seen += 1
            if self._seen == self._order.nth:
                threading.Thread(target=self._die, daemon=True).start()

    def _die(self):
        time.sleep(self._order.delay)
        os.kill(os.getpid(), signal.SIGKILL)


async def work(order):
    """Runs the job to its end."""
    async with HistoryClient(window=61) as client:
        job = HistoryJob(
            client,
            [profile_of(text) for text in order.profiles],
            order.sink,
            ledger=Path(order.ledger),
            date_from=order.date_from,
            date_to=order.date_to,
            commit_seconds=0.03,
            commit_bytes=20_000,
            today=lambda: dt.date.fromisoformat(order.until or order.date_to),
        )
        async for _ in job.run(until=order.until):
            pass


def child(order, memory):
    """What the child does; it leaves without any cleaning up, as nothing depends on that."""
    status = 1
    try:
        Phases(memory, order).watch()
        asyncio.run(work(order))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def carried_out(order):
    """Forks, kills if that is the order, and tells what has become of the child."""
    memory = mmap.mmap(-1, mmap.PAGESIZE)
    pid = os.fork()
    if pid == 0:
        child(order, memory)
    ending = os.pidfd_open(pid)
    select.select([ending], [], [], order.after)
    if order.after is not None:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    os.close(ending)
    return {"status": os.waitstatus_to_exitcode(status), "phase": PHASES[memory[0]]}


def main():
    sink_of("x.csv"), sink_of("x.parquet"), sink_of("x.duckdb"), sink_of("postgresql://localhost/x")
    import profile_history.arrow  # noqa: F401

    for line in sys.stdin:
        print(json.dumps(carried_out(Order(**json.loads(line)))), flush=True)


if __name__ == "__main__":
    main()
