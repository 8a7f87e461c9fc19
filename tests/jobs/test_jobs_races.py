"""Processes that start on one job at the same moment: one works, and the others leave at once and say who it is."""

import asyncio
import datetime as dt
import fcntl
import os
import random
import socket
import subprocess
import sys
import threading
from collections import Counter

import attrs
import pytest
from support.job_truth import rows_in, truth_of
from support.job_worker import Order, Worker

from profile_history import ConfigurationError
from profile_history.jobs import HistoryJob, JobHeld, verify
from profile_history.jobs.lock import JobLock
from profile_history.sinks import SinkError, lock, sink_of
from profile_history.sinks.lock import lock_sink
from profile_history.testing import HistoryServer

RACES, MANY = 4, 50
# What a machine with something else to do may take to turn a process away; one that waited for the winner instead
# would never end, since the winner waits for all others.
LONGEST = 5.0
PROFILES = 12
FIRST, LAST = dt.date(2024, 1, 1), dt.date(2024, 6, 30)


@pytest.fixture(scope="module")
def served():
    """A server, a process that forks workers for it, and what the workers are to bring."""
    with HistoryServer(profiles=PROFILES, seed=5) as server, Worker(server) as worker:
        yield server, worker, truth_of(server.histories, range(PROFILES), FIRST, LAST)


def raced(served, directory, seed, races):
    """So many races, half of them on jobs whose worker was killed; gives the longest that a loser took."""
    chance = random.Random(seed)
    longest, numbers = 0.0, Counter()
    server, worker, truth = served
    for number in range(races):
        place = directory / str(number)
        place.mkdir()
        order = Order(
            sink=str(place / chance.choice(("history.ndjson", "lake.parquet", "history.duckdb"))),
            ledger=str(place / "job.ledger"),
            profiles=[str(profile) for profile in server.profiles()],
            date_from=str(FIRST),
            date_to=str(LAST),
        )
        if number % 2:
            worker.run(attrs.evolve(order, phase="noting", nth=chance.randint(1, 3)))
        racers = worker.race(attrs.evolve(order, racers=chance.randint(2, 4)))
        winners = [racer for racer in racers if racer["status"] == 0]
        losers = [racer for racer in racers if racer["status"] != 0]
        assert len(winners) == 1, racers
        for loser in losers:
            assert loser["error"].startswith(f"JobHeld: process {winners[0]['pid']} on "), racers
            assert loser["seconds"] <= LONGEST, racers
        longest = max(longest, *(loser["seconds"] for loser in losers))
        numbers[len(racers)] += 1
        assert rows_in(order.sink) == truth
    print(f"\n{races} races, by the number of processes {dict(numbers)}; the slowest loser took {longest:.2f} s")


def test_of_processes_that_start_at_once_one_works_and_the_others_name_it(served, tmp_path):
    """On new jobs, and on jobs whose worker was killed and has left its name in the lock."""
    raced(served, tmp_path, 1, RACES)


@pytest.mark.parametrize("name", ["", "{gone} {machine}", "nonsense"])
def test_a_holder_that_does_not_say_who_it_is_is_not_taken_for_another(name, tmp_path, monkeypatch):
    """It may have taken the lock just now, and the name in it may be that of a process that was killed."""
    # A private time, which a start would wait in earnest.
    monkeypatch.setattr(lock, "_PATIENCE", 0.02)
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    path = tmp_path / "job.ledger.lock"
    path.write_text(name.format(gone=process.pid, machine=socket.gethostname()))
    with path.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(JobHeld, match="another process is working on this job") as caught:
            JobLock(tmp_path / "job.ledger").acquire()

    assert caught.value.pid is None


@pytest.mark.full
@pytest.mark.timeout(900)
def test_of_processes_that_start_at_once_always_one_works_and_the_others_name_it(served, tmp_path):
    """In fifty races."""
    raced(served, tmp_path, 2, MANY)


# One sink, and a ledger for each job

KINDS = ("history.ndjson", "history.csv", "lake.parquet", "history.duckdb", "postgresql")
EVERY = pytest.mark.parametrize("kind", KINDS)
STARTS = 3


