"""Durable jobs: what gets into sink and ledger, and what becomes of it when a run ends early."""

import asyncio
import datetime as dt
import json
import threading
from collections import Counter
from contextlib import aclosing, nullcontext

import attrs
import pytest
from support.jobs import FIRST, LAST, LONG_AFTER, job_of, lines, ran, truth, units, working

from profile_history import AuthenticationError, ConfigurationError, Limits, Pacing, ServerUnavailable
from profile_history.jobs import HistoryJob, JobHeld, job, source_of
from profile_history.jobs.ledger import Ledger
from profile_history.jobs.lock import JobLock
from profile_history.jobs.sources import MemorySource
from profile_history.sinks import SinkError, lock
from profile_history.testing import Behaviour, Fault, FaultPlan


@pytest.mark.parametrize("window", ["auto", 61, None])
@pytest.mark.parametrize("order", ["newest", "oldest"])
async def test_a_job_brings_every_row_once(server, tmp_path, window, order):
    """However the range is cut, and in whatever order."""
    async with server.client(window=window, order=order) as client:
        job = job_of(client, tmp_path, server.profiles())
        progress = await ran(job)
        assert await job.verify() == []
    assert lines(tmp_path) == truth(server)
    assert (progress.phase, progress.pending, progress.failed) == ("complete", 0, 0)
    assert progress.events == lines(tmp_path).total()
    assert progress.done + progress.empty == len(units(tmp_path))


@pytest.mark.parametrize("sink", ["history.csv.gz", "lake.parquet?partition=month", "history.duckdb"])
async def test_a_job_fills_every_kind_of_sink(server, tmp_path, sink):
    """The sink is read back and agrees with the ledger."""
    async with server.client(window=61) as client:
        job = job_of(client, tmp_path, server.profiles(), sink=sink)
        progress = await ran(job)
        assert await job.verify() == []
    assert progress.events == truth(server).total()


async def test_a_finished_job_sends_nothing_when_it_is_run_again(server, tmp_path):
    """With the same arguments or with none but the ledger."""
    async with server.client() as client:
        await ran(job_of(client, tmp_path, server.profiles()))
        server.log.clear()
        again = await ran(job_of(client, tmp_path, server.profiles()))
        bare = await ran(job_of(client, tmp_path))
    assert not server.log
    assert attrs.evolve(again, seconds=0.0) == attrs.evolve(bare, seconds=0.0)
    assert again.settled_here == 0


@pytest.mark.parametrize("way", ["break", "cancel", "error"])
async def test_a_run_that_ends_early_keeps_what_was_fetched_and_is_gone_on_with(server, tmp_path, way):
    """Nothing is fetched twice but what was in flight."""
    far = asyncio.Event()
    async with server.client(window=30) as client:

        async def part():
            async with aclosing(job_of(client, tmp_path, server.profiles()).run()) as run:
                async for progress in run:
                    if progress.settled_here:
                        far.set()
                        if way == "break":
                            break
                        if way == "error":
                            raise ZeroDivisionError

        server.behaviour = Behaviour(latency=0.03)
        task = asyncio.create_task(part())
        if way == "cancel":
            await far.wait()
            task.cancel()
        with pytest.raises((asyncio.CancelledError, ZeroDivisionError)) if way != "break" else nullcontext():
            await task
        assert not working()
        kept = [unit for unit in units(tmp_path) if unit[3] != "pending"]
        assert kept
        server.behaviour = Behaviour()
        server.log.clear()
        progress = await ran(job_of(client, tmp_path))
        assert len(server.log) == progress.settled_here
    assert lines(tmp_path) == truth(server)


@pytest.mark.slow
async def test_a_run_that_was_left_by_break_is_waited_for_by_the_next_start(server, tmp_path, monkeypatch):
    """Fifty times at once, while planning, fetching or committing, and not one row is lost or doubled."""
    # Private times, which a job would spend in earnest.
    monkeypatch.setattr(job, "_PROGRESS_INTERVAL", 0.01)
    server.behaviour = Behaviour(latency=0.02)
    async with server.client(window=7) as client:
        for number in range(50):
            async for progress in job_of(client, tmp_path, server.profiles()).run():
                if number % 2 == 0 or progress.settled_here:
                    assert progress.phase != "complete"
                    break
        assert await job_of(client, tmp_path).verify() == []
        await ran(job_of(client, tmp_path))
        assert not working()
    assert lines(tmp_path) == truth(server)


