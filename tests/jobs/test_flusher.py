"""Commits beside the fetching: how far it may run ahead, and what a failure or a cancellation leaves."""

import asyncio
import datetime as dt

import pytest
from support.job_truth import steady
from support.ledgers import path

from profile_history import HistoryClient
from profile_history.jobs import HistoryJob
from profile_history.jobs.batch_builder import UnitCollector
from profile_history.jobs.flusher import Flusher
from profile_history.jobs.ledger import Ledger
from profile_history.results import UnitResult
from profile_history.sinks import SinkError
from profile_history.windows import Order

__all__ = ["path"]


def flusher(commit, size=100):
    """Return a flusher for units that are all alike."""
    collector = UnitCollector(10, steady(dt.date(2030, 1, 1)), Order.NEWEST, "raw")
    made = Flusher(collector, commit, size, 60.0)
    made.start()
    return made


def contents(path, number=0):
    """What was fetched of one unit."""
    with Ledger(path) as ledger:
        unit = ledger.pending(number, 1)[0]
    return [UnitResult(unit, unit.window, [b"{}"])]


async def test_the_fetching_waits_while_two_batches_are_gathered(path):
    """So that memory is bounded."""
    open_, batches = asyncio.Event(), []

    async def commit(batch):
        batches.append(batch)
        await open_.wait()

    made = flusher(commit)
    for _ in range(2):
        await made.add(contents(path), 100)
        await asyncio.sleep(0)
    adding = asyncio.create_task(made.add(contents(path), 100))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not adding.done()
    open_.set()
    await adding
    await made.end()
    assert sum(len(batch.records) for batch in batches) == 3


@pytest.mark.parametrize("size", [1, 100, 250])
async def test_a_commit_that_fails_ends_the_fetching(path, size):
    """With its own error, whatever the next window brings."""

    async def commit(batch):
        raise SinkError("full")

    made = flusher(commit)
    with pytest.raises(SinkError, match="full"):
        for _ in range(5):
            await made.add(contents(path), 100)
            await asyncio.sleep(0)
        await made.end()
    made.collector.take()
    with pytest.raises(SinkError, match="full"):
        await made.add(contents(path), size)


async def test_a_cancellation_waits_for_the_last_commit(path):
    """And is raised when that is through; an error of the commit goes first."""
    for error in (None, SinkError("full")):
        go, done = asyncio.Event(), []

        async def commit(batch, go=go, done=done, error=error):
            await go.wait()
            if error:
                raise error
            done.append(batch)

        made = flusher(commit)
        await made.add(contents(path), 100)
        ending = asyncio.create_task(made.end())
        await asyncio.sleep(0)
        ending.cancel()
        await asyncio.sleep(0)
        assert not ending.done()
        go.set()
        with pytest.raises(SinkError if error else asyncio.CancelledError):
            await ending
        assert bool(done) is (error is None)


async def test_a_job_that_is_cancelled_twice_still_ends_in_order(path, tmp_path):
    """The second cancellation does not tear the last commit."""
    async with HistoryClient("http://127.0.0.1:9", token="t", list_id=1) as client:
        run = HistoryJob(client, ledger=path).run()
        await anext(run)
        closing = asyncio.create_task(run.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
    with Ledger(path) as ledger:
        assert ledger.totals.pending == 5
