"""A job into PostgreSQL while its server is restarted and its connections are torn: each row is there once."""

import datetime as dt
from collections import Counter

import psycopg
import pytest
from support.postgres_proxy import Proxy

from profile_history.jobs import HistoryJob
from profile_history.testing import Behaviour

FIRST, LAST = dt.date(2023, 1, 1), dt.date(2024, 12, 31)


@pytest.fixture
def table(postgres, request):
    """A table of one test's own, which goes with it."""
    name = f"job_{abs(hash(request.node.name))}"
    yield name
    postgres.execute(f"DROP TABLE {name}, {name}_job")


async def filled(server, dsn, table, tmp_path, disturb, relent=lambda: None):
    """Run a job with many small commits, and disturb it whenever it has come further, until it has ended."""
    server.behaviour = Behaviour(latency=0.02)
    async with server.client(window=30) as client:
        job = HistoryJob(
            client,
            server.profiles(),
            f"{dsn}?table={table}",
            ledger=tmp_path / "job.ledger",
            date_from=FIRST,
            date_to=LAST,
            commit_seconds=0.02,
        )
        settled = 0
        async for progress in job.run():
            if progress.settled_here > settled and progress.phase == "fetching":
                settled = progress.settled_here
                disturb()
            last = progress
        relent()
        assert await job.verify() == []
    assert (last.pending, last.failed) == (0, 0)
    return settled


def rows_in(postgres, table):
    """What the table holds."""
    with psycopg.connect(postgres.dsn) as connection:
        found = connection.execute(f"SELECT profile, action, datetime, message_id FROM {table}").fetchall()
    return Counter((profile, action, moment.isoformat(), message_id) for profile, action, moment, message_id in found)


def truth(server):
    """What has to be in it."""
    return Counter(
        (str(server.profile(number)), row.fields["action"], row.label.isoformat(), row.fields.get("message_id"))
        for number in range(server.histories.profiles)
        for row in server.histories.rows(number, server.behaviour.rows)
    )


@pytest.mark.slow
async def test_a_server_that_is_restarted_in_mid_job_costs_no_row_and_doubles_none(server, postgres, table, tmp_path):
    """The job waits, looks whether its last batch is there, and goes on."""
    restarts = []

    def restart():
        postgres.restart()
        restarts.append(1)

    await filled(server, postgres.dsn, table, tmp_path, restart)
    assert restarts
    assert rows_in(postgres, table) == truth(server)


@pytest.mark.slow
@pytest.mark.parametrize("tear", ["before", "after", "silently"])
async def test_a_connection_cut_during_commit_costs_no_row_and_doubles_none(server, postgres, table, tmp_path, tear):
    """Whether the server has heard of the commit or not, and whether it learns that the job has gone or not."""
    proxy = Proxy(postgres.port)
    try:
        cut = lambda: proxy.tear_at(b"COMMIT\0", tear)  # noqa: E731 (a word for it)
        await filled(server, postgres.dsn_at(proxy.port), table, tmp_path, cut, proxy.relent)
        assert proxy.torn
    finally:
        proxy.close()
    assert rows_in(postgres, table) == truth(server)