async def test_a_run_that_somebody_still_holds_is_not_waited_for(server, tmp_path, monkeypatch):
    """It may go on at any time; the error says that it is this process that works."""
    # Private times, which a job would spend in earnest.
    monkeypatch.setattr(job, "_PROGRESS_INTERVAL", 0.01)
    server.behaviour = Behaviour(latency=0.02)
    async with server.client(window=30) as client:
        held = job_of(client, tmp_path, server.profiles()).run()
        async for progress in held:
            if progress.phase == "fetching":
                break
        with pytest.raises(JobHeld, match=r"another run of this process, .* is working on this job"):
            await ran(job_of(client, tmp_path))
        del held
        await ran(job_of(client, tmp_path))
    assert lines(tmp_path) == truth(server)


async def test_a_start_waits_for_a_run_that_is_leaving_as_long_as_it_may(server, tmp_path, monkeypatch):
    """It gives up after a while, and at once when it is stopped itself."""
    leaving, stop = threading.Event(), threading.Event()
    leaving.set()
    held = JobLock(tmp_path / "job.ledger", leaving)
    held.acquire()
    stop.set()
    with pytest.raises(JobHeld):
        JobLock(tmp_path / "job.ledger", stop).acquire()
    # A private time, which a start would wait in earnest.
    monkeypatch.setattr(lock, "_LEAVING_PATIENCE", 0.02)
    with pytest.raises(JobHeld):
        JobLock(tmp_path / "job.ledger").acquire()
    held.release()
    JobLock(tmp_path / "job.ledger").acquire()


async def test_a_token_that_is_revoked_ends_the_run_and_not_the_job(server, tmp_path, swift):
    """What was fetched before is kept."""
    server.behaviour = Behaviour(latency=0.02)
    async with server.client(window=30, retry=swift) as client:
        with pytest.raises(AuthenticationError):
            async for progress in job_of(client, tmp_path, server.profiles()).run():
                if progress.settled_here:
                    server.token = "another"
    assert [unit for unit in units(tmp_path) if unit[3] != "pending"]
    async with server.client(window=30) as client:
        await ran(job_of(client, tmp_path))
    assert lines(tmp_path) == truth(server)


@pytest.mark.virtual
async def test_an_outage_ends_the_run_and_not_the_job(server, tmp_path):
    """`ServerUnavailable` is what a scheduler tries again."""
    async with server.client() as client:
        async with server.outage():
            with pytest.raises(ServerUnavailable):
                await ran(job_of(client, tmp_path, server.profiles()))
        await ran(job_of(client, tmp_path))
    assert lines(tmp_path) == truth(server)


@pytest.mark.virtual
async def test_a_dead_profile_is_listed_and_stops_nobody(server, tmp_path, swift):
    """Asked for again when the server is well, it joins the others."""
    dead = server.profile(3)
    server.faults = FaultPlan.always(Fault.ERROR_500, profiles=[3])
    async with server.client(window=365, retry=swift) as client:
        job = job_of(client, tmp_path, server.profiles())
        progress = await ran(job)
        assert progress.failed == 3
        with Ledger(tmp_path / "job.ledger") as ledger:
            failures = list(ledger.failures())
        assert {(name, "500" in reason) for name, _, reason in failures} == {(str(dead), True)}
        assert lines(tmp_path) == truth(server, profiles=set(server.profiles()) - {dead})
        server.faults = FaultPlan()
        assert (await ran(job_of(client, tmp_path))).failed == 3
        progress = await ran(job_of(client, tmp_path), retry_failed=True)
    assert (progress.failed, progress.settled_here) == (0, 3)
    assert lines(tmp_path) == truth(server)


@pytest.mark.parametrize("order", ["newest", "oldest"])
async def test_recent_days_are_fetched_again_with_newer_ones_and_replaced(server, tmp_path, order):
    """One request a profile brings both; the days before are left alone."""
    async with server.client(order=order) as client:
        job = job_of(client, tmp_path, server.profiles(), date_to="2024-06-30", today=dt.date(2024, 6, 30), lookback=40)
        first = await ran(job)
        assert first.provisional == 30
        assert lines(tmp_path) == truth(server, last="2024-06-30")
        assert {unit[1] for unit in units(tmp_path) if unit[3] == "provisional"} == {"2024-05-21"}
        server.log.clear()
        later = job_of(client, tmp_path, today=dt.date(2025, 6, 1))
        second = await ran(later, until="2024-12-31")
        assert len(server.log) == 30
        assert await later.verify() == []
    assert second.provisional == 0
    assert lines(tmp_path) == truth(server)
    assert {unit[1] for unit in units(tmp_path) if unit[2] == "2024-12-31"} == {"2024-05-21"}


