"""Jobs of which only units are left that nobody can fetch: no outage, and each gets its verdict."""

import pytest
from support.virtual_clock import run_virtually

from profile_history import ConfigurationError, RetryPolicy, ServerUnavailable
from profile_history.jobs import HistoryJob, status_of
from profile_history.testing import Behaviour, Fault, FaultPlan, HistoryServer

DAYS = {"date_from": "2023-01-01", "date_to": "2024-12-31"}
DEAD = range(20)


async def ran(job, **how):
    """Run a job to its end."""
    async for progress in job.run(**how):
        last = progress
    return last


def lives(directory, fault, *, patience=900.0, profiles=40, behaviour=Behaviour(), runs=2):
    """The first run of a job with dead profiles, and runs that retry only those.

    Returns:
        The last progress of each run, or the error that ended it, and the requests of the last one as the server saw
        them.
    """

    async def run():
        ended = []
        async with HistoryServer(profiles=40, behaviour=behaviour) as server:
            server.faults = FaultPlan.always(fault, profiles=DEAD)
            for number in range(1 + runs):
                server.log.clear()
                async with server.client(retry=RetryPolicy(patience=patience), window=None) as client:
                    given = (server.profiles()[:profiles], str(directory / "a.ndjson")) if number == 0 else ()
                    job = HistoryJob(client, *given, ledger=directory / "job.ledger", **(DAYS if given else {}))
                    ended.append(await ran(job, retry_failed=number > 0))
            return ended, list(server.log)

    return run_virtually(run(), patience=60.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "patience"),
    [
        (Fault.ERROR_500, 900.0),
        (Fault.STALL, 0.5),
        *(
            pytest.param(fault, patience, marks=pytest.mark.full)
            for fault, patience in ((Fault.ERROR_504, 900.0), (Fault.STALL, 900.0))
        ),
        *(pytest.param(fault, 0.5, marks=pytest.mark.full) for fault in (Fault.ERROR_500, Fault.ERROR_504)),
    ],
)
def test_those_that_are_retried_alone_get_their_verdict_again(tmp_path, fault, patience):
    """A unit that was fetched before is asked for meanwhile, which tells them from an outage."""
    ended, log = lives(tmp_path, fault, patience=patience)
    assert [(progress.failed, progress.pending) for progress in ended] == [(20, 0)] * 3
    assert {entry.profile for entry in log} > set(DEAD)
    probes = [entry for entry in log if entry.profile not in DEAD]
    # One unit, and the one with the fewest rows.
    assert len({entry.profile for entry in probes}) == 1
    assert {entry.rows for entry in probes} == {0}
    assert len(probes) < len(log) / 5


@pytest.mark.parametrize("unknown", ["empty", "error"])
@pytest.mark.parametrize("patience", [900.0, 0.5])
def test_a_job_of_nothing_but_dead_profiles_comes_to_an_end(tmp_path, unknown, patience):
    """While nothing has been fetched, a profile that does not exist is asked for."""
    ended, log = lives(
        tmp_path,
        Fault.ERROR_500,
        patience=patience,
        profiles=12,
        behaviour=Behaviour(unknown_profile=unknown),
        runs=1,
    )
    assert [(progress.failed, progress.pending) for progress in ended] == [(12, 0)] * 2
    assert {entry.profile for entry in log} == {*range(12), None}
    [asked] = {(entry.matching, entry.date_from, entry.date_to) for entry in log if entry.profile is None}
    assert asked == ("xxh", "2024-12-30", "2025-01-02")


@pytest.mark.parametrize("settled", [True, False])
def test_an_outage_is_one_all_the_same(tmp_path, settled):
    """What is pending stays that, and is fetched when the server is back."""

    async def run():
        async with HistoryServer(profiles=40) as server:
            profiles = server.profiles()
            server.faults = FaultPlan.always(Fault.ERROR_402, profiles=DEAD if settled else range(40))
            async with server.client() as client:
                job = HistoryJob(client, profiles, str(tmp_path / "a.ndjson"), ledger=tmp_path / "job.ledger", **DAYS)
                assert (await ran(job)).failed == (20 if settled else 40)
            server.faults = FaultPlan.always(Fault.ERROR_503)
            async with server.client(retry=RetryPolicy(patience=60.0)) as client:
                with pytest.raises(ServerUnavailable):
                    await ran(HistoryJob(client, ledger=tmp_path / "job.ledger"), retry_failed=True)
            left = status_of(tmp_path / "job.ledger").totals
            assert (left.failed, left.pending) == (0, 20 if settled else 40)
            server.faults = FaultPlan()
            async with server.client() as client:
                assert (await ran(HistoryJob(client, ledger=tmp_path / "job.ledger"))).failed == 0

    run_virtually(run(), patience=60.0)


def test_the_unit_that_is_asked_for_may_have_died_itself(tmp_path):
    """Then those that are retried show that the server is well."""

    async def run():
        async with HistoryServer(profiles=40) as server:
            server.faults = FaultPlan.always(Fault.ERROR_402, profiles=DEAD)
            async with server.client() as client:
                files = {"sink": str(tmp_path / "a.ndjson"), "ledger": tmp_path / "job.ledger"}
                await ran(HistoryJob(client, server.profiles(), **files, **DAYS))
            server.faults = FaultPlan.always(Fault.ERROR_500, profiles=set(range(40)) - {3, 7})
            async with server.client(retry=RetryPolicy(patience=60.0)) as client:
                progress = await ran(HistoryJob(client, ledger=tmp_path / "job.ledger"), retry_failed=True)
            assert (progress.failed, progress.pending) == (18, 0)

    run_virtually(run(), patience=60.0)


async def test_a_probe_is_a_unit():
    """A profile alone does not say which days."""
    async with HistoryServer(profiles=1) as server, server.client() as client:
        with pytest.raises(ConfigurationError, match="units are Unit values, not Profile"):
            client.read_units([], probe=server.profile(0))
