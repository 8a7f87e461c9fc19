"""Processes that start on one job at the same moment: one works, and the others leave at once and say who it is."""

import datetime as dt
import fcntl
import random
import socket
import subprocess
import sys
from collections import Counter

import attrs
import pytest
from jobtruth import rows_in, truth_of
from jobworker import Order, Worker

from profile_history.jobs import JobHeld
from profile_history.jobs.locking import JobLock
from profile_history.sinks import lock
from profile_history.testing import HistoryServer

RACES, MANY = 8, 50
PROFILES = 12
FIRST, LAST = dt.date(2024, 1, 1), dt.date(2024, 6, 30)


def raced(directory, seed, races):
    """So many races, half of them on jobs whose worker was killed; gives the longest that a loser took."""
    chance = random.Random(seed)
    longest, numbers = 0.0, Counter()
    with HistoryServer(profiles=PROFILES, seed=5) as server, Worker(server) as worker:
        truth = truth_of(server.histories, range(PROFILES), FIRST, LAST)
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
                assert loser["seconds"] <= 2, racers
            longest = max(longest, *(loser["seconds"] for loser in losers))
            numbers[len(racers)] += 1
            assert rows_in(order.sink) == truth
    print(f"\n{races} races, by the number of processes {dict(numbers)}; the slowest loser took {longest:.2f} s")


def test_of_processes_that_start_at_once_one_works_and_the_others_name_it(tmp_path):
    """On new jobs, and on jobs whose worker was killed and has left its name in the lock."""
    raced(tmp_path, 1, RACES)


@pytest.mark.parametrize("name", ["", "{gone} {machine}", "nonsense"])
def test_a_holder_that_does_not_say_who_it_is_is_not_taken_for_another(name, tmp_path, monkeypatch):
    """It may have taken the lock just now, and the name in it may be that of a process that was killed."""
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
def test_of_processes_that_start_at_once_always_one_works_and_the_others_name_it(tmp_path):
    """In fifty races."""
    raced(tmp_path, 2, MANY)