@pytest.mark.parametrize("sink", ["history.ndjson", "lake.parquet", "history.duckdb"])
async def test_newer_days_can_be_asked_for_day_after_day(server, tmp_path, sink):
    """What is provisional stays one or two units a profile, and no row doubles in any sink."""
    async with server.client() as client:
        day = dt.date(2024, 12, 20)
        await ran(job_of(client, tmp_path, server.profiles(), sink=sink, date_to=day, today=day))
        for _ in range(5):
            day += dt.timedelta(days=1)
            job = job_of(client, tmp_path, today=day)
            progress = await ran(job, until=day)
            assert await job.verify() == []
            assert progress.events == truth(server, last=str(day)).total()
            assert progress.provisional == 30


@pytest.mark.slow
@pytest.mark.parametrize("order", ["newest", "oldest"])
async def test_what_is_provisional_stays_when_it_cannot_be_had_again(server, tmp_path, swift, order):
    """A new fetch replaces the old rows as a whole or not at all."""
    async with server.client(retry=swift, window=20, order=order) as client:
        today = dt.date(2024, 12, 31)
        await ran(job_of(client, tmp_path, server.profiles(), today=today, lookback=50))
        there = lines(tmp_path)
        server.faults = FaultPlan.always(Fault.ERROR_500, profiles=[1, 15])
        failed = await ran(job_of(client, tmp_path, today=today), until="2025-01-02")
        assert failed.failed == 2
        assert lines(tmp_path) == there == truth(server)
        server.faults = FaultPlan()
        job = job_of(client, tmp_path, today=dt.date(2025, 3, 1))
        progress = await ran(job, until="2025-01-05")
        assert (progress.failed, progress.provisional) == (0, 0)
        assert await job.verify() == []
    assert lines(tmp_path) == truth(server)


async def test_new_profiles_join_with_all_their_days(server, tmp_path):
    """Those that are known already go on where they stood."""
    profiles = server.profiles()
    async with server.client() as client:
        await ran(job_of(client, tmp_path, profiles[:20], date_to="2024-06-30", today=dt.date(2025, 1, 1)))
        job = HistoryJob(
            client,
            MemorySource(profiles),
            str(tmp_path / "history.ndjson"),
            ledger=tmp_path / "job.ledger",
            date_from=FIRST,
            date_to=LAST,
            today=lambda: LONG_AFTER,
        )
        server.log.clear()
        await ran(job, until=LAST)
    assert lines(tmp_path) == truth(server)
    assert {(entry.date_from, entry.date_to) for entry in server.log} == {
        ("2022-12-31", "2025-01-02"),
        ("2024-06-30", "2025-01-02"),
    }


async def test_newer_days_come_after_what_is_pending(server, tmp_path):
    """A run that was interrupted last night is finished first."""
    async with server.client(window=30) as client:
        server.behaviour = Behaviour(latency=0.03)
        async with aclosing(job_of(client, tmp_path, server.profiles(), date_to="2024-06-30").run()) as run:
            async for progress in run:
                if progress.settled_here:
                    break
        server.behaviour = Behaviour()
        await ran(job_of(client, tmp_path), until=LAST)
        with pytest.raises(ConfigurationError, match="lies before the last day of this job, 2024-12-31"):
            await ran(job_of(client, tmp_path), until="2024-01-01")
    assert lines(tmp_path) == truth(server)


async def test_newer_days_that_were_interrupted_are_not_begun_anew(server, tmp_path):
    """The same command on the same day asks only for what is missing."""
    day = dt.date(2024, 12, 31)
    async with server.client() as client:
        await ran(job_of(client, tmp_path, server.profiles(), date_to="2024-12-30", today=dt.date(2024, 12, 30)))
    server.behaviour = Behaviour(latency=0.1)
    async with (
        server.client(pacing=Pacing(concurrency=2, adaptive=False)) as client,
        aclosing(job_of(client, tmp_path, today=day).run(until=day)) as run,
    ):
        async for progress in run:
            if progress.settled_here:
                break
    left = [unit for unit in units(tmp_path) if unit[3] == "pending"]
    server.log.clear()
    server.behaviour = Behaviour()
    async with server.client() as client:
        await ran(job_of(client, tmp_path, today=day), until=day)
    assert 0 < len(server.log) == len(left) < 30
    assert lines(tmp_path) == truth(server)


async def test_windows_that_prove_too_much_become_units_of_their_own(server, tmp_path):
    """So that a huge profile is gone on with in its middle."""
    server.behaviour = Behaviour(row_cap=10)
    async with server.client(limits=Limits(row_cap=10)) as client:
        await ran(job_of(client, tmp_path, server.profiles()))
    found = units(tmp_path)
    failed = [unit for unit in found if unit[3] == "failed"]
    assert all(unit[1] == unit[2] for unit in failed)
    assert len(found) > 60
    days = {(unit[0], unit[1]) for unit in failed}
    expected = truth(server)
    kept = Counter(
        {row: count for row, count in expected.items() if (row[0], json.loads(row[1])["datetime"][:10]) not in days}
    )
    assert lines(tmp_path) == kept


