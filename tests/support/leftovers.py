"""Helpers of the tests of leftovers."""

import asyncio
import contextlib
import gc
import itertools
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from support.suspensions import Suspensions, watching
from support.virtual_clock import run_virtually

from profile_history import DeadlineExceeded, Limits, Pacing, Timeouts, UsageError, _aio
from profile_history.observing import CircuitOpened, RetryPlanned, Throttled
from profile_history.testing import Behaviour, Fault, FaultPlan, HistoryServer

FILE_DESCRIPTORS = Path("/proc/self/fd")


needs_descriptors = pytest.mark.skipif(
    not FILE_DESCRIPTORS.is_dir(), reason="counts file descriptors the Linux way, in /proc/self/fd"
)


FIRST, LAST = "2023-01-01", "2024-12-31"


SLOW_SERVER, NO_FAULTS = Behaviour(latency=0.1), FaultPlan()


def descriptors():
    return len(list(FILE_DESCRIPTORS.iterdir()))


async def until(condition, what):
    """Wait for what a peer does on its own, for at most ten seconds."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, what
        await asyncio.sleep(0.01)


@attrs.frozen(kw_only=True)
class Scenario:
    """A stream that meets something, and what proves that it did."""

    name: str
    numbers: tuple[int, ...] = (1, 2, 3)
    behaviour: Behaviour = SLOW_SERVER
    faults: FaultPlan = NO_FAULTS
    options: dict[str, Any] = attrs.field(factory=dict)
    pause: float = 0.05
    source_pause: float = 0.01
    warm: bool = False
    proof: Callable[[Any, list[Any]], bool]

    def __str__(self) -> str:
        return self.name


def noted(kind):
    return lambda stats, notes: any(isinstance(note, kind) for note in notes)


PLAIN = Scenario(
    name="several profiles, fewer places, a slow consumer",
    numbers=(1, 2, 3, 4, 5),
    options={"pacing": Pacing(concurrency=2, adaptive=False)},
    proof=lambda stats, notes: stats.attempts == stats.requests == 5,
)


SCENARIOS = (
    PLAIN,
    Scenario(
        name="a retry wait",
        faults=FaultPlan(script=(Fault.ERROR_500, Fault.RESET_IN_BODY)),
        options={"pacing": Pacing(concurrency=2)},
        proof=noted(RetryPlanned),
    ),
    Scenario(
        name="an open circuit",
        faults=FaultPlan(script=[Fault.ERROR_503] * 4),
        options={"pacing": Pacing(concurrency=4, adaptive=False)},
        proof=noted(CircuitOpened),
    ),
    Scenario(
        name="a pause of all",
        faults=FaultPlan(script=[Fault.THROTTLED_WITH_RETRY_AFTER], retry_after=30),
        proof=noted(Throttled),
    ),
    Scenario(
        name="a rate",
        options={"pacing": Pacing(requests_per_second=2)},
        proof=lambda stats, notes: stats.seconds >= 1,
    ),
    Scenario(
        name="a free retry",
        faults=FaultPlan(script=[Fault.STALE_CONNECTION]),
        options={"pacing": Pacing(concurrency=1)},
        warm=True,
        proof=lambda stats, notes: stats.attempts > stats.requests and not any(map(noted_wait, notes)),
    ),
    Scenario(
        name="halving",
        numbers=(1, 7),
        behaviour=Behaviour(latency=0.1, row_cap=6),
        options={"limits": Limits(row_cap=6), "pacing": Pacing(concurrency=2)},
        proof=lambda stats, notes: stats.windows_split >= 2,
    ),
    Scenario(
        name="stalls and timeouts",
        numbers=(1, 2),
        faults=FaultPlan(script=[(Fault.SLOW_FIRST_BYTE, Fault.STALL_IN_BODY), Fault.STALL], slow=2),
        options={"window": None, "timeouts": Timeouts(read=10, attempt=15), "pacing": Pacing(concurrency=2)},
        proof=lambda stats, notes: stats.retries >= 4,
    ),
    Scenario(
        name="no room",
        numbers=(1, 2, 3, 4),
        behaviour=Behaviour(rows="newer", latency=0.1),
        faults=FaultPlan(script=[Fault.STALL_IN_BODY], profiles={1}, stall=5),
        options={"limits": Limits(in_flight=1000), "pacing": Pacing(concurrency=4, adaptive=False)},
        pause=1.0,
        proof=lambda stats, notes: stats.retries > sum(isinstance(note, RetryPlanned) for note in notes) > 0,
    ),
)


def noted_wait(note):
    return isinstance(note, (RetryPlanned, CircuitOpened, Throttled))


NOTHING = {"places": 0, "waiters": 0, "timer": None, "bytes": 0, "connections": 0}


def left_of(client):
    """What the streams of a client have in use."""
    # What must not be left is shown to nobody.
    shared = client._core.shared
    sessions = (shared.transport._session, shared.transport._fresh)
    connectors = [session.connector for session in sessions if session is not None and not session.closed]
    return {
        "places": shared.pacer.in_use,
        "waiters": len(shared.pacer._waiters),
        "timer": shared.pacer._timer,
        "bytes": shared.memory.used,
        "connections": sum(len(connector._acquired) for connector in connectors),
    }


class Stage:
    """One server, and a new client for each performance of a scenario; afterwards nothing is left of it."""

    def __init__(self, scenario, server):
        self.scenario = scenario
        self.server = server
        self.profiles = [server.profile(number) for number in scenario.numbers]
        self.truth = {profile: server.truth(profile, FIRST, LAST) for profile in self.profiles}
        self.notes = []
        self.problems = []
        self.tasks = len(asyncio.all_tasks())
        self.descriptors = None
        self.open_sources = 0

    async def source(self):
        self.open_sources += 1
        try:
            for profile in self.profiles:
                await asyncio.sleep(self.scenario.source_pause)
                yield profile
        finally:
            self.open_sources -= 1

    @contextlib.asynccontextmanager
    async def client(self):
        """A new client; when the block ends it has nothing left of its stream, fetches the truth, and is closed."""
        random.seed(11)
        self.notes = []
        async with self.server.client(on_event=self.notes.append, **self.scenario.options) as client:
            self.server.faults = NO_FAULTS
            if self.scenario.warm:
                assert await client.history(self.profiles[0]).collect()
            self.server.faults = self.scenario.faults
            yield client
            self.check_client(client)
            self.server.faults = NO_FAULTS
            assert await client.history(self.profiles[0], FIRST, LAST).collect() == self.truth[self.profiles[0]]
            self.check_client(client)
        del client
        await self.check_process()

    async def check_process(self):
        """No task and no file descriptor is there that was not there before, and the loop has nothing to report."""
        gc.collect()
        for _ in range(100):
            if len(asyncio.all_tasks()) <= self.tasks and self.descriptors in (None, descriptors()):
                break
            await asyncio.sleep(0.001)
        assert len(asyncio.all_tasks()) == self.tasks, asyncio.all_tasks()
        assert self.descriptors in (None, descriptors())
        assert self.open_sources == 0
        assert self.problems == []

    def check_client(self, client):
        """Nothing of a stream that is over is left in what all streams of a client share."""
        assert left_of(client) == NOTHING

    def check_stream(self, watch):
        """Its tasks are over when it is, and not a moment later."""
        assert self.stats.in_flight == 0
        assert watch.alive == []

    def stream(self, client, **options):
        stream = client.histories(self.source(), FIRST, LAST, **options)
        self.stats = stream.stats
        return stream

    async def read(self, stream, received):
        """Read window by window, and slowly."""
        async with stream.windows() as windows:
            async for result in windows:
                received.append(result)
                await asyncio.sleep(self.scenario.pause)

    async def read_bare(self, stream, received):
        """The same, of a stream that is not entered."""
        async for result in stream.windows():
            received.append(result)
            await asyncio.sleep(self.scenario.pause)

    def check_part(self, received):
        """What was received is true, each event once, as far as it goes."""
        for profile, events in received_by(received).items():
            assert events == self.truth[profile][: len(events)]

    def check_whole(self, received):
        """Each event of each profile was received once."""
        assert received_by(received) == {profile: events for profile, events in self.truth.items() if events}

    async def rehearse(self):
        """Play it to its end twice, and say at which moments something happened."""
        clock = asyncio.get_running_loop().time
        for _ in range(2):
            received, moments = [], set()
            async with self.client() as client:
                began = clock()
                stream = self.stream(client)
                watch = Suspensions(each=lambda began=began, moments=moments: moments.add(clock() - began))
                await watch.start(self.read(stream, received))
                self.check_stream(watch)
                assert self.scenario.proof(stream.stats, self.notes), stream.stats
            self.check_whole(received)
            if self.descriptors is None:
                # What is made once for a process is there now.
                gc.collect()
                self.descriptors = descriptors()
        return sorted(moments)


def received_by(results):
    received = {}
    for result in results:
        received.setdefault(result.profile, []).extend(result.events)
    return {profile: events for profile, events in received.items() if events}


def play(scenario, performance):
    """Run a performance on virtual time, on a stage of its own."""

    async def staged():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(watching)
        async with HistoryServer(profiles=30, behaviour=scenario.behaviour) as server:
            stage = Stage(scenario, server)
            loop.set_exception_handler(lambda _, context: stage.problems.append(context))
            return await performance(stage)

    return run_virtually(staged())


def show(capsys, text):
    with capsys.disabled():
        print(f"\n{text}", end="")


async def everywhere(stage, attempt, step=1):
    """Play the scenario, and strike at its suspensions in turn until there are no more; return their number.

    Args:
        stage: Where it is played.
        attempt: What strikes at a suspension, and tells whether there was one.
        step: 1 for all suspensions; with more, each scenario begins at a suspension of its own.
    """
    await stage.rehearse()
    index = SCENARIOS.index(stage.scenario) % step
    while await attempt(stage, index):
        index += step
    return index


async def cancel(stage, index, *, storm, resuming, bare):
    """Cancel the consumer at one suspension of its stream; in a storm, at all that follow as well."""
    async with stage.client() as client:
        stream, received, told = stage.stream(client), [], []
        watch = Suspensions(
            range(index, sys.maxsize if storm else index + 1),
            lambda: told.append(consumer.cancel()),
            resuming=resuming,
        )
        consumer = watch.start((stage.read_bare if bare else stage.read)(stream, received))
        await asyncio.wait([consumer])
        # A cancellation is never swallowed, and is all that comes out.
        assert consumer.cancelled() == any(told)
        if consumer.cancelled():
            stage.check_part(received)
        else:
            assert consumer.result() is None
            stage.check_whole(received)
        if bare:
            # It is dropped, and cleans up behind itself.
            del stream
            gc.collect()
            await asyncio.sleep(1e-6)
        stage.check_stream(watch)
    return bool(told)


@pytest.fixture
def every_breath(monkeypatch):
    """A stream lets other tasks work at every opportunity, so that its suspensions are the same each time."""
    monkeypatch.setattr(_aio, "MAX_SLICE_SECONDS", -1)


FULL = pytest.mark.full


# By default one suspension or moment of forty is struck at, in the gate one of six; always the same ones, so that
# each day is like the other.
FEW = pytest.param(40, id="few")
SAMPLE = pytest.param(6, id="sample", marks=pytest.mark.slow)
BY_DEFAULT_A_SAMPLE = pytest.mark.parametrize("step", [FEW, SAMPLE, pytest.param(1, id="all", marks=FULL)])


def parts(*by_default):
    """Tell whether what counts is the going on or the stop, and whether the stream is read bare or entered."""
    every = itertools.product((False, True), repeat=2)
    return pytest.mark.parametrize(
        ("resuming", "bare", "step"),
        [
            *(
                pytest.param(*part, *step.values, id="-".join(map(str, (*part, step.id))), marks=step.marks)
                for part in by_default
                for step in (FEW, SAMPLE)
            ),
            *(pytest.param(*part, 1, id="-".join(map(str, part)), marks=FULL) for part in every),
        ],
    )


async def close(stage, index, *, what):
    """Close the stream, or its client, in another task at one suspension."""
    client = stage.server.client(**stage.scenario.options)
    stage.server.faults = stage.scenario.faults
    stream, received, closing = stage.stream(client), [], []
    closed = stream if what == "stream" else client
    watch = Suspensions(range(index, index + 1), lambda: closing.append(asyncio.ensure_future(closed.aclose())))
    reader = watch.start(stage.read(stream, received))
    await asyncio.wait([reader])
    for task in closing:
        await task
    stage.check_stream(watch)
    stage.check_client(client)
    if reader.exception() is None:
        stage.check_whole(received)
    else:
        assert isinstance(reader.exception(), UsageError)
        stage.check_part(received)
    await client.aclose()
    await stage.check_process()
    return bool(closing)


class Enough(Exception):
    """What a consumer raises of its own."""


async def leave(stage, index, *, way, events):
    """Leave the stream behind one of its items."""
    async with stage.client() as client:
        stream, watch = stage.stream(client), Suspensions()
        items = stream if events else stream.windows()
        try:
            left = await watch.start(LEAVING[way](items, index))
        except Enough:
            left = True
        del items, stream
        if way == "dropped":
            gc.collect()
            await asyncio.sleep(1e-6)
        stage.check_stream(watch)
    return left


async def break_in_block(items, index):
    async with items:
        return await break_bare(items, index)


async def break_bare(items, index):
    async for _ in items:
        if index == 0:
            break
        index -= 1
        await asyncio.sleep(0.01)
    else:
        return False
    return True


async def break_and_close(items, index):
    left = await break_bare(items, index)
    await items.aclose()
    return left


async def break_by_raising(items, index):
    async with items:
        if await break_bare(items, index):
            raise Enough
    return False


LEAVING = {
    "left by its block": break_in_block,
    "closed": break_and_close,
    "dropped": break_bare,
    "left by an exception": break_by_raising,
}


async def time_out_everywhere(stage, *, own, step):
    """Set the deadline to each moment at which something happens, and to all moments half-way between two."""
    moments = await stage.rehearse()
    moments += [(one + two) / 2 for one, two in itertools.pairwise(moments)]
    # From here on each sum of moments like these is exact: virtual time does not pass by itself, as time does, while
    # a moment lies between now and now.
    await asyncio.sleep(2**12)
    passed = 0
    for moment in sorted({round(moment * 2**20) / 2**20 for moment in moments} - {0})[::step]:
        passed += await time_out(stage, moment, own=own)
    return passed


async def time_out(stage, moment, *, own):
    clock = asyncio.get_running_loop().time
    async with stage.client() as client:
        received, watch = [], Suspensions()
        stream = stage.stream(client, deadline=moment if own else None)
        began = clock()
        late = False
        try:
            async with asyncio.timeout(None if own else moment):
                await watch.start(stage.read(stream, received))
        except (DeadlineExceeded, TimeoutError) as error:
            late = isinstance(error, DeadlineExceeded) == own
            if not late:
                raise
        stage.check_stream(watch)
        if late:
            stage.check_part(received)
            # Raised at the next step, which a slow consumer takes a little later.
            assert -1e-6 <= clock() - began - moment <= stage.scenario.pause
        else:
            stage.check_whole(received)
    return late


async def consume(client, server, draw):
    """One of the ways to read a stream."""
    profiles = [server.profile(number) for number in draw.sample(range(30), 8)]
    match draw.randrange(4):
        case 0:
            await client.histories(profiles).collect()
        case 1:
            await client.history(profiles[0]).collect()
        case 2:
            async with client.histories(profiles).windows() as stream:
                async for _ in stream:
                    await asyncio.sleep(0)
        case 3:
            async for _ in client.histories(profiles):
                await asyncio.sleep(0)
