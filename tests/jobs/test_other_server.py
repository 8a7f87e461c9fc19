"""Jobs that go on at another address of the server than before."""

import pytest
from support.jobs import FIRST, LAST, job_of, lines, ran, truth

from profile_history import ConfigurationError, RetryPolicy, ServerUnavailable
from profile_history.jobs import status_of
from profile_history.testing import Fault, FaultPlan, HistoryServer

IMPATIENT = RetryPolicy(attempts=1, passes=1, base=0.001, cap=0.002, patience=0.05)


@pytest.fixture
async def other(server):
    """A server with the same histories at another address."""
    async with HistoryServer(profiles=server.histories.profiles, seed=server.histories.seed) as running:
        yield running


def addresses(directory):
    """The address that the ledger holds, and the earlier ones."""
    status = status_of(directory / "job.ledger")
    return status.plan.url, list(status.earlier_urls)


def addressed(job):
    """The warnings of a job that name an address."""
    return [warning for warning in job.warnings if "http://" in warning]


async def until(server, directory, day, **options):
    """Bring the job up to a day at a server; return the warnings that name an address."""
    async with server.client() as client:
        job = job_of(client, directory, **options)
        await ran(job, **({"until": day} if not options else {}))
    return addressed(job)


async def test_another_address_is_warned_of_once_and_kept(server, other, tmp_path):
    """The rows of both are there; going back is another change, and the earlier addresses are each named once."""
    began = {"profiles": server.profiles(), "date_to": "2024-06-30"}
    assert await until(server, tmp_path, None, **began) == []
    [warning] = await until(other, tmp_path, "2024-09-30")
    assert f"earlier runs of this job asked {server.url}, and this one asks {other.url}" in warning
    assert addresses(tmp_path) == (other.url, [server.url])
    assert await until(other, tmp_path, "2024-10-31") == []
    [warning] = await until(server, tmp_path, "2024-11-30")
    assert f"asked {other.url}, and this one asks {server.url}" in warning
    assert addresses(tmp_path) == (server.url, [other.url])
    assert len(await until(other, tmp_path, LAST)) == 1
    assert addresses(tmp_path) == (other.url, [server.url])
    assert lines(tmp_path) == truth(server, FIRST, LAST)


async def test_a_run_that_sends_nothing_says_nothing(server, other, tmp_path):
    """Whatever address its client has; the ledger keeps the one that was asked."""
    assert await until(server, tmp_path, None, profiles=server.profiles()) == []
    assert await until(other, tmp_path, None, profiles=server.profiles()) == []
    assert not other.log
    assert addresses(tmp_path) == (server.url, [])


async def test_an_address_that_brings_nothing_is_not_kept(server, other, tmp_path):
    """A mistyped one does not lead the next run astray."""
    await until(server, tmp_path, None, profiles=server.profiles(), date_to="2024-06-30")
    other.faults = FaultPlan(rates={Fault.ERROR_503: 1.0}, streak=None)
    async with other.client(retry=IMPATIENT) as client:
        job = job_of(client, tmp_path)
        with pytest.raises(ServerUnavailable):
            await ran(job, until=LAST)
    assert [other.url in warning for warning in job.warnings] == [True]
    assert addresses(tmp_path) == (server.url, [])
    async with server.client() as client:
        job = job_of(client, tmp_path)
        await ran(job, retry_failed=True)
    assert addressed(job) == []
    assert lines(tmp_path) == truth(server)


async def test_before_anything_is_fetched_an_address_is_replaced_without_a_word(server, other, tmp_path):
    """There is nothing that could be mixed."""
    other.faults = FaultPlan(rates={Fault.ERROR_503: 1.0}, streak=None)
    async with other.client(retry=IMPATIENT) as client:
        with pytest.raises(ServerUnavailable):
            await ran(job_of(client, tmp_path, server.profiles()))
    assert addresses(tmp_path) == (other.url, [])
    async with server.client() as client:
        job = job_of(client, tmp_path)
        await ran(job)
    assert addressed(job) == []
    assert addresses(tmp_path) == (server.url, [])


async def test_a_job_that_is_begun_anew_has_no_earlier_address(server, other, tmp_path):
    """What came from there is deleted."""
    await until(server, tmp_path, None, profiles=server.profiles())
    async with other.client() as client:
        job = job_of(client, tmp_path, server.profiles())
        await ran(job, restart=True)
    assert (addressed(job), addresses(tmp_path)) == ([], (other.url, []))


async def test_another_database_is_another_plan(server, tmp_path):
    """It is refused before anything is sent, unlike another address."""
    await until(server, tmp_path, None, profiles=server.profiles())
    server.log.clear()
    async with server.client(list_id=server.list_id + 1) as client:
        with pytest.raises(ConfigurationError, match=r"list_id is 20 there and 21 here"):
            await ran(job_of(client, tmp_path), until=LAST)
    assert not server.log
