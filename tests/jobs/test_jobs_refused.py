"""What a job is refused for: other plans and terms, wrong arguments, a second process, damaged or old ledgers."""

import sqlite3
import threading
from contextlib import closing

import pytest
from support.jobs import FIRST, LAST, job_of, lines, ran, truth

from profile_history import ConfigurationError, Profile
from profile_history.jobs import HistoryJob, JobHeld, LedgerError, source_of
from profile_history.jobs.lock import JobLock
from profile_history.jobs.planner import PlanningStopped, plan_job
from profile_history.jobs.sources import MemorySource
from profile_history.sinks import sink_of
from profile_history.testing import HistoryServer


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"date_to": "2024-12-30"}, "date_to is '2024-12-31' there and '2024-12-30' here"),
        ({"date_from": "2023-01-02"}, "date_from is"),
        ({"profiles": 29}, "profiles is"),
        ({"window": 7}, "window is 'auto' there and 7 here"),
        ({"order": "oldest"}, "order is"),
        ({"border": "exact"}, "border is"),
        ({"sink": "other.ndjson"}, "the job fills"),
    ],
)
async def test_a_job_goes_on_with_its_own_plan_only(server, tmp_path, change, words):
    """The error says in what the plans differ, and nothing is sent."""
    async with server.client() as client:
        await ran(job_of(client, tmp_path, server.profiles()))
        server.log.clear()
        profiles = server.profiles()[: change.pop("profiles", 30)]
        terms = {name: change.pop(name) for name in ("window", "order", "border") if name in change}
        other = client.with_options(**terms)
        with pytest.raises(ConfigurationError, match=words) as caught:
            await ran(job_of(other, tmp_path, profiles, **change))
        assert "resume" in str(caught.value)
        await other.aclose()
    assert not server.log


async def test_a_ledger_of_other_terms_is_not_gone_on_with(server, tmp_path):
    """Also where no plan is given."""
    async with server.client() as client:
        await ran(job_of(client, tmp_path, server.profiles()))
        other = client.with_options(window=7)
        with pytest.raises(ConfigurationError, match="window is 'auto' there and 7 here"):
            await ran(job_of(other, tmp_path))
        with pytest.raises(ConfigurationError, match="the job fills"):
            await ran(HistoryJob(client, sink=sink_of(str(tmp_path / "x.ndjson")), ledger=tmp_path / "job.ledger"))
        await other.aclose()


async def test_a_host_may_be_renamed_while_a_job_waits(server, tmp_path):
    """The address is no part of what must be the same."""
    async with server.client() as client:
        await ran(job_of(client, tmp_path, server.profiles()))
    async with HistoryServer(profiles=30) as other, other.client() as client:
        await ran(job_of(client, tmp_path, server.profiles()))


async def test_one_process_at_a_time_works_on_a_job(server, tmp_path):
    """The other one is told who does."""
    lock = JobLock(tmp_path / "job.ledger")
    lock.acquire()
    async with server.client() as client:
        with pytest.raises(JobHeld, match="is working on this job") as caught:
            await ran(job_of(client, tmp_path, server.profiles()))
        lock.release()
        lock.release()
        await ran(job_of(client, tmp_path, server.profiles()))
    assert isinstance(caught.value.pid, int)
    (tmp_path / "job.ledger.lock").write_text("")
    lock = JobLock(tmp_path / "job.ledger")
    lock.acquire()
    (tmp_path / "job.ledger.lock").write_text("")
    with pytest.raises(JobHeld, match="another process"):
        JobLock(tmp_path / "job.ledger").acquire()
    lock.release()


async def test_a_source_without_one_profile_makes_no_job(server, tmp_path):
    """The error shows the first line that could not be read."""
    (tmp_path / "profiles.txt").write_text("nobody\n")
    async with server.client() as client:
        with pytest.raises(ConfigurationError, match=r"not one profile .* \(line 1: email is an address"):
            await ran(job_of(client, tmp_path, source_of(str(tmp_path / "profiles.txt"), matching="email")))
        with pytest.raises(ConfigurationError, match="not one profile in memory; check"):
            await ran(job_of(client, tmp_path, []))
    assert not (tmp_path / "job.ledger").exists()


async def test_a_sink_that_holds_something_else_makes_no_job(server, tmp_path):
    """It is left as it is."""
    (tmp_path / "history.ndjson").write_text("precious\n")
    async with server.client() as client:
        with pytest.raises(ConfigurationError):
            await ran(job_of(client, tmp_path, server.profiles()))
    assert (tmp_path / "history.ndjson").read_text() == "precious\n"
    assert not (tmp_path / "job.ledger").exists()
    assert not server.log


