"""Cancelled at any moment: no task, no connection, no place, no byte and no file descriptor is left."""

import asyncio
import functools
import random

import pytest
from support.leftovers import (  # noqa: F401
    BY_DEFAULT_A_SAMPLE,
    FULL,
    LEAVING,
    NOTHING,
    SCENARIOS,
    cancel,
    close,
    consume,
    descriptors,
    every_breath,
    everywhere,
    leave,
    left_of,
    needs_descriptors,
    parts,
    play,
    show,
    time_out_everywhere,
    until,
)

from profile_history import Pacing, Timeouts
from profile_history.testing import FaultPlan, HistoryServer


@needs_descriptors
@pytest.mark.usefixtures("every_breath")
@parts((False, False))
def test_cancelled_at_every_await_a_stream_leaves_nothing_and_its_client_works_on(resuming, bare, step, capsys):
    """Whatever it waits for, and whichever of its tasks does; also where the response is there at the same moment."""
    attempt = functools.partial(cancel, storm=False, resuming=resuming, bare=bare)
    counts = [play(scenario, functools.partial(everywhere, attempt=attempt, step=step)) for scenario in SCENARIOS]
    assert min(counts) > 20
    show(
        capsys,
        f"cancelled at {' + '.join(map(str, counts))} = {sum(counts)} awaits, one of {step}, {resuming=}, {bare=}",
    )


@needs_descriptors
@pytest.mark.usefixtures("every_breath")
@parts((True, True))
def test_cancelled_at_every_await_and_again_while_it_cleans_up_a_stream_leaves_nothing(resuming, bare, step, capsys):
    """As an impatient Ctrl-C does, or a task group of which a second task fails."""
    attempt = functools.partial(cancel, storm=True, resuming=resuming, bare=bare)
    counts = [play(scenario, functools.partial(everywhere, attempt=attempt, step=step)) for scenario in SCENARIOS]
    assert min(counts) > 20
    show(capsys, f"cancelled from {' + '.join(map(str, counts))} = {sum(counts)} awaits on, {resuming=}, {bare=}")


@needs_descriptors
@pytest.mark.usefixtures("every_breath")
@BY_DEFAULT_A_SAMPLE
@pytest.mark.parametrize("what", ["stream", pytest.param("client", marks=FULL)])
def test_closed_by_another_task_at_every_await_a_stream_says_so_and_leaves_nothing(what, step, capsys):
    """Its reader never takes it for complete."""
    attempt = functools.partial(close, what=what)
    counts = [play(scenario, functools.partial(everywhere, attempt=attempt, step=step)) for scenario in SCENARIOS]
    assert min(counts) > 20
    show(capsys, f"{what} closed at {' + '.join(map(str, counts))} = {sum(counts)} awaits")


@pytest.mark.slow
@needs_descriptors
@pytest.mark.parametrize(
    ("way", "events"),
    [
        *(pytest.param(way, False, id=f"{way}-windows") for way in LEAVING),
        *(pytest.param(way, True, id=f"{way}-events", marks=[] if way == "dropped" else FULL) for way in LEAVING),
    ],
)
def test_left_behind_every_item_a_stream_leaves_nothing(way, events, capsys):
    """By the end of its block, by `aclose`, by nothing at all, by an exception of the consumer."""
    attempt = functools.partial(leave, way=way, events=events)
    scenarios = SCENARIOS[:2] if events else SCENARIOS
    counts = [play(scenario, functools.partial(everywhere, attempt=attempt)) for scenario in scenarios]
    assert sum(counts) > 30
    show(capsys, f"{way} behind {' + '.join(map(str, counts))} {'events' if events else 'windows'}")


@needs_descriptors
@pytest.mark.usefixtures("every_breath")
@BY_DEFAULT_A_SAMPLE
@pytest.mark.parametrize("own", [True, pytest.param(False, marks=FULL)], ids=["deadline", "asyncio.timeout"])
def test_out_of_time_at_any_moment_a_stream_leaves_nothing(own, step, capsys):
    """By its own deadline, or by a timeout around it."""
    counts = [play(scenario, functools.partial(time_out_everywhere, own=own, step=step)) for scenario in SCENARIOS]
    assert min(counts) > 5 / step
    show(capsys, f"{'deadline' if own else 'asyncio.timeout'}: passed at {' + '.join(map(str, counts))} moments")


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("cancels", [30, pytest.param(200, marks=pytest.mark.slow), pytest.param(10_000, marks=FULL)])
@needs_descriptors
async def test_random_cancellations_leave_everything_as_it_was(swift, cancels, capsys):
    """Against the real server in real time, with a tenth of the requests failing."""
    draw = random.Random(11)
    faults = FaultPlan.even(0.1, retry_after=0, stall=0.02, slow=0.002)
    tasks = len(asyncio.all_tasks())
    with HistoryServer(profiles=30, faults=faults) as server:
        async with server.client() as warm:
            await warm.history(server.profile(1)).collect()
        before = descriptors()
        client = server.client(retry=swift, timeouts=Timeouts(read=0.5), pacing=Pacing(concurrency=8, adaptive=False))
        cancelled = finished = 0
        while cancelled < cancels:
            batch = [asyncio.create_task(consume(client, server, draw)) for _ in range(20)]
            for task in draw.sample(batch, len(batch)):
                if draw.random() < 0.5:
                    await asyncio.sleep(draw.random() * 0.004)
                else:
                    for _ in range(draw.randrange(10)):
                        await asyncio.sleep(0)
                task.cancel()
            results = await asyncio.gather(*batch, return_exceptions=True)
            assert {type(result) for result in results} <= {asyncio.CancelledError, type(None)}
            cancelled += sum(isinstance(result, asyncio.CancelledError) for result in results)
            finished += sum(result is None for result in results)
        # The connections that aiohttp keeps are counted nowhere else.
        shared = client._core.shared
        connector = shared.transport._session.connector
        await until(lambda: len(asyncio.all_tasks()) <= tasks, "tasks are left")
        assert left_of(client) == NOTHING
        pooled = sum(map(len, connector._conns.values()))
        assert pooled <= 8
        assert await client.history(server.profile(1)).collect() == server.truth(server.profile(1))
        await client.aclose()
        await until(lambda: descriptors() <= before, "file descriptors are left")
        after = descriptors()
    show(
        capsys,
        f"{cancelled} cancelled, {finished} finished: file descriptors {before} -> {after}, "
        f"tasks {tasks} -> {len(asyncio.all_tasks())}, connections in use 0, pooled {pooled} before closing",
    )
