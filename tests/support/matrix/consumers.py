"""Lives of streams: what consumers, sources and hooks do to them."""

import asyncio
import contextlib
import gc
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

from support.leftovers import Enough
from support.matrix.case import Case, Stage, read
from support.matrix.classes import ACCEPTED, CONSUMER_ENDED, STREAM_STOPPED
from support.matrix.dice import FETCHED, FROM, TO, Dice
from support.matrix.scenarios import Scenario, way
from support.outages import now
from support.suspensions import Suspensions, watching

from profile_history import Limits, Pacing, Profile
from profile_history.testing import FaultPlan


def faulty(dice: Dice) -> FaultPlan:
    """Let a third of all requests fail, in every way that passes."""
    return FaultPlan.even(0.3, seed=dice.seed, retry_after=2, stall=10.0)


def left_by(leave: Callable[[Stage, Any], Any]) -> Scenario:
    """Leave the stream behind one of its items."""

    def make(dice: Dice) -> Case:
        async def consume(stage: Stage) -> None:
            await leave(stage, dice.random.randrange(60))
            gc.collect()
            await asyncio.sleep(5)

        return Case(outcome=CONSUMER_ENDED, plan=faulty(dice), consume=consume)

    return way(make)


async def some_of(stage: Stage, stream: Any, count: int) -> None:
    """Read a few events, and break.

    Args:
        stage: Takes the events.
        stream: What is read.
        count: How many events are read before the last one.
    """
    async for profile, event in stream:
        stage.events[profile].append(event)
        if not count:
            break
        count -= 1


# Ways to leave a stream of the stage after `count` events more than one.


async def by_break(stage: Stage, count: int) -> None:
    """Break in a block."""
    async with stage.histories() as stream:
        await some_of(stage, stream, count)


async def by_raising(stage: Stage, count: int) -> None:
    """Raise out of a block."""
    with contextlib.suppress(Enough):
        async with stage.histories() as stream:
            await some_of(stage, stream, count)
            raise Enough


async def by_closing(stage: Stage, count: int) -> None:
    """Break without a block, and close twice."""
    stream = stage.histories()
    await some_of(stage, stream, count)
    await stream.aclose()
    await stream.aclose()


async def by_dropping(stage: Stage, count: int) -> None:
    """Break, and drop the iterator."""
    await some_of(stage, stage.histories(), count)


def cancelled(*, storm: bool) -> Scenario:
    """Cancel the consumer at some await of its stream, or at that and all that follow."""

    def make(dice: Dice) -> Case:
        index = dice.random.randrange(250)

        async def consume(stage: Stage) -> None:
            asyncio.get_running_loop().set_task_factory(watching)
            told: list[bool] = []
            strike = range(index, sys.maxsize if storm else index + 1)
            resuming = dice.any((True, False))
            watch = Suspensions(strike, lambda: told.append(reading.cancel()), resuming=resuming)
            reading = watch.start(stage.read(stage.histories()))
            await asyncio.wait([reading])
            assert reading.cancelled() == any(told)
            if not reading.cancelled():
                await reading
            assert watch.alive == []
            asyncio.get_running_loop().set_task_factory(None)
            await works_on(stage)

        return Case(outcome=CONSUMER_ENDED, plan=faulty(dice), consume=consume)

    return way(make)


async def works_on(stage: Stage) -> None:
    """Check that the client goes on working."""
    stage.server.faults = FaultPlan()
    profile = stage.profiles[0]
    assert await stage.client.history(profile, FROM, TO).collect() == stage.truth(profile)


@way
def source_swallows_a_cancellation(dice: Dice) -> Case:
    """Let the source of the profiles go on when it is told to end; the stream ends all the same."""

    async def consume(stage: Stage) -> None:
        async def source() -> AsyncIterator[Profile]:
            for profile in stage.profiles:
                yield profile
            for _ in range(2):
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(1000)
            await asyncio.sleep(1000)

        async with stage.histories(source()) as stream:
            await some_of(stage, stream, dice.random.randrange(10))
            began = now()
        assert now() - began < 5
        await works_on(stage)

    return Case(outcome=CONSUMER_ENDED, plan=faulty(dice), consume=consume)


@way
def consumer_runs_out_of_time(dice: Dice) -> Case:
    """Let a timeout of the consumer end it, which comes out as one."""

    async def consume(stage: Stage) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(dice.random.uniform(0.01, 5.0)):
                await stage.read(stage.histories(), pause=0.3)
        await works_on(stage)

    return Case(outcome=CONSUMER_ENDED, plan=faulty(dice), consume=consume)


@way
def consumer_is_slow(dice: Dice) -> Case:
    """Read far slower than the server sends; what is held stays within its limit, and requests do not run ahead."""
    dice.window = dice.any((7, 20))
    concurrency = dice.any((1, 2, 4))
    largest = max(sum(len(row.json) + 1 for row in dice.histories.rows(n, dice.rows)) for n in dice.numbers) + 100
    options = {"pacing": Pacing(concurrency=concurrency), "limits": Limits(in_flight=4 * largest)}

    async def consume(stage: Stage) -> None:
        stream, ahead = stage.histories(), []
        async with stream.windows() as windows:
            handed = 0
            async for window in windows:
                stage.events[window.profile] += window.events
                handed += 1
                await asyncio.sleep(3)
                ahead.append(stage.stats.requests - handed)
        assert max(ahead) <= 4 * concurrency
        assert max(stage.memory) <= 5 * largest

    return Case(outcome=ACCEPTED, options=options, consume=consume)


@way
def source_has_a_bug(dice: Dice) -> Case:
    """Raise in the source: its own error comes out, and not a group."""

    async def consume(stage: Stage) -> None:
        async def source() -> AsyncIterator[Profile]:
            for profile in stage.profiles[: dice.random.randrange(FETCHED)]:
                yield profile
                await asyncio.sleep(0.1)
            raise ZeroDivisionError("a bug in a source")

        await read_from(stage, source())

    return Case(outcome=STREAM_STOPPED, error=ZeroDivisionError, consume=consume)


async def read_from(stage: Stage, source: Any) -> None:
    """Read the histories of what a source gives.

    Args:
        stage: Takes the events.
        source: Gives the profiles.
    """
    await stage.read(stage.histories(source))


@way
def hook_has_a_bug(dice: Dice) -> Case:
    """Raise in the hook: the fetch goes on, and the log tells once."""

    async def consume(stage: Stage) -> None:
        stage.buggy = True
        await read(stage)
        assert sum("on_event raised ZeroDivisionError" in text for text in stage.seen.texts) == 1

    return Case(outcome=ACCEPTED, consume=consume)