@pytest.fixture
def table(request):
    """The address of a table of its own."""
    return lambda number: f"{request.getfixturevalue('postgres').dsn}?table=race_{request.node.name[-8:-1]}_{number}"


def raced_apart(served, directory, kind, seed, races, table):
    """So many races of jobs with ledgers of their own into one sink; gives the longest that a loser took."""
    chance = random.Random(seed)
    longest = 0.0
    server, worker, truth = served
    for number in range(races):
        place = directory / str(number)
        place.mkdir()
        order = Order(
            sink=table(number) if kind == "postgresql" else str(place / kind),
            ledger=str(place / "job.ledger"),
            profiles=[str(profile) for profile in server.profiles()],
            date_from=str(FIRST),
            date_to=str(LAST),
            racers=chance.randint(2, 4),
            apart=True,
        )
        racers = worker.race(order)
        winners = [racer for racer in racers if racer["status"] == 0]
        assert len(winners) == 1, racers
        for loser in (racer for racer in racers if racer["status"] != 0):
            assert loser["error"].startswith("JobHeld: "), racers
            assert f"process {winners[0]['pid']} on {socket.gethostname()[:25]}" in loser["error"], racers
            if kind != "postgresql":
                assert f"(its ledger is {winners[0]['ledger']})" in loser["error"], racers
            assert loser["requests"] == 0, racers
            assert loser["opening"] <= LONGEST, racers
            longest = max(longest, loser["opening"])
        assert rows_in(order.sink) == truth
    print(f"\n{races} races into {kind}; the slowest loser left {longest:.2f} s after it had begun to open the sink")


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind in KINDS[:3] else pytest.mark.slow) for kind in KINDS]
)
def test_of_jobs_that_start_at_once_into_one_sink_one_works_and_the_others_leave(kind, served, tmp_path, table):
    """Before their first request, and they say who it is."""
    raced_apart(served, tmp_path, kind, 3, STARTS, table)


@pytest.mark.full
@pytest.mark.timeout(900)
@EVERY
def test_of_jobs_that_start_at_once_into_one_sink_always_one_works(kind, served, tmp_path, table):
    """In fifty races."""
    raced_apart(served, tmp_path, kind, 4, MANY, table)


def spelled(directory, kind):
    """The same sink by other names."""
    (directory / "linked").symlink_to(directory, target_is_directory=True)
    names = [
        str(directory / "linked" / kind),
        f"{directory}/./{kind}",
        f"{directory}/linked/../{directory.name}/{kind}",
    ]
    if kind in {"lake.parquet", "history.duckdb"}:
        (directory / f"other-{kind}").symlink_to(directory / kind)
        names.append(str(directory / f"other-{kind}"))
    if kind == "lake.parquet":
        names.append(f"{directory / kind}?partition=month")
    if kind == "history.duckdb":
        names.append(f"{directory / kind}?table=other")
    return names


@pytest.mark.parametrize("kind", KINDS[:-1])
async def test_a_job_that_works_keeps_others_off_its_sink_by_whatever_name(kind, server, tmp_path, monkeypatch):
    """Also in one process, by a link, and with options of its own; when it has ended, its rows are not another's."""
    writing, going_on = asyncio.Event(), threading.Event()
    loop, kept = asyncio.get_running_loop(), type(sink_of(str(tmp_path / kind)))
    write = kept.write

    def waiting(*arguments):
        loop.call_soon_threadsafe(writing.set)
        assert going_on.wait(30)
        return write(*arguments)

    monkeypatch.setattr(kept, "write", waiting)

    async def run(sink, ledger):
        async with server.client(window=31) as client:
            job = HistoryJob(client, server.profiles(), sink, ledger=tmp_path / ledger, date_from=FIRST, date_to=LAST)
            try:
                async for _ in job.run():
                    pass
            finally:
                requests[ledger] = job.progress.requests

    requests = {}
    first = asyncio.create_task(run(str(tmp_path / kind), "first.ledger"))
    await writing.wait()
    for number, name in enumerate(spelled(tmp_path, kind)):
        with pytest.raises(JobHeld, match=rf"process.* {os.getpid()}.*first\.ledger\)"):
            await run(name, f"other{number}.ledger")
    going_on.set()
    await first
    assert set(requests.values()) == {0, requests["first.ledger"]}
    assert requests["first.ledger"] > 0
    assert verify(tmp_path / "first.ledger") == []
    assert rows_in(str(tmp_path / kind)) == truth_of(server.histories, range(30), FIRST, LAST)
    with pytest.raises(ConfigurationError, match=r"is there already|is not empty|belongs to another job"):
        await run(str(tmp_path / kind), "last.ledger")