async def test_a_job_that_died_while_it_was_planned_is_planned_anew(server, tmp_path):
    """It needs its profiles once more, since it does not know all of them."""
    async with server.client() as client:
        job = job_of(client, tmp_path, server.profiles())
        stop = threading.Event()
        stop.set()
        with pytest.raises(PlanningStopped):
            # The plan as the job makes it, which nobody else asks for.
            plan_job(tmp_path / "job.ledger.planning", job._plan, MemorySource(server.profiles()), stop)
        with pytest.raises(ConfigurationError, match="before it knew its profiles"):
            await ran(job_of(client, tmp_path))
        await ran(job_of(client, tmp_path, server.profiles()))
    assert lines(tmp_path) == truth(server)


async def test_planning_stops_between_two_statements_and_within_one(server, tmp_path):
    """So that a signal is heard while millions are planned."""
    stop = threading.Event()

    class Endless(MemorySource):
        """Asks to stop when most is read."""

        def lines(self):
            yield from super().lines()
            stop.set()

    async with server.client() as client:
        # The plan as the job makes it, which nobody else asks for.
        plan = job_of(client, tmp_path, server.profiles())._plan
    many = (Profile.email(f"{number}@example.com") for number in range(30_000))
    with pytest.raises(PlanningStopped):
        plan_job(tmp_path / "job.ledger", plan, Endless(many), stop)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"profiles": "a@b.c"}, "profiles is a source or an iterable"),
        ({"profiles": Profile.email("a@b.c")}, "profiles is a source or an iterable"),
        ({"date_from": None}, "a first and a last day"),
        ({"date_to": None}, "a first and a last day"),
        ({"lookback": -1}, "lookback takes a whole number of days, 0 to 36,500 or None, not"),
        ({"commit_bytes": 0}, "takes a whole number of bytes, 1 or more, not 0"),
        ({"commit_seconds": 0}, "takes a positive number of seconds, not 0"),
        ({"sink": None}, "the sink is missing"),
        ({"sink": "x.unknown"}, "names no sink"),
        ({"profiles": None}, "go with profiles"),
        ({"client": "x"}, "client is a HistoryClient"),
    ],
)
async def test_a_wrong_argument_is_refused_before_anything_is_written(server, tmp_path, options, words):
    """The message says what to pass."""
    async with server.client() as client:
        given = {
            "client": client,
            "profiles": server.profiles(),
            "sink": "x.ndjson",
            "date_from": FIRST,
            "date_to": LAST,
        }
        given |= options
        with pytest.raises(ConfigurationError, match=words):
            HistoryJob(given.pop("client"), given.pop("profiles"), given.pop("sink"), ledger=tmp_path / "x", **given)
    assert not list(tmp_path.iterdir())


async def test_a_job_that_is_not_there_cannot_be_gone_on_with(server, tmp_path):
    """The error names the ledger."""
    async with server.client() as client:
        with pytest.raises(ConfigurationError, match=r"there is no ledger .*job\.ledger"):
            await ran(job_of(client, tmp_path))


async def test_a_ledger_that_is_none_or_too_new_or_damaged_is_refused(server, tmp_path):
    """Each with what to do; none is begun anew in silence."""
    path = tmp_path / "job.ledger"
    async with server.client() as client:
        path.write_text("no database, but a text that is long enough to be read as one" * 20)
        with pytest.raises(LedgerError, match="damaged"):
            await ran(job_of(client, tmp_path))
        path.unlink()
        sqlite3.connect(path).execute("CREATE TABLE other (x)").connection.close()
        with pytest.raises(LedgerError, match="is no ledger of a job"):
            await ran(job_of(client, tmp_path))
        path.unlink()
        await ran(job_of(client, tmp_path, server.profiles()))
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("UPDATE job SET value = replace(value, '2023', '2022') WHERE key = 'plan'")
        with pytest.raises(LedgerError, match="was changed by hand"):
            await ran(job_of(client, tmp_path))
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA user_version = 99")
        with pytest.raises(LedgerError, match="of version 99"):
            await ran(job_of(client, tmp_path))


async def test_a_ledger_older_than_its_database_is_refused(server, tmp_path):
    """One of them came from a backup; going on would double rows."""
    async with server.client() as client:
        await ran(job_of(client, tmp_path, server.profiles(), sink="history.duckdb"))
        with closing(sqlite3.connect(tmp_path / "job.ledger", isolation_level=None)) as connection:
            connection.execute("UPDATE job SET value = value - 1 WHERE key = 'last_batch'")
        with pytest.raises(LedgerError, match="restored from a backup"):
            await ran(job_of(client, tmp_path))
