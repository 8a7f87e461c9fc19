"""A job in a process that is to be killed: `python jobworker.py`, with the settings of a client in its environment.

It imports everything once, and then forks a child for each order, which is a line of JSON. So a start costs a few
milliseconds and not half a second, and a thousand of them can be killed. Before it forks it has no event loop, no
connection, and no thread but those that its libraries keep to themselves. It replies with a line of JSON: how the child
ended, in which phase it was, and with which error.
"""

import asyncio
import datetime as dt
import json
import mmap
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

import attrs

from profile_history import HistoryClient, HistoryError
from profile_history.jobs import HistoryJob
from profile_history.jobs.draft import Draft
from profile_history.jobs.ledger import Ledger
from profile_history.jobs.profile_text import profile_of
from profile_history.jobs.session import JobSession
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
        nth: When it comes to that phase for this time, counted from 1.
        delay: So many seconds into it.
        limit: So many bytes no file can be larger than; None for any size.
        racers: How many processes do it, all beginning at the same moment.
        apart: Whether each of them has a ledger of its own, named by a number behind `ledger`.
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
    limit: int | None = None
    racers: int = 1
    apart: bool = False


class Worker:
    """The other side: the process that forks, for the length of a `with`."""

    def __init__(self, server):
        environment = {
            **os.environ,
            "OPENBLAS_NUM_THREADS": "1",
            "PROFILE_HISTORY_URL": server.url,
            "PROFILE_HISTORY_TOKEN": server.token,
            "PROFILE_HISTORY_LIST_ID": str(server.list_id),
        }
        self._process = subprocess.Popen(
            # From Python 3.12 on a fork beside any thread is warned of; pyarrow has one, and is prepared for it.
            [sys.executable, "-W", "ignore::DeprecationWarning", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def ask(self, order):
        """Carry out an order; return how the child ended, in which phase, and with which error."""
        self._process.stdin.write(json.dumps(attrs.asdict(order)) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def race(self, order):
        """Has some processes race; gives for each its pid, status, error, ledger, seconds, and those since opening."""
        return self.ask(order)["racers"]

    def run(self, order):
        """Call `ask` where it must not fail; return the phase in which it was killed, `None` if it came to its end."""
        answer = self.ask(order)
        assert answer["status"] in {0, -signal.SIGKILL}, answer
        return answer["phase"] if answer["status"] else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


class Phases:
    """Notes in shared memory which phase this process is in, and kills it in one of them."""

    def __init__(self, memory, order):
        self._memory, self._order = memory, order
        self._seen = 0
        self.opened = None

    def watch(self):
        """Has the parts of a job tell where they are."""
        sink = type(sink_of(self._order.sink))
        for owner, name, phase in (
            (Draft, "make", "planning"),
            (Draft, "put_in_place", "planning"),
            (JobSession, "_open_sink", "opening"),
            (JobSession, "extend", "extending"),
            (JobSession, "write_lists", "listing"),
            (JobSession, "close", "closing"),
            (Ledger, "apply", "noting"),
            (Ledger, "record_intent", "intending"),
            (Ledger, "intend_to_publish", "intending"),
            (Ledger, "record_published", "noting"),
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
        if PHASES[phase] == "opening":
            self.opened = time.monotonic()
        if PHASES[phase] == self._order.phase:
            self._seen += 1
            if self._seen == self._order.nth:
                threading.Thread(target=self._die, daemon=True).start()

    def _die(self):
        time.sleep(self._order.delay)
        os.kill(os.getpid(), signal.SIGKILL)


async def work(order):
    """Run the job to its end; an error notes how many requests were sent before it."""
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
        try:
            async for _ in job.run(until=order.until):
                pass
        except HistoryError as error:
            error.requests = job.progress.requests
            raise


def child(order, memory):
    """What the child does; it leaves without any cleaning up, as nothing depends on that."""
    status = 1
    try:
        if order.limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (order.limit, order.limit))
        phases = Phases(memory, order)
        phases.watch()
        asyncio.run(work(order))
        status = 0
    except HistoryError as error:
        opening = 0.0 if phases.opened is None else time.monotonic() - phases.opened
        text = f"{error.requests} {opening} {type(error).__name__}: {error}".encode()[: len(memory) - 1]
        memory[1 : 1 + len(text)] = text
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def carried_out(order):
    """Fork, kill if that is the order, and tell what has become of the child."""
    with mmap.mmap(-1, mmap.PAGESIZE) as memory:
        pid = os.fork()
        if pid == 0:
            child(order, memory)
        ending = os.pidfd_open(pid)
        select.select([ending], [], [], order.after)
        if order.after is not None:
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        os.close(ending)
        return {"status": os.waitstatus_to_exitcode(status), "phase": PHASES[memory[0]], "error": said(memory)["error"]}


def said(memory):
    """The error that a child has left, the requests before it, and the seconds since it began to open the sink."""
    text = memory[1:].rstrip(b"\0").decode(errors="replace")
    requests, opening, error = text.split(" ", 2) if text else ("0", "0", "")
    return {"error": error, "requests": int(requests), "opening": float(opening)}


class Race:
    """Processes that begin at the same moment; who works ends only when all others have left."""

    def __init__(self, order):
        self._order = order
        self._left = mmap.mmap(-1, mmap.PAGESIZE)
        self._gate, self._opener = os.pipe()
        self._memories = [mmap.mmap(-1, mmap.PAGESIZE) for _ in range(order.racers)]

    def run(self):
        """Return what has become of each."""
        pids = [self._forked(place, memory) for place, memory in enumerate(self._memories)]
        begun = time.monotonic()
        os.close(self._opener)
        os.close(self._gate)
        ended = {}
        while len(ended) < len(pids):
            pid, status = os.wait()
            self._left[pids.index(pid)] = 1
            ended[pid] = os.waitstatus_to_exitcode(status), time.monotonic() - begun
        return [
            {
                "pid": pid,
                "status": ended[pid][0],
                "seconds": ended[pid][1],
                "ledger": self._ledger(place),
                **said(memory),
            }
            for place, (pid, memory) in enumerate(zip(pids, self._memories, strict=True))
        ]

    def _ledger(self, place):
        return f"{self._order.ledger}{place}" if self._order.apart else self._order.ledger

    def _forked(self, place, memory):
        pid = os.fork()
        if pid == 0:
            finish = JobSession.finish

            def finish_last(session):
                while sum(self._left[: self._order.racers]) < self._order.racers - 1:
                    time.sleep(0.002)
                finish(session)

            JobSession.finish = finish_last
            os.close(self._opener)
            os.read(self._gate, 1)
            child(attrs.evolve(self._order, ledger=self._ledger(place)), memory)
        return pid


def main():
    sink_of("x.csv"), sink_of("x.parquet"), sink_of("x.duckdb"), sink_of("postgresql://localhost/x")
    import profile_history.arrow  # noqa: F401

    for line in sys.stdin:
        order = Order(**json.loads(line))
        answer = carried_out(order) if order.racers == 1 else {"racers": Race(order).run()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