async def test_with_exact_borders_what_comes_is_passed_on(server, tmp_path):
    """Also where a window is written down as a final and a provisional unit."""
    async with server.client(border="exact") as client:
        await ran(job_of(client, tmp_path, server.profiles(), today=dt.date(2024, 6, 1)))
    assert lines(tmp_path) == truth(server)
    assert {unit[3] for unit in units(tmp_path)} >= {"provisional", "done"}


async def test_profiles_that_are_named_twice_count_once(server, tmp_path):
    """Wherever in the source they stand."""
    async with server.client() as client:
        progress = await ran(job_of(client, tmp_path, [*server.profiles(), *server.profiles()[::-1]]))
    assert (progress.profiles, progress.units) == (30, 30)
    assert lines(tmp_path) == truth(server)


async def test_lines_that_name_no_profile_are_listed_with_their_numbers(server, tmp_path):
    """They do not stop the others."""
    (tmp_path / "profiles.txt").write_text("user1@example.com\nnobody\nuser2@example.com\n@\n")
    async with server.client() as client:
        progress = await ran(job_of(client, tmp_path, source_of(str(tmp_path / "profiles.txt"), matching="email")))
    assert (progress.profiles, progress.rejects) == (2, 2)
    rejects = [json.loads(line) for line in (tmp_path / "job.rejects.ndjson").read_text().splitlines()]
    assert [(entry["line"], entry["text"]) for entry in rejects] == [(2, "nobody"), (4, "@")]
    assert all("john@example.com" in entry["reason"] for entry in rejects)


async def test_rows_that_cannot_be_read_are_set_apart_with_their_reason(server, tmp_path):
    """In a file beside the ledger; replaced with their unit, they are listed once."""
    server.faults = FaultPlan.always(Fault.MISSING_FIELDS)
    today = dt.date(2024, 12, 31)
    async with server.client() as client:
        progress = await ran(job_of(client, tmp_path, server.profiles(), sink="history.duckdb", today=today))
        assert progress.quarantined >= 10
        listed = [json.loads(line) for line in (tmp_path / "job.quarantine.ndjson").read_text().splitlines()]
        assert len(listed) == progress.quarantined
        assert all(entry["reason"] and "raw" in entry and entry["profile"].startswith("xxh:") for entry in listed)
        server.faults = FaultPlan()
        progress = await ran(job_of(client, tmp_path, today=dt.date(2025, 6, 1)), until=LAST)
        recent = [entry for entry in listed if entry["date_to"] == LAST]
        assert recent
        assert progress.quarantined == len(listed) - len(recent)


@pytest.mark.parametrize("fault", [Fault.POISON_TEXT, Fault.BIG_NUMBERS, Fault.HUGE_INTEGER])
@pytest.mark.parametrize("name", ["history.ndjson", "history.csv", "history.parquet", "history.duckdb", "postgresql"])
async def test_an_odd_value_drops_no_row_from_any_sink(server, tmp_path, request, fault, name):
    """Neither a lone surrogate nor a NUL nor a number that no column holds."""
    server.faults = FaultPlan.always(fault)
    into = str(tmp_path / name)
    if name == "postgresql":
        into = f"{request.getfixturevalue('postgres').dsn}?table={fault.value}"
    async with server.client() as client:
        job = HistoryJob(client, server.profiles(), into, ledger=tmp_path / "job.ledger", date_from=FIRST, date_to=LAST)
        progress = await ran(job)
        assert await job.verify() == []
    assert (progress.quarantined, (tmp_path / "job.quarantine.ndjson").exists()) == (0, False)
    # Where there are no rows, the odd one lies outside of the days.
    more = sum(bool(server.truth(profile)) for profile in server.profiles())
    assert progress.events == truth(server).total() + more


async def test_a_sink_that_fails_ends_the_run_and_the_job_goes_on(server, tmp_path):
    """The units stay pending, and nothing waits for ever."""
    async with server.client(window=30) as client:
        job = job_of(client, tmp_path, server.profiles(), commit_bytes=1)
        # The sink that the job has made of the path, to break it.
        sink = job._sink
        write = sink.write

        def fail(batch):
            if batch.number > 3:
                raise SinkError("the disk is full")
            return write(batch)

        sink.write = fail
        with pytest.raises(SinkError, match="the disk is full"):
            await ran(job)
        await ran(job_of(client, tmp_path))
    assert lines(tmp_path) == truth(server)