@pytest.mark.parametrize("kind", ["history.ndjson", "lake.parquet"])
def test_a_job_that_has_stored_nothing_leaves_what_another_has_begun_at_its_place(kind, tmp_path):
    """It was opened first, but the other has filled the place since; what it has left itself it clears away."""
    lock = lock_sink(sink := sink_of(str(tmp_path / kind)), tmp_path / "a.ledger", threading.Event())
    assert not lock.belongs_to_another()
    lock.claim()
    lock.release()
    refused = lock_sink(sink, tmp_path / "b.ledger", threading.Event())
    assert refused.belongs_to_another()
    refused.release()
    (tmp_path / "b.ledger").touch()
    (tmp_path / "linked").symlink_to(tmp_path)
    own = lock_sink(sink, tmp_path / "linked" / "a.ledger", threading.Event())
    assert own.belongs_to_another()
    own.release()
    (tmp_path / "a.ledger").touch()
    for name in ("a.ledger", "linked/a.ledger"):
        own = lock_sink(sink, tmp_path / name, threading.Event())
        assert not own.belongs_to_another()
        own.release()
    lock = lock_sink(sink, tmp_path / "b.ledger", threading.Event())
    lock.claim()
    lock.release()
    own = lock_sink(sink, tmp_path / "a.ledger", threading.Event())
    assert own.belongs_to_another()
    own.release()


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    """Somebody may have planted it, and what it leads to would be lost."""
    (tmp_path / "mine").write_text("mine")
    (tmp_path / ".history.ndjson.lock").symlink_to(tmp_path / "mine")
    with pytest.raises(SinkError, match="it is a link, which is not followed: move it away"):
        lock_sink(sink_of(str(tmp_path / "history.ndjson")), tmp_path / "a.ledger", threading.Event())
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_file_where_a_directory_should_be_is_named(tmp_path):
    """Before anything is made."""
    (tmp_path / "lake.parquet").touch()
    for name in ("lake.parquet", "lake.parquet/history.csv"):
        with pytest.raises(ConfigurationError, match=r"lake\.parquet is a file, and .* needs a directory there"):
            lock_sink(sink_of(str(tmp_path / name)), tmp_path / "a.ledger", threading.Event())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["history.ndjson", "lake.parquet"])
async def test_a_job_that_was_begun_without_rows_does_not_clear_away_those_of_another(
    kind, server, tmp_path, monkeypatch
):
    """The other began at the same place when the first had gone, and was left before its end."""

    async def run(ledger):
        async with server.client(window=31) as client:
            job = HistoryJob(
                client,
                server.profiles(),
                str(tmp_path / kind),
                ledger=tmp_path / ledger,
                date_from=FIRST,
                date_to=LAST,
                commit_bytes=1,
            )
            async for _ in job.run():
                pass

    def full(*_):
        raise SinkError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(type(sink_of(str(tmp_path / kind))), "write", full)
        with pytest.raises(SinkError, match="the disk is full"):
            await run("first.ledger")
    with monkeypatch.context() as broken:
        broken.setattr(type(sink_of(str(tmp_path / kind))), "finish", full)
        with pytest.raises(SinkError, match="the disk is full"):
            await run("second.ledger")
    with pytest.raises(ConfigurationError, match=r"is there already|is not empty"):
        await run("first.ledger")
    await run("second.ledger")
    assert verify(tmp_path / "second.ledger") == []
    assert rows_in(str(tmp_path / kind)) == truth_of(server.histories, range(30), FIRST, LAST)
